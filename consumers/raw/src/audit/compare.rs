//! What two readings of one day have to say about each other. Pure: no server is asked here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use events::Claim;
use serde::Serialize;
use uuid::Uuid;

/// A message of the stream that is an event; its bytes are read, hashed and gone.
#[derive(Debug, Clone)]
pub(crate) struct InStream {
    pub event_id: Uuid,
    pub sequence: u64,
    /// Of its payload, wherever that is; empty where it is not to be had.
    pub sha256: Vec<u8>,
    /// Where its payload is, if not in the message.
    pub claim: Option<Claim>,
    pub headers: BTreeMap<String, String>,
    /// Headers and payload.
    pub bytes: u64,
}

/// An event of meta_insights_raw.
#[derive(Debug, Clone)]
pub(crate) struct InRaw {
    pub event_id: Uuid,
    /// What was written down when it came.
    pub recorded_sha256: Vec<u8>,
    /// What its bytes say now; `None` when they are gone.
    pub sha256: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
    pub incarnation: DateTime<Utc>,
    pub sequence: i64,
}

/// How the two logs differ about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The stream has it, and the consumer that appends has passed it.
    MissingInRaw,
    /// meta_insights_raw has it, and no trim took it out of the stream.
    MissingInStream,
    /// The bytes in PostgreSQL are not those whose sha256 was recorded; the stream's are.
    DamagedInRaw,
    /// The bytes in the stream are not those whose sha256 was recorded; PostgreSQL's are.
    DamagedInStream,
    /// No copy that is left has the bytes whose sha256 was recorded.
    NoGoodCopy,
    /// It was folded once, and neither log has it.
    InNeither,
    /// Equal bytes under headers that differ; nothing proves which are right.
    OtherHeaders,
}

impl Kind {
    /// In words, after "an event" or "events".
    pub fn words(self) -> &'static str {
        match self {
            Kind::MissingInRaw => "missing in raw",
            Kind::MissingInStream => "missing in the stream",
            Kind::DamagedInRaw => "damaged in raw",
            Kind::DamagedInStream => "damaged in the stream",
            Kind::NoGoodCopy => "without a good copy",
            Kind::InNeither => "in neither log",
            Kind::OtherHeaders => "with other headers",
        }
    }
}

/// One difference between the logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Difference {
    pub kind: Kind,
    pub event_id: Uuid,
    /// The message that it is about; for what raw lacks, the one to append. `None` where the stream has none.
    pub sequence: Option<u64>,
}

/// A range of the log that `streams trim` took out of the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PastTrim {
    pub incarnation: DateTime<Utc>,
    pub up_to_sequence: i64,
    pub before: NaiveDate,
}

impl PastTrim {
    fn took(&self, date: NaiveDate, event: &InRaw) -> bool {
        let place = (event.incarnation, event.sequence);
        date < self.before && place <= (self.incarnation, self.up_to_sequence)
    }
}

/// What is known beside the day's two readings.
pub(crate) struct Known<'a> {
    pub date: NaiveDate,
    /// Up to here the consumer that appends has settled every message.
    pub ack_floor: u64,
    pub trims: &'a [PastTrim],
}

/// What a day looks like on both sides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    pub differences: Vec<Difference>,
    /// Events that are still to be appended: the consumer has not passed them.
    pub on_their_way: u64,
    /// Events that a trim left to raw alone.
    pub trimmed: u64,
    /// Messages that repeat an event of the same bytes; delivery is at least once.
    pub duplicates: u64,
    /// Messages whose event is in raw byte for byte: those that a trim may take.
    pub proven: Vec<u64>,
}

/// Compares a day's messages, in the order of their sequences, with its rows. The rows must have been read first: an
/// event that is appended while the day is read is then seen in the stream at least.
///
/// `observed` are the events of the day that were folded: they witness what both logs may have lost.
pub(crate) fn compare(known: &Known<'_>, observed: &[Uuid], raw: &[InRaw], stream: &[InStream]) -> Compared {
    let mut compared = Compared::default();
    let ids: BTreeSet<Uuid> = stream.iter().map(|e| e.event_id).chain(raw.iter().map(|e| e.event_id)).collect();
    for id in ids.iter().copied() {
        let copies: Vec<&InStream> = stream.iter().filter(|e| e.event_id == id).collect();
        match raw.iter().find(|e| e.event_id == id) {
            None => missing_in_raw(known, id, &copies, &mut compared),
            Some(row) => in_raw(known, row, &copies, &mut compared),
        }
    }
    for id in observed.iter().filter(|id| !ids.contains(id)) {
        compared.add(Kind::InNeither, *id, None);
    }
    compared
}

fn missing_in_raw(known: &Known<'_>, event_id: Uuid, copies: &[&InStream], compared: &mut Compared) {
    match copies.iter().find(|copy| copy.sequence <= known.ack_floor) {
        Some(copy) => compared.add(Kind::MissingInRaw, event_id, Some(copy.sequence)),
        None => compared.on_their_way += 1,
    }
}

