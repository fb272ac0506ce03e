//! What holds of any body that comes as an answer about a window of days, whoever wrote it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};
use events::payload::{self, Codec};
use events::{AdAccount, InsightsData, InsightsFetched, Request};
use meta_api::{DayAnswer, Rows, decode_page};
use projections::purchases::PurchaseRule;
use projections::{Snapshot, Unfoldable};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The first day that is asked for; in the corpus, rows of two days name it and the next one.
const SINCE: NaiveDate = NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day");
const LIMIT_BYTES: u64 = 64 << 20;

/// Reads the body as the answer about one day, and about two.
///
/// Returns whether one of them was read, or only refused with a reason.
///
/// # Panics
/// When something does not hold.
pub fn check(body: &[u8]) -> bool {
    let read = [0, 1].map(|more| check_window(body, &(SINCE..=SINCE + Days::new(more))));
    read.contains(&true)
}

fn check_window(body: &[u8], window: &RangeInclusive<NaiveDate>) -> bool {
    let owned = body.to_vec();
    let place = owned.as_ptr_range();
    let (mut days, _) = match decode_page(owned, window) {
        Ok(read) => read,
        Err(reason) => {
            assert!(!reason.is_empty() && !reason.contains('\n'), "a refusal is one sentence: {reason:?}");
            return false;
        }
    };
    let asked: Vec<_> = window.start().iter_days().take_while(|day| day <= window.end()).collect();
    assert_eq!(days.iter().map(|day| day.date).collect::<Vec<_>>(), asked, "every day of the window is there");

    for day in &days {
        for row in day.rows.iter() {
            let of_body = row.as_ptr_range();
            assert!(place.start <= of_body.start && of_body.end <= place.end, "a row is a slice of the body");
            assert!(row.starts_with(b"{") && row.ends_with(b"}"), "a row is a whole object");
        }
    }
    check_nothing_is_dropped(body, &days);
    check_any_order(&mut days, window);
    days.iter().for_each(check_event);
    true
}

#[derive(serde::Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// Each entry of the list is a row, but what repeats another byte for byte.
fn check_nothing_is_dropped(body: &[u8], days: &[DayAnswer]) {
    let text = String::from_utf8_lossy(body);
    let list: List<'_> = serde_json::from_str(&text).expect("what was read is a list");
    let sent: BTreeSet<String> = list.data.iter().map(|row| row.get().to_owned()).collect();
    let read = days.iter().flat_map(|day| day.rows.iter()).map(|row| String::from_utf8_lossy(row).into_owned());
    assert_eq!(read.collect::<BTreeSet<_>>(), sent, "every row is there");
}

/// The same rows in the other order are the same days.
fn check_any_order(days: &mut [DayAnswer], window: &RangeInclusive<NaiveDate>) {
    let turned: Vec<&[u8]> =
        days.iter().flat_map(|day| day.rows.iter()).collect::<Vec<_>>().into_iter().rev().collect();
    let body = [b"{\"data\":[", &turned.join(&b","[..])[..], b"]}"].concat();
    let (mut again, after) = decode_page(body, window).expect("rows that were read are read again");
    assert_eq!(after, None, "without paging there is no next page");
    let bytes = |rows: &Rows| rows.iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
    for (day, other) in days.iter_mut().zip(&mut again) {
        day.rows.sort();
        other.rows.sort();
        assert_eq!(bytes(&day.rows), bytes(&other.rows), "the order of the rows changes nothing");
        let currencies = |day: &DayAnswer| day.currencies.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(currencies(day), currencies(other));
    }
}

/// A day that was read becomes an event that holds its bytes, that is data, and that is folded or parked for a row of it.
fn check_event(day: &DayAnswer) {
    let rows: Vec<&[u8]> = day.rows.iter().collect();
    let fetched_at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::days(20_600);
    let head = InsightsData {
        account_id: Uuid::from_u128(1),
        ad_account: AdAccount {
            id: Uuid::from_u128(2),
            external_id: "act_2".into(),
            currency: "EUR".into(),
            timezone_name: "Asia/Tokyo".into(),
        },
        date: day.date,
        request: Request {
            api_version: "v25.0".into(),
            fields: Vec::new(),
            effective_status: None,
            attribution_windows: Vec::new(),
        },
        control: None,
        rows: Vec::new(),
    };
    let event = InsightsFetched::new(Uuid::nil(), fetched_at, None, 1, &head, &rows).expect("a day is encoded");
    assert_eq!(event.circumstances.row_count.map(|count| count as usize), Some(rows.len()));
    let codec = event.circumstances.codec;
    let data = payload::decode(codec, &event.payload, LIMIT_BYTES).expect("what was encoded is decoded");
    assert_eq!(codec == Codec::Plain, data.len() < payload::PLAIN_BELOW_BYTES);
    let ending = [b"\"rows\":[", &rows.join(&b","[..])[..], b"]}"].concat();
    assert!(data.ends_with(&ending), "the event holds the bytes of the rows");

    let text = payload::text(&data);
    let data = InsightsData::parse(text.as_bytes(), &event.day).expect("what was published is data");
    assert_eq!(data.rows.len(), rows.len());
    let rule = Arc::new(PurchaseRule::default());
    let decoded = Snapshot::decode(&event.circumstances, event.day, fetched_at, &event.payload, &rule, LIMIT_BYTES);
    match decoded {
        Ok(snapshot) => {
            assert_eq!(snapshot.row_count + snapshot.superseded.len(), rows.len(), "each row counts or is named");
        }
        Err(Unfoldable::Row { number, reason }) => {
            assert!((1..=rows.len()).contains(&number) && !reason.is_empty(), "row {number}: {reason}");
        }
        Err(other) => panic!("a day is parked for a row or not at all: {other}"),
    }
}
