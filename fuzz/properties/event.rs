//! What holds of any payload that comes under a subject of insights events, whoever published it.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use events::payload::{self, Codec, KEPT_BYTES};
use events::subject::AccountDay;
use events::{Circumstances, InsightsData, InsightsFetched, Parts, PartsError};
use projections::Snapshot;
use projections::purchases::PurchaseRule;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The day that the corpus speaks of.
const DAY: AccountDay = AccountDay {
    account_id: Uuid::from_u128(1),
    ad_account_id: Uuid::from_u128(2),
    date: NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day"),
};
/// Above the size up to which data is read at once.
const LIMIT_BYTES: u64 = 3 << 20;
/// Columns of a row that come from the row, less one.
const TABS: usize = 12;

/// Decodes the payload, cuts it into parts and folds it; the first byte is the codec.
///
/// Returns whether it can be folded.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> bool {
    let (codec, payload) = split(input);
    let whole = payload::decode(codec, payload, LIMIT_BYTES);
    let kept = payload::decoded(codec, payload, KEPT_BYTES, <[u8]>::to_vec).map_err(|error| error.to_string());
    let fresh = payload::decode(codec, payload, KEPT_BYTES).map(Cow::into_owned).map_err(|error| error.to_string());
    assert!(kept == fresh, "kept memory holds what fresh memory does");
    let parts = read_parts(codec, payload);
    match (&whole, parts) {
        (Ok(data), Ok(parts)) => {
            assert!(data.len() as u64 <= LIMIT_BYTES, "{} bytes are more than the limit", data.len());
            let of_parts: Option<Vec<_>> = parts.iter().map(|part| rows(part)).collect();
            assert_eq!(of_parts.map(|parts| parts.concat()), rows(data), "the parts say what the whole says");
        }
        (Ok(_), Err(PartsError::NotInParts)) | (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("at once it is decoded, in parts it is not: {error}"),
        (Err(error), Ok(_)) => panic!("in parts it is decoded, at once it is not: {error}"),
    }
    match decode(codec, payload) {
        Ok(snapshot) => {
            let data = whole.expect("what is folded is decoded");
            let rows = rows(&data).expect("what is folded has rows");
            assert_eq!(snapshot.row_count + snapshot.superseded.len(), rows.len(), "each row counts or is named");
            for (ad_id, row) in snapshot.rows.iter() {
                assert_eq!(row.matches('\t').count(), TABS, "{row:?}");
                assert!(!row.contains(['\n', '\r', '\0']) && row.starts_with(ad_id), "{row:?}");
            }
            true
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            false
        }
    }
}

/// Folds the same data, made so large by spaces before its rows that it is read in parts, and holds what comes of both against
/// each other. Data without rows, or that is none, is passed over.
///
/// # Panics
/// When they differ.
pub fn check_in_parts(input: &[u8]) {
    let (codec, payload) = split(input);
    let Ok(data) = payload::decode(codec, payload, LIMIT_BYTES) else { return };
    let text = payload::text(&data);
    let Ok(head) = InsightsData::parse(text.as_bytes(), &DAY) else { return };
    if head.rows.is_empty() {
        return;
    }
    let spaces = vec![b' '; (1 << 20) / head.rows.len() + 1];
    let encode = |spaces: &[u8]| {
        let rows = head.row_bytes().map(|row| [spaces, row].concat());
        InsightsFetched::new(Uuid::nil(), DateTime::UNIX_EPOCH, None, 1, &head, rows).expect("data is encoded")
    };
    let said = |event: InsightsFetched| match decode(event.circumstances.codec, &event.payload) {
        Ok(mut snapshot) => {
            snapshot.superseded.sort();
            let rows: Vec<_> = snapshot.rows.iter().collect();
            let Snapshot { currency, control, sums, row_count, superseded, .. } = &snapshot;
            format!("{currency} {control:?} {sums:?} {row_count} {superseded:?} {rows:?}")
        }
        // The place in a row is counted with the spaces.
        Err(reason) => reason.split(" at line").next().unwrap_or_default().to_owned(),
    };
    assert_eq!(said(encode(&spaces)), said(encode(&[])), "in parts it says what it says at once");
}

fn split(input: &[u8]) -> (Codec, &[u8]) {
    match input.split_first() {
        Some((b'z', payload)) => (Codec::Zstd, payload),
        Some((_, payload)) => (Codec::Plain, payload),
        None => (Codec::Plain, input),
    }
}

fn decode(codec: Codec, payload: &[u8]) -> Result<Snapshot, String> {
    let fetched_at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::days(20_600);
    let circumstances = Circumstances {
        event_id: Uuid::nil(),
        fetched_at,
        run_id: None,
        row_count: None,
        page_count: None,
        codec,
        uncompressed_bytes: None,
        traceparent: None,
        upcaster: None,
    };
    let rule = Arc::new(PurchaseRule::default());
    Snapshot::decode(&circumstances, DAY, fetched_at, payload, &rule, LIMIT_BYTES).map_err(|reason| reason.to_string())
}

fn read_parts(codec: Codec, payload: &[u8]) -> Result<Vec<Vec<u8>>, PartsError> {
    let mut parts = Parts::new(codec, payload, LIMIT_BYTES).map_err(PartsError::from)?;
    let mut read = Vec::new();
    while let Some(part) = parts.next_part()? {
        read.push(part.to_vec());
    }
    Ok(read)
}

#[derive(serde::Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
}

/// The JSON of each row, or `None` for what has no rows.
fn rows(json: &[u8]) -> Option<Vec<String>> {
    let text = payload::text(json);
    let data: Data<'_> = serde_json::from_str(&text).ok()?;
    Some(data.rows.iter().map(|row| row.get().to_owned()).collect())
}
