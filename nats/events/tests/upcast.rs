//! A second version of an event, made up: at the door it is refused, until its upcaster is there; then it says what the
//! first version of the same answer says, to the byte.

use cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};
use events::payload::{Codec, Encoder};
use events::{Circumstances, EventError, INSIGHTS_FETCHED_V1, Parts, PartsError, Upcaster, made_up, open_insights};
use sha2::{Digest, Sha256};

const V2: &str = "adledger.meta.insights.fetched.v2";

/// In v2 the day is `day` and comes last before the rows.
fn rewrite(json: &[u8]) -> Result<Vec<u8>, String> {
    let mut data: serde_json::Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let day = data["day"].as_str().ok_or("it has no day")?.to_owned();
    let account_id = data["account_id"].take();
    Ok(format!(r#"{{"account_id":{account_id},"date":"{day}","rows":[]}}"#).into_bytes())
}

const UPCASTER: Upcaster = Upcaster { event_type: V2, rewrite };

fn opened(event_type: &str) -> Result<Circumstances, EventError> {
    let event = EventBuilderV10::new()
        .id("0198c0de-4c58-7e29-9a3b-5d1f00c0ffee")
        .source("test")
        .ty(event_type)
        .time("2026-02-04T06:07:08.123456Z")
        .build()
        .expect("an event");
    assert_eq!(event.ty(), event_type);
    open_insights(&event)
}

fn read(json: &[u8], codec: Codec, upcaster: Option<Upcaster>) -> Result<(Vec<String>, [u8; 32]), PartsError> {
    let mut encoder = Encoder::default();
    encoder.push(json)?;
    let encoded = encoder.finish()?;
    let (codec, payload) =
        if codec == Codec::Plain { (codec, json) } else { (encoded.codec, encoded.payload.as_slice()) };
    let mut parts = Parts::new(codec, payload, 1 << 30)?.upcast(upcaster);
    let mut said = Vec::new();
    while let Some(part) = parts.next_part()? {
        said.push(String::from_utf8_lossy(part).into_owned());
    }
    Ok((said, parts.sha256()))
}

#[test]
fn a_version_is_known_when_its_upcaster_is_there() {
    for unknown in [V2, "adledger.meta.insights.fetched.v3", "adledger.meta.sync.requested.v1"] {
        assert!(matches!(opened(unknown), Err(EventError::Type { found, .. }) if found == unknown));
    }
    made_up::accept(UPCASTER);
    assert!(opened(V2).expect("it is known now").upcaster.is_some());
    assert!(opened(INSIGHTS_FETCHED_V1).expect("it is the newest").upcaster.is_none());
    assert!(opened("adledger.meta.insights.fetched.v3").is_err());
}

#[test]
fn both_versions_of_one_answer_are_the_same_bytes() {
    let row = |ad: usize| format!(r#"{{"ad_id":"{ad}","ad_name":"{}\"]}}"}}"#, "n".repeat(700));
    for (rows, end) in [(0, ""), (1, ""), (3, "\n "), (3000, "")] {
        let rows = (0..rows).map(row).collect::<Vec<_>>().join(",");
        let v1 = format!(r#"{{"account_id":"a","date":"2026-03-01","rows":[{rows}]}}{end}"#);
        let v2 = format!(r#"{{ "more": [1, [2]], "account_id":"a", "day":"2026-03-01" , "rows" : [{rows}]}}{end}"#);
        for codec in [Codec::Plain, Codec::Zstd] {
            let (old, hash) = read(v1.as_bytes(), codec, None).expect("it is read");
            let (new, of_new) = read(v2.as_bytes(), codec, Some(UPCASTER)).expect("it is read");
            // Parts are cut by their size, and what stands before the rows differs in it.
            let joined = |parts: &[String]| {
                parts
                    .iter()
                    .map(|part| part.replace(r#"{"account_id":"a","date":"2026-03-01","rows":["#, ""))
                    .collect::<Vec<_>>()
                    .join("")
            };
            assert!(joined(&old).replace("]}", "").replace(',', "") == joined(&new).replace("]}", "").replace(',', ""));
            assert!(new.iter().all(|part| part.starts_with(r#"{"account_id":"a","date":"2026-03-01","rows":["#)));
            assert_eq!(hash, of_new);
            assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&v1)));
        }
    }
}

#[test]
fn what_is_no_data_of_its_version_is_refused() {
    let broken = Upcaster { event_type: V2, rewrite: |_| Ok(b"{}".to_vec()) };
    for (json, upcaster, said) in [
        (r#"{"account_id":"a","rows":[]}"#, UPCASTER, "it has no day"),
        (r#"{"account_id":"a","day":1,"rows":[{}]}"#, UPCASTER, "it has no day"),
        (r#"{"account_id":,"rows":[]}"#, UPCASTER, "expected value"),
        (r#"{"account_id":"a","day":"x","rows":[],"more":1}"#, UPCASTER, "ends with its rows"),
        (r#"{"account_id":"a","day":"x"}"#, UPCASTER, "ends with its rows"),
        (r#"{"account_id":"a","day":"x","rows":[]}"#, broken, "its upcaster makes no data"),
    ] {
        let error = read(json.as_bytes(), Codec::Plain, Some(upcaster)).expect_err(json).to_string();
        assert!(error.contains(said), "{json}: {error}");
    }
}