fn in_raw(known: &Known<'_>, row: &InRaw, copies: &[&InStream], compared: &mut Compared) {
    let of_bytes: Vec<&&InStream> = copies.iter().filter(|copy| copy.sha256 == row.recorded_sha256).collect();
    if row.sha256.as_ref() != Some(&row.recorded_sha256) {
        return match of_bytes.first() {
            Some(copy) => compared.add(Kind::DamagedInRaw, row.event_id, Some(copy.sequence)),
            None => compared.add(Kind::NoGoodCopy, row.event_id, copies.first().map(|copy| copy.sequence)),
        };
    }
    for copy in copies {
        if copy.sha256 != row.recorded_sha256 {
            compared.add(Kind::DamagedInStream, row.event_id, Some(copy.sequence));
        } else if copy.headers != row.headers {
            compared.add(Kind::OtherHeaders, row.event_id, Some(copy.sequence));
        } else {
            compared.proven.push(copy.sequence);
        }
    }
    compared.duplicates += (of_bytes.len() as u64).saturating_sub(1);
    if copies.is_empty() {
        if known.trims.iter().any(|trim| trim.took(known.date, row)) {
            compared.trimmed += 1;
        } else {
            compared.add(Kind::MissingInStream, row.event_id, None);
        }
    }
}

impl Compared {
    fn add(&mut self, kind: Kind, event_id: Uuid, sequence: Option<u64>) {
        self.differences.push(Difference { kind, event_id, sequence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 10;

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("an instant")
    }

    /// A message that carries these bytes.
    fn message(id: u128, sequence: u64, bytes: u8) -> InStream {
        let headers = BTreeMap::from([("ce-id".to_owned(), id.to_string())]);
        InStream { event_id: Uuid::from_u128(id), sequence, sha256: vec![bytes], claim: None, headers, bytes: 1 }
    }

    /// A row that was written with one content and has another now.
    fn row(id: u128, recorded: u8, now: Option<u8>) -> InRaw {
        let InStream { event_id, headers, .. } = message(id, 0, 0);
        let (recorded_sha256, sha256) = (vec![recorded], now.map(|now| vec![now]));
        InRaw { event_id, recorded_sha256, sha256, headers, incarnation: time(5), sequence: 1 }
    }

    #[test]
    fn each_difference_has_its_name() {
        let mut renamed = message(1, 3, 7);
        renamed.headers.insert("ce-time".to_owned(), "another".to_owned());
        let good = || message(1, 3, 7);
        type Case = (&'static str, Vec<InStream>, Vec<InRaw>, Vec<(Kind, Option<u64>)>);
        let cases: Vec<Case> = vec![
            ("equal", vec![good()], vec![row(1, 7, Some(7))], vec![]),
            ("twice in the stream", vec![good(), message(1, 4, 7)], vec![row(1, 7, Some(7))], vec![]),
            ("raw lost it", vec![good()], vec![], vec![(Kind::MissingInRaw, Some(3))]),
            ("still to come", vec![message(1, 11, 7)], vec![], vec![]),
            ("the stream lost it", vec![], vec![row(1, 7, Some(7))], vec![(Kind::MissingInStream, None)]),
            ("a bit in PostgreSQL", vec![good()], vec![row(1, 7, Some(8))], vec![(Kind::DamagedInRaw, Some(3))]),
            ("no bytes in PostgreSQL", vec![good()], vec![row(1, 7, None)], vec![(Kind::DamagedInRaw, Some(3))]),
            (
                "a bit in the stream",
                vec![message(1, 3, 8)],
                vec![row(1, 7, Some(7))],
                vec![(Kind::DamagedInStream, Some(3))],
            ),
            (
                "a false copy beside the true one",
                vec![message(1, 3, 8), message(1, 4, 7)],
                vec![row(1, 7, Some(7))],
                vec![(Kind::DamagedInStream, Some(3))],
            ),
            ("both", vec![message(1, 3, 8)], vec![row(1, 7, Some(9))], vec![(Kind::NoGoodCopy, Some(3))]),
            ("the only copy", vec![], vec![row(1, 7, Some(9))], vec![(Kind::NoGoodCopy, None)]),
            ("a witness alone", vec![], vec![], vec![(Kind::InNeither, None)]),
            ("another time", vec![renamed], vec![row(1, 7, Some(7))], vec![(Kind::OtherHeaders, Some(3))]),
        ];
        let date = NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day");
        for (what, stream, raw, wanted) in cases {
            let found = compare(&Known { date, ack_floor: FLOOR, trims: &[] }, &[Uuid::from_u128(1)], &raw, &stream);
            let found: Vec<_> = found.differences.into_iter().map(|d| (d.kind, d.sequence)).collect();
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[test]
    fn what_a_trim_took_is_not_missed() {
        let day = |d| NaiveDate::from_ymd_opt(2026, 3, d).expect("a day");
        let trims = [PastTrim { incarnation: time(5), up_to_sequence: 4, before: day(10) }];
        for (what, date, incarnation, sequence, trimmed) in [
            ("before, and there at the time", day(9), 5, 4, 1),
            ("in an earlier stream", day(9), 3, 400, 1),
            ("came after the trim", day(9), 5, 5, 0),
            ("in a later stream", day(9), 6, 1, 0),
            ("a day that was kept", day(10), 5, 4, 0),
        ] {
            let row = InRaw { incarnation: time(incarnation), sequence, ..row(1, 7, Some(7)) };
            let found = compare(&Known { date, ack_floor: FLOOR, trims: &trims }, &[], &[row], &[]);
            assert_eq!((found.trimmed, found.differences.len()), (trimmed, 1 - trimmed as usize), "{what}");
        }
    }
}
