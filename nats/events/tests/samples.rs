//! One event of each type and version, kept for ever: a change that no longer reads them is no change of ours to make.

mod fit;

use std::collections::BTreeMap;
use std::path::PathBuf;

use events::subject::{AccountDay, SummaryDay};
use events::{
    AdAccountConnected, AdAccountDisconnected, Cause, ControlTotal, DailySummaryChanged, Happened, InsightsData,
    InsightsFetched, SyncRequested, TokenEnd, TokenExpiring, headers, open_connection, open_insights, payload,
};
use serde::Deserialize;
use serde_json::value::RawValue;

const LIMIT_BYTES: u64 = 1 << 20;

/// An event as it travelled.
#[derive(Deserialize)]
struct Sample<'a> {
    subject: String,
    headers: Vec<(String, String)>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Sample<'_> {
    fn attributes(&self) -> cloudevents::Event {
        let pairs = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        headers::from_pairs(pairs).expect("the sample's headers are those of an event")
    }
}

fn file(event_type: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    std::fs::read_to_string(folder.join(event_type).with_added_extension("json")).unwrap_or_else(|error| {
        panic!("{event_type} has no sample in tests/samples ({error}): commit one that travelled")
    })
}

fn sample(text: &str) -> Sample<'_> {
    serde_json::from_str(text).expect("a sample has subject, headers and data")
}

#[test]
fn insights_fetched_v1_is_read_as_it_was_meant() {
    let text = file("adledger.meta.insights.fetched.v1");
    let sample = sample(&text);
    let circumstances = open_insights(&sample.attributes()).expect("its circumstances are read");
    assert_eq!(circumstances.event_id.to_string(), "0198c0de-4c58-7e29-9a3b-5d1f00c0ffee");
    assert_eq!(circumstances.fetched_at.to_rfc3339(), "2026-02-04T06:07:08.123456+00:00");
    assert_eq!(circumstances.run_id.map(|id| id.to_string()).as_deref(), Some("0198c0de-3333-7000-8000-000000000033"));
    assert_eq!((circumstances.row_count, circumstances.page_count), (Some(2), Some(1)));
    assert_eq!(circumstances.codec, payload::Codec::Plain);
    assert_eq!(circumstances.uncompressed_bytes, i64::try_from(sample.data.get().len()).ok());
    assert_eq!(circumstances.version().event_id, circumstances.event_id);

    let day = AccountDay::parse(&sample.subject).expect("its subject is read");
    let json = payload::decode(circumstances.codec, sample.data.get().as_bytes(), LIMIT_BYTES).expect("it is plain");
    let data = InsightsData::parse(&json, &day).expect("its data is read");
    assert_eq!(data.account_id.to_string(), "0198c0de-0000-7000-8000-000000000001");
    assert_eq!(data.ad_account.id.to_string(), "0198c0de-0000-7000-8000-0000000000aa");
    assert_eq!(data.ad_account.external_id, "act_1094871203348821");
    assert_eq!((&*data.ad_account.currency, &*data.ad_account.timezone_name), ("EUR", "Europe/Berlin"));
    assert_eq!(data.date.to_string(), "2026-02-03");
    assert_eq!(data.request.api_version, "v25.0");
    assert_eq!((data.request.fields.len(), &*data.request.fields[10]), (11, "action_values"));
    assert_eq!(data.request.effective_status.as_deref(), Some(&["ACTIVE".into(), "PAUSED".into()][..]));
    assert_eq!(data.request.attribution_windows, ["1d_click", "7d_click", "1d_view"]);
    assert_eq!(data.control, Some(ControlTotal { spend: "151.22".into(), impressions: 10_401 }));
}

#[test]
fn connections_v1_are_read_as_they_were_meant() {
    for (event_type, reconnected, id) in [
        ("adledger.meta.ad_account.connected.v1", false, "0198c0de-5a00-7000-8000-0000000000c1"),
        ("adledger.meta.ad_account.reconnected.v1", true, "0198c0de-5a00-7000-8000-0000000000c2"),
    ] {
        let text = file(event_type);
        let sample = sample(&text);
        let event = open_connection(&sample.attributes(), &sample.subject).expect("the event is read");
        assert_eq!((event.event_id.as_str(), event.source.as_str()), (id, "urn:adledger:accounts"));
        assert_eq!(event.happened, if reconnected { Happened::Reconnected } else { Happened::Connected });
        let data: AdAccountConnected<'_> = serde_json::from_str(sample.data.get()).expect("its data is read");
        assert_eq!(data.integration_id, event.connection.integration_id);
        assert_eq!((&*data.ad_account.external_id, &*data.ad_account.currency), ("act_1094871203348821", "EUR"));
        // And written again, it is the same event.
        let again = data.announce(id.parse().expect("a UUID"), reconnected).expect("is written");
        assert_eq!(
            (again.subject.as_str(), again.payload.as_slice()),
            (&*sample.subject, sample.data.get().as_bytes())
        );
        assert!(again.headers.iter().all(|header| sample.headers.contains(header)), "{:?}", again.headers);
    }
}

