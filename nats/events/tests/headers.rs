//! Attributes become headers and headers attributes again, whoever wrote them.

use chrono::{DateTime, NaiveDate, Utc};
use cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use events::headers::{TRACEPARENT, carries, extension, from_pairs, to_pairs};
use events::{AdAccount, InsightsData, InsightsFetched, Request, open_insights, payload};
use serde_json::value::RawValue;
use uuid::Uuid;

type Pairs = Vec<(String, String)>;

fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).expect("an instant")
}

/// An event of `rows` rows: one is small enough to travel plain, a hundred are not.
fn fetched(event_id: u128, fetched_at: DateTime<Utc>, run_id: Option<Uuid>, rows: usize) -> InsightsFetched {
    let row: Box<RawValue> =
        RawValue::from_string(r#"{"ad_id":"1","ad_name":"\u0000\ud800"}"#.to_owned()).expect("valid JSON");
    let data = InsightsData {
        account_id: Uuid::from_u128(1),
        ad_account: AdAccount {
            id: Uuid::from_u128(2),
            external_id: "act_3".into(),
            currency: "EUR".into(),
            timezone_name: "Europe/Berlin".into(),
        },
        date: NaiveDate::from_ymd_opt(2026, 2, 3).expect("a day"),
        request: Request {
            api_version: "v25.0".into(),
            fields: vec!["spend".into()],
            effective_status: None,
            attribution_windows: vec!["7d_click".into()],
        },
        control: None,
        rows: vec![&*row; rows],
    };
    InsightsFetched::new(Uuid::from_u128(event_id), fetched_at, run_id, 4, &data, data.row_bytes())
        .expect("it is encoded")
}

fn read(pairs: &Pairs) -> Result<Event, events::headers::HeaderError> {
    from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn pairs_of(event: &InsightsFetched) -> Pairs {
    to_pairs(&event.attributes().expect("its attributes are complete"))
}

/// The pairs of a good event with one header replaced, or taken away.
fn with(name: &str, value: Option<&str>) -> Pairs {
    let mut pairs = pairs_of(&fetched(7, at(1_770_000_000_000_001), Some(Uuid::from_u128(9)), 1));
    pairs.retain(|(known, _)| known != name);
    pairs.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    pairs
}

/// What a person is told who reads the error with its sources.
fn told(pairs: &Pairs) -> String {
    let error: Box<dyn std::error::Error> = match read(pairs) {
        Err(error) => error.into(),
        Ok(attributes) => open_insights(&attributes).expect_err("it must be refused").into(),
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn circumstances_survive_the_headers() {
    for (run_id, rows, codec) in [
        (Some(Uuid::from_u128(9)), 1, payload::Codec::Plain),
        (None, 0, payload::Codec::Plain),
        (Some(Uuid::from_u128(u128::MAX)), 100, payload::Codec::Zstd),
    ] {
        for fetched_at in [at(1_770_000_000_000_001), at(0), at(1_770_000_000_120_000), at(1_770_000_000_000_000)] {
            let event = fetched(7, fetched_at, run_id, rows);
            assert_eq!(event.circumstances.codec, codec);
            let attributes = read(&pairs_of(&event)).expect("our own headers are read");
            let circumstances = open_insights(&attributes).expect("our own attributes are read");
            assert_eq!(format!("{circumstances:?}"), format!("{:?}", event.circumstances));
        }
    }
}

#[test]
fn the_headers_name_the_event_as_cloudevents_does() {
    let pairs = pairs_of(&fetched(7, at(1_770_000_000_000_001), None, 1));
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "00000000-0000-0000-0000-000000000007"),
        ("ce-type", "adledger.meta.insights.fetched.v1"),
        ("ce-source", "urn:adledger:insights"),
        ("ce-subject", "00000000-0000-0000-0000-000000000002/2026-02-03"),
        ("ce-time", "2026-02-02T02:40:00.000001+00:00"),
        ("ce-datacodec", "plain"),
        ("ce-pagecount", "4"),
    ] {
        assert!(pairs.contains(&(name.to_owned(), value.to_owned())), "{name}: {value} is not in {pairs:?}");
    }
    assert!(pairs.iter().all(|(name, _)| *name == name.to_lowercase()));
}

#[test]
fn a_header_carries_its_attribute_in_any_case() {
    for (header, is_traceparent) in [
        ("ce-traceparent", true),
        ("Ce-TraceParent", true),
        ("ce-traceparents", false),
        ("traceparent", false),
        ("c\u{e9}-traceparent", false),
        ("ce", false),
        ("", false),
    ] {
        assert_eq!(carries(header, TRACEPARENT), is_traceparent, "{header}");
    }
}

#[test]
fn the_trace_travels_as_an_attribute_and_only_where_there_is_one() {
    let mut event = fetched(7, at(1_770_000_000_000_001), None, 1);
    assert!(pairs_of(&event).iter().all(|(name, _)| name != "ce-traceparent"));
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    event.circumstances.traceparent = Some(traceparent.to_owned());
    let pairs = pairs_of(&event);
    assert!(pairs.contains(&("ce-traceparent".to_owned(), traceparent.to_owned())), "{pairs:?}");
    let circumstances = open_insights(&read(&pairs).expect("it is read")).expect("and understood");
    assert_eq!(circumstances.traceparent.as_deref(), Some(traceparent));
}

#[test]
fn header_names_are_read_in_any_case_and_other_families_passed_over() {
    let event = fetched(7, at(1_770_000_000_000_001), Some(Uuid::from_u128(9)), 1);
    let mut pairs: Pairs = pairs_of(&event).into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect();
    pairs.insert(0, ("Nats-Msg-Id".to_owned(), "%ff is no UTF-8".to_owned()));
    pairs.push(("Content-Type".to_owned(), "application/json".to_owned()));
    pairs.push(("traceparent".to_owned(), "00-ab-cd-01".to_owned()));
    let circumstances = open_insights(&read(&pairs).expect("upper case is read")).expect("and understood");
    assert_eq!(format!("{circumstances:?}"), format!("{:?}", event.circumstances));
}

#[test]
fn values_travel_percent_encoded() {
    for (value, travels_as) in [
        ("plain-text/ok:1+2", "plain-text/ok:1+2"),
        ("100% \"sure\"", "100%25%20%22sure%22"),
        ("a%20b", "a%2520b"),
        ("Ausverkauf für 5 €", "Ausverkauf%20f%C3%BCr%205%20%E2%82%AC"),
        ("line\r\nNats-Msg-Id: forged\0", "line%0D%0ANats-Msg-Id:%20forged%00"),
        ("😀", "%F0%9F%98%80"),
    ] {
        let event = EventBuilderV10::new().id(value).source("urn:x").ty("t").extension("note", value);
        let pairs = to_pairs(&event.build().expect("a whole event"));
        for name in ["ce-id", "ce-note"] {
            assert!(
                pairs.contains(&(name.to_owned(), travels_as.to_owned())),
                "{name}: {travels_as} is not in {pairs:?}"
            );
        }
        let read = read(&pairs).expect("it is read");
        assert_eq!((read.id(), extension(&read, "note").as_deref()), (value, Some(value)));
    }
}

#[test]
fn what_another_program_encoded_more_or_less_is_read_too() {
    for (travels_as, value) in [("caf%c3%a9", "café"), ("café", "café"), ("%41", "A"), ("50% off", "50% off")] {
        let attributes = read(&with("ce-subject", Some(travels_as))).expect("it is read");
        assert_eq!(attributes.subject(), Some(value));
    }
}

#[test]
fn optional_headers_may_be_missing() {
    for name in ["ce-runid", "ce-rowcount", "ce-pagecount", "ce-databytes", "ce-datacodec", "ce-subject"] {
        open_insights(&read(&with(name, None)).expect("it is an event")).expect(name);
    }
    let without_codec = open_insights(&read(&with("ce-datacodec", None)).expect("it is an event"));
    assert_eq!(without_codec.expect("it is read").codec, payload::Codec::Plain);
}

#[test]
fn a_missing_header_is_named() {
    for name in ["ce-specversion", "ce-time", "ce-id", "ce-type", "ce-source"] {
        let text = told(&with(name, None));
        assert!(text.contains(name.trim_start_matches("ce-")), "{name}: {text}");
    }
    assert!(told(&Vec::new()).contains("ce-specversion"));
}

#[test]
fn a_bad_header_is_named_with_its_value() {
    for (name, value, named) in [
        ("ce-specversion", "0.3", "ce-specversion"),
        ("ce-id", "not-a-uuid", "ce-id"),
        ("ce-runid", "1234", "ce-runid"),
        ("ce-rowcount", "many", "ce-rowcount"),
        ("ce-rowcount", "2147483648", "ce-rowcount"),
        ("ce-pagecount", "1.5", "ce-pagecount"),
        ("ce-databytes", "", "ce-databytes"),
        ("ce-datacodec", "lz4", "payload codec"),
        ("ce-type", "adledger.meta.insights.fetched.v99", "event type"),
        ("ce-subject", "%ff", "ce-subject"),
    ] {
        let text = told(&with(name, Some(value)));
        assert!(text.contains(named) && text.contains(&format!("{value:?}")), "{name}: {value}: {text}");
    }
    let text = told(&with("ce-time", Some("yesterday")));
    assert!(text.contains("time"), "{text}");
}

#[test]
fn equal_answers_have_equal_bytes() {
    for rows in [0, 1, 100] {
        let first = fetched(7, at(1_770_000_000_000_001), Some(Uuid::from_u128(9)), rows);
        let second = fetched(8, at(1_780_000_000_000_000), None, rows);
        assert_eq!(first.payload, second.payload, "{rows} rows");
        let third = fetched(7, at(1_770_000_000_000_001), Some(Uuid::from_u128(9)), rows + 1);
        assert_ne!(first.payload, third.payload, "one row more than {rows}");
    }
}