#[test]
fn disconnected_v1_is_read_as_it_was_meant() {
    let text = file("adledger.meta.ad_account.disconnected.v1");
    let sample = sample(&text);
    let event = open_connection(&sample.attributes(), &sample.subject).expect("the event is read");
    assert_eq!(event.happened, Happened::Disconnected);
    let data: AdAccountDisconnected<'_> = serde_json::from_str(sample.data.get()).expect("its data is read");
    assert_eq!(data.integration_id, event.connection.integration_id);
    assert_eq!(&*data.ad_account.external_id, "act_1094871203348821");
    let again = data.announce(event.event_id.parse().expect("a UUID")).expect("is written");
    assert_eq!((again.subject.as_str(), again.payload.as_slice()), (&*sample.subject, sample.data.get().as_bytes()));
    assert!(again.headers.iter().all(|header| sample.headers.contains(header)), "{:?}", again.headers);
}

#[test]
fn token_expiring_v1_is_read_as_it_was_meant() {
    let text = file("adledger.meta.token.expiring.v1");
    let sample = sample(&text);
    let event = open_connection(&sample.attributes(), &sample.subject).expect("the event is read");
    assert_eq!(event.happened, Happened::TokenExpiring);
    let data: TokenExpiring<'_> = serde_json::from_str(sample.data.get()).expect("its data is read");
    assert_eq!(data.integration_id, event.connection.integration_id);
    assert_eq!((data.ends, data.days_left, data.threshold), (TokenEnd::Token, 6, 7));
    assert_eq!(data.expires_at.to_rfc3339(), "2026-05-18T08:00:00+00:00");
    let (id, at) = (event.event_id.parse().expect("a UUID"), "2026-05-12T09:30:12.500Z".parse().expect("an instant"));
    let again = data.announce(id, at).expect("is written");
    assert_eq!((again.subject.as_str(), again.payload.as_slice()), (&*sample.subject, sample.data.get().as_bytes()));
    assert!(again.headers.iter().all(|header| sample.headers.contains(header)), "{:?}", again.headers);
}

#[test]
fn sync_requested_v1_is_read_as_it_was_meant() {
    let text = file("adledger.meta.sync.requested.v1");
    let sample = sample(&text);
    let data: SyncRequested = serde_json::from_str(sample.data.get()).expect("its data is read");
    assert_eq!(
        (data.job_type.as_str(), data.run_id.to_string().as_str()),
        ("meta_7d_fill", "0198c0de-3333-7000-8000-000000000033")
    );
    let id = "0198c0de-5b00-7000-8000-0000000000d1".parse().expect("a UUID");
    let at = "2026-02-04T06:00:01.250Z".parse().expect("an instant");
    let again = data.announce(id, at, events::subject::Priority::High).expect("is written");
    assert_eq!((again.subject.as_str(), again.payload.as_slice()), (&*sample.subject, sample.data.get().as_bytes()));
    assert!(again.headers.iter().all(|header| sample.headers.contains(header)), "{:?}", again.headers);
}

#[test]
fn daily_summary_changed_v1_is_read_as_it_was_meant() {
    let text = file("adledger.warehouse.daily_summary.changed.v1");
    let sample = sample(&text);
    let data: DailySummaryChanged = serde_json::from_str(sample.data.get()).expect("its data is read");
    assert_eq!((data.version, data.cause, data.currency.as_deref()), (2, Cause::Live, Some("EUR")));
    let day = SummaryDay::parse(&sample.subject).expect("its subject is read");
    assert_eq!((data.account_id, data.date), (day.account_id, day.date));
    let (old, new) = (data.old.as_ref().expect("a row"), data.new.as_ref().expect("a row"));
    assert_eq!((old.meta_spend.as_deref(), old.meta_impressions), (Some("148.07"), Some(10_012)));
    assert_eq!((new.meta_purchase_value.as_deref(), new.meta_roas.as_deref()), (Some("671.30"), Some("4.439228")));
    let at = "2026-02-04T06:07:09.500Z".parse().expect("an instant");
    let again = data.announce(at).expect("is written");
    assert_eq!((again.subject.as_str(), again.payload.as_slice()), (&*sample.subject, sample.data.get().as_bytes()));
    assert!(again.headers.iter().all(|header| sample.headers.contains(header)), "{:?}", again.headers);

    // The id is the change's: another version, date or tenant has another one.
    let ids = [
        data.event_id(),
        DailySummaryChanged { version: 3, ..data.clone() }.event_id(),
        DailySummaryChanged { date: day.date.succ_opt().expect("a day"), ..data.clone() }.event_id(),
        DailySummaryChanged { account_id: uuid::Uuid::nil(), ..data.clone() }.event_id(),
    ];
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    assert_eq!(DailySummaryChanged { cause: Cause::Replay, old: None, ..data }.event_id(), ids[0]);
}

#[test]
fn rows_stay_the_bytes_that_meta_sent() {
    let text = file("adledger.meta.insights.fetched.v1");
    let sample = sample(&text);
    let day = AccountDay::parse(&sample.subject).expect("its subject is read");
    let data = InsightsData::parse(sample.data.get().as_bytes(), &day).expect("its data is read");
    let rows: Vec<BTreeMap<&str, &RawValue>> =
        data.rows.iter().map(|row| serde_json::from_str(row.get()).expect("a row is an object")).collect();
    for (row, field, wanted) in [
        // Escapes that no string of ours can hold: nul, and halves of a surrogate pair.
        (0, "ad_name", r#""cut emoji \ud83d and nul \u0000 and \udc00\u202e""#),
        (0, "campaign_name", r#""Winter \ud83d\ude00 \"sale\"""#),
        (0, "spend", r#""148.07""#),
        (1, "ad_name", r#""محفظة — \\u0000 is text here""#),
        // Meta sends bare numbers at times, and 0.30 must not become 0.3.
        (1, "spend", "0.30"),
        (1, "impressions", "12"),
    ] {
        assert_eq!(rows[row][field].get(), wanted, "row {row}, {field}");
    }
    assert!(!rows[1].contains_key("clicks"), "a metric that Meta did not send stays unsent");
}

#[test]
fn the_sample_s_data_survives_compression() {
    let text = file("adledger.meta.insights.fetched.v1");
    let sample = sample(&text);
    let day = AccountDay::parse(&sample.subject).expect("its subject is read");
    let data = InsightsData::parse(sample.data.get().as_bytes(), &day).expect("its data is read");
    let c = open_insights(&sample.attributes()).expect("its circumstances are read");
    let event = InsightsFetched::new(c.event_id, c.fetched_at, c.run_id, 1, &data, data.row_bytes())
        .expect("it is encoded anew");
    assert_eq!(event.circumstances.codec, payload::Codec::Zstd);
    assert!(event.payload.len() < sample.data.get().len());
    assert_eq!(event.day, day);

    let json = payload::decode(payload::Codec::Zstd, &event.payload, LIMIT_BYTES).expect("it is decompressed");
    assert_eq!(
        json,
        serde_json::to_vec(&data).expect("it is written at once"),
        "written piece by piece, it is the same"
    );
    let again = InsightsData::parse(&json, &day).expect("it is read");
    let bytes = |data: &InsightsData<'_>| data.rows.iter().map(|row| row.get().to_owned()).collect::<Vec<_>>();
    assert_eq!(bytes(&again), bytes(&data));
    assert_eq!(again.control, data.control);
}

#[test]
fn rows_that_are_no_utf_8_travel_as_they_are() {
    let text = file("adledger.meta.insights.fetched.v1");
    let sample = sample(&text);
    let day = AccountDay::parse(&sample.subject).expect("its subject is read");
    let head = InsightsData::parse(sample.data.get().as_bytes(), &day).expect("its data is read");
    let c = open_insights(&sample.attributes()).expect("its circumstances are read");
    let rows: [&[u8]; 2] = [b"{\"ad_id\":\"1\",\"ad_name\":\"caf\xe9\"}", b"{\"ad_id\":\"2\"}"];
    let event = InsightsFetched::new(c.event_id, c.fetched_at, c.run_id, 1, &head, rows).expect("it is encoded");
    assert_eq!(event.circumstances.row_count, Some(2), "the head's own rows are passed over");
    let data = payload::decode(event.circumstances.codec, &event.payload, LIMIT_BYTES).expect("it is decoded");
    assert!(data.windows(rows[0].len()).any(|bytes| bytes == rows[0]), "the bytes are Meta's");
    let json = payload::text(&data);
    let read = InsightsData::parse(json.as_bytes(), &day).expect("it is read");
    assert_eq!(read.rows[0].get(), "{\"ad_id\":\"1\",\"ad_name\":\"caf\u{fffd}\"}");
}

#[test]
fn every_event_type_has_a_sample_that_fits_its_schema() {
    for (event_type, schema) in events::schemas() {
        let text = file(event_type);
        let sample = sample(&text);
        let named = sample.headers.iter().find(|(name, _)| name == "ce-type").map(|(_, value)| value.as_str());
        assert_eq!(named, Some(event_type));
        let mut misfits = Vec::new();
        fit::fit(&schema, &schema, sample.data, event_type, &mut misfits);
        assert_eq!(misfits, Vec::<String>::new());
    }
}
