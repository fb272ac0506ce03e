//! What a payload says: read at once while it is small, else part by part, so that memory never holds a large event's
//! data.
//!
//! A part is read as data is, and its rows are encoded as those of an event are. What is left to do here are ads that
//! stand in two parts: the later row counts, as it does within a part.

use std::collections::{HashMap, HashSet};

use events::payload::{self, Codec, PayloadError};
use events::subject::AccountDay;
use events::{Circumstances, ControlTotal, EventError, InsightsData, Parts, PartsError, Upcaster};
use sha2::{Digest, Sha256};

use super::copy::{Rows, encode};
use super::data::{self, Parsed};
use super::snapshot::{ContentHash, Sums, Unfoldable};
use crate::purchases::PurchaseRule;

/// Data up to this size is read at once.
const AT_ONCE_BYTES: u64 = payload::KEPT_BYTES;
/// Data that cannot be read in parts, because it does not end with its rows, is read at once up to this size.
const NOT_IN_PARTS_BYTES: u64 = 64 << 20;

/// A payload, read.
#[derive(Debug)]
pub(crate) struct Content {
    pub head: EventHead,
    pub rows: Rows,
    pub sums: Sums,
    pub superseded: Vec<String>,
    /// Of the decompressed data, as it came; of another version, as it is in the newest.
    pub sha256: ContentHash,
}

/// What the folds use of the data beside its rows.
#[derive(Debug)]
pub(crate) struct EventHead {
    pub currency: String,
    pub timezone_name: String,
    pub control: Option<ControlTotal>,
    pub status_filter: Option<String>,
    pub attribution_windows: String,
    /// Whether the rule's window was asked for.
    pub purchases_known: bool,
}

impl EventHead {
    fn of(data: &InsightsData<'_>, rule: &PurchaseRule) -> Result<Self, Unfoldable> {
        let words = data.request.effective_status.iter().chain([&data.request.attribution_windows]).flatten();
        if let Some(word) = words.into_iter().find(|word| word.contains('\0')) {
            return Err(Unfoldable::Request(word.to_string()));
        }
        Ok(EventHead {
            currency: data.ad_account.currency.to_string(),
            timezone_name: data.ad_account.timezone_name.to_string(),
            control: data.control.clone(),
            status_filter: data.request.effective_status.as_ref().map(|all| all.join(",")),
            attribution_windows: data.request.attribution_windows.join(","),
            purchases_known: rule.is_answered_by(&data.request.attribution_windows),
        })
    }
}

/// Reads a payload. `limit_bytes` bounds the decompressed data. What the event says of its size may be wrong: then it is
/// only read more slowly.
pub(crate) fn read(
    circumstances: &Circumstances,
    payload: &[u8],
    day: &AccountDay,
    rule: &PurchaseRule,
    limit_bytes: u64,
) -> Result<Content, Unfoldable> {
    let &Circumstances { codec, upcaster, uncompressed_bytes, .. } = circumstances;
    let large = Large { codec, payload, day, rule, limit_bytes, upcaster };
    if let Some(Upcaster { event_type, .. }) = upcaster {
        return large.read().map_err(|error| match error {
            PartError::Unfoldable(reason) => reason,
            PartError::Parts(PartsError::Payload(error)) => EventError::from(error).into(),
            PartError::Parts(error) => EventError::Upcast { event_type, reason: error.to_string() }.into(),
        });
    }
    let stated_bytes = uncompressed_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    if stated_bytes.is_none_or(|bytes| bytes <= AT_ONCE_BYTES) || limit_bytes <= AT_ONCE_BYTES {
        match at_once(codec, payload, day, rule, limit_bytes.min(AT_ONCE_BYTES)) {
            Err(Unfoldable::Event(EventError::Payload(PayloadError::TooLarge { .. })))
                if limit_bytes > AT_ONCE_BYTES => {}
            read => return read,
        }
    }
    match large.read() {
        Err(PartError::Parts(PartsError::NotInParts | PartsError::Upcast { .. })) => {
            at_once(codec, payload, day, rule, limit_bytes.min(NOT_IN_PARTS_BYTES))
        }
        Err(PartError::Parts(PartsError::Payload(error))) => Err(EventError::from(error).into()),
        Err(PartError::Unfoldable(reason)) => Err(reason),
        Ok(content) => Ok(content),
    }
}

/// The hash of an event's content alone: nothing is made of its JSON.
pub fn sha256(circumstances: &Circumstances, payload: &[u8], limit_bytes: u64) -> Result<ContentHash, EventError> {
    let &Circumstances { codec, upcaster, .. } = circumstances;
    let whole = |limit_bytes| payload::decoded(codec, payload, limit_bytes, |bytes| Sha256::digest(bytes).into());
    if upcaster.is_none() {
        match whole(limit_bytes.min(AT_ONCE_BYTES)) {
            Err(PayloadError::TooLarge { .. }) if limit_bytes > AT_ONCE_BYTES => {}
            hashed => return Ok(hashed?),
        }
    }
    let in_parts = || {
        let mut parts = Parts::new(codec, payload, limit_bytes)?.upcast(upcaster);
        while parts.next_part()?.is_some() {}
        Ok(parts.sha256())
    };
    match in_parts() {
        Err(PartsError::NotInParts) if upcaster.is_none() => Ok(whole(limit_bytes.min(NOT_IN_PARTS_BYTES))?),
        Err(PartsError::Payload(error)) => Err(error.into()),
        Err(error) => Err(EventError::Data { reason: error.to_string() }),
        Ok(hashed) => Ok(hashed),
    }
}

fn at_once(
    codec: Codec,
    payload: &[u8],
    day: &AccountDay,
    rule: &PurchaseRule,
    limit_bytes: u64,
) -> Result<Content, Unfoldable> {
    let content = payload::decoded(codec, payload, limit_bytes, |bytes| {
        let json = payload::text(bytes);
        let (data, rows) = data::read(&json, day, rule)?;
        let head = EventHead::of(&data, rule)?;
        let (rows, sums, superseded) = encode(&head.currency, rows, head.purchases_known)?;
        Ok(Content { head, rows, sums, superseded, sha256: Sha256::digest(bytes).into() })
    });
    content.map_err(EventError::from)?
}

/// Why a part is not read.
#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error(transparent)]
    Parts(#[from] PartsError),
    #[error(transparent)]
    Unfoldable(#[from] Unfoldable),
}

/// A payload that is read in parts.
#[derive(Clone, Copy)]
struct Large<'p> {
    codec: Codec,
    payload: &'p [u8],
    day: &'p AccountDay,
    rule: &'p PurchaseRule,
    limit_bytes: u64,
    upcaster: Option<Upcaster>,
}

impl Large<'_> {
    fn read(self) -> Result<Content, PartError> {
        match self.read_but(&HashSet::new()) {
            // Rare, and read again for it: an ad stands twice, or a row cannot be used, which matters only if none
            // replaces it.
            Ok((_, true)) | Err(PartError::Unfoldable(Unfoldable::Row { .. })) => {
                let (replaced, superseded) = self.replaced()?;
                self.read_but(&replaced).map(|(content, _)| Content { superseded, ..content })
            }
            read => read.map(|(content, _)| content),
        }
    }

    /// Reads all rows but those of these numbers; and whether an ad stood in two parts.
    fn read_but(self, replaced: &HashSet<usize>) -> Result<(Content, bool), PartError> {
        let (mut ads, mut twice) = (HashSet::new(), false);
        let mut content: Option<Content> = None;
        let sha256 = self.each(|before, data, rows| {
            let rows = (before..).zip(rows).filter(|(number, _)| !replaced.contains(number)).map(|(_, row)| row);
            let head = EventHead::of(&data, self.rule)?;
            let encoded = encode(&head.currency, rows.collect(), head.purchases_known);
            let (rows, sums, superseded) = encoded.map_err(|reason| match reason {
                Unfoldable::Row { number, reason } => Unfoldable::Row { number: before + number, reason },
                other => other,
            })?;
            for (ad_id, _) in rows.iter() {
                twice |= !ads.insert(ad_id.to_owned());
            }
            match &mut content {
                None => content = Some(Content { head, rows, sums, superseded, sha256: ContentHash::default() }),
                Some(content) => {
                    content.rows.append(rows);
                    content.sums.add(&sums);
                    content.superseded.extend(superseded);
                }
            }
            Ok(())
        })?;
        // There is always a first part.
        let content = content.ok_or(PartsError::NotInParts)?;
        Ok((Content { sha256, ..content }, twice))
    }

    /// The numbers, from 0, of rows whose ad has a later one, and their ads.
    fn replaced(self) -> Result<(HashSet<usize>, Vec<String>), PartError> {
        let (mut latest, mut replaced, mut superseded) = (HashMap::new(), HashSet::new(), Vec::new());
        self.each(|before, _, rows| {
            for (number, (ad_id, _)) in (before..).zip(rows) {
                let ad_id = ad_id.into_owned();
                if let Some(earlier) = latest.insert(ad_id.clone(), number) {
                    replaced.insert(earlier);
                    superseded.push(ad_id);
                }
            }
            Ok(())
        })?;
        Ok((replaced, superseded))
    }

    /// Hands out the data of each part with its rows, and how many rows came before; returns the sha256 of all the
    /// data.
    fn each(
        self,
        mut take: impl FnMut(usize, InsightsData<'_>, Vec<Parsed<'_>>) -> Result<(), Unfoldable>,
    ) -> Result<ContentHash, PartError> {
        let parts = Parts::new(self.codec, self.payload, self.limit_bytes).map_err(PartsError::from)?;
        let mut parts = parts.upcast(self.upcaster);
        let mut before = 0;
        while let Some(part) = parts.next_part()? {
            let json = payload::text(part);
            let (data, rows) = data::read(&json, self.day, self.rule).map_err(|reason| match reason {
                Unfoldable::Row { number, reason } => Unfoldable::Row { number: before + number, reason },
                other => other,
            })?;
            let count = rows.len();
            take(before, data, rows)?;
            before += count;
        }
        Ok(parts.sha256())
    }
}

#[cfg(test)]
mod tests {
    use events::payload::Encoder;
    use uuid::Uuid;

    use super::*;

    const DAY: AccountDay = AccountDay {
        account_id: Uuid::from_u128(1),
        ad_account_id: Uuid::from_u128(2),
        date: chrono::NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day"),
    };

    fn data(rows: &[Vec<u8>], after: &str) -> Vec<u8> {
        let (account_id, id) = (DAY.account_id, DAY.ad_account_id);
        let head = format!(
            r#"{{"account_id":"{account_id}","ad_account":{{"id":"{id}","external_id":"act_2","currency":"USD","timezone_name":"UTC"}},
                "date":"2026-03-01","request":{{"api_version":"v25.0","fields":[],"effective_status":["ACTIVE"],"attribution_windows":[]}},
                "control":{{"spend":"1.5","impressions":3}},"rows":["#
        );
        [head.as_bytes(), &rows.join(&b","[..]), b"]", after.as_bytes(), b"}"].concat()
    }

    fn circumstances(codec: Codec, uncompressed_bytes: Option<i64>) -> Circumstances {
        Circumstances {
            event_id: uuid::Uuid::nil(),
            fetched_at: chrono::DateTime::UNIX_EPOCH,
            run_id: None,
            row_count: None,
            page_count: None,
            codec,
            uncompressed_bytes,
            traceparent: None,
            upcaster: None,
        }
    }

    /// A row of about 6 kB.
    fn row(ad: usize, spend: usize) -> Vec<u8> {
        let name = "n".repeat(6_000);
        format!(r#"{{"ad_id":"{ad}","spend":"{spend}","impressions":"1","ad_name":"{name}"}}"#).into_bytes()
    }

    /// What is read, in words; the same in parts and at once.
    fn said(read: Result<Content, Unfoldable>) -> String {
        match read {
            Ok(Content { head, rows, sums, mut superseded, sha256 }) => {
                let rows: Vec<_> = rows.iter().collect();
                superseded.sort();
                format!("{head:?} {sums:?} {superseded:?} {sha256:?} {rows:?}")
            }
            Err(reason) => reason.to_string(),
        }
    }

    #[test]
    fn in_parts_it_says_what_it_says_at_once() {
        let ads: Vec<Vec<u8>> = (0..400).map(|ad| row(ad, ad)).collect();
        let with = |at: usize, row: Vec<u8>| {
            let mut rows = ads.clone();
            rows[at] = row;
            rows
        };
        let bad = |ad: usize| format!(r#"{{"ad_id":"{ad}","spend":"much"}}"#).into_bytes();
        let mut cut = row(399, 1);
        cut[2000] = 0xe9;
        for (what, rows, after, wanted) in [
            ("as it should be", ads.clone(), "", "spend: Some(79800)"),
            ("an ad stands twice, far apart", with(300, row(3, 1)), "", "spend: Some(79498)"),
            ("an ad stands thrice", [with(300, row(3, 1)), vec![row(3, 7)]].concat(), "", "spend: Some(79504)"),
            ("a row that cannot be used", with(300, bad(300)), "", "row 301 of the event: ad 300: spend \"much\""),
            ("one that is replaced", [with(3, bad(3)), vec![row(3, 9)]].concat(), "", "spend: Some(79806)"),
            ("a row without an ad", with(300, b"{}".to_vec()), "", "row 301 of the event: missing field `ad_id`"),
            ("bytes that are no UTF-8", with(399, cut), "", "\u{fffd}"),
            ("something after the rows", ads.clone(), ",\"more\":1", "spend: Some(79800)"),
            ("no JSON at the end", ads.clone(), "]", "data is not that of"),
        ] {
            let json = data(&rows, after);
            let mut encoder = Encoder::default();
            encoder.push(&json).expect("is taken");
            let encoded = encoder.finish().expect("encodes");
            let read = |stated_bytes| {
                let of = circumstances(encoded.codec, stated_bytes);
                said(read(&of, &encoded.payload, &DAY, &PurchaseRule::default(), 1 << 30))
            };
            let (in_parts, known) = (read(None), read(i64::try_from(json.len()).ok()));
            assert!(in_parts == known, "{what}: with its size known, it says something else");
            let at_once = said(at_once(encoded.codec, &encoded.payload, &DAY, &PurchaseRule::default(), 1 << 30));
            assert!(in_parts.contains(wanted), "{what}: {}", &in_parts[..in_parts.len().min(900)]);
            // Where the JSON itself is refused, the place in it is counted from the part's beginning.
            let place = |text: &str| text.split(" at line").next().unwrap_or_default().to_owned();
            assert!(place(&in_parts) == place(&at_once), "{what}: {}", &at_once[..at_once.len().min(900)]);
        }
    }

    #[test]
    fn what_postgresql_cannot_keep_of_the_request_is_refused() {
        let json = data(&[row(1, 1)], "");
        let json = String::from_utf8(json).expect("is text");
        for (was, is) in [
            ("[\"ACTIVE\"]", "[\"A\\u0000\"]"),
            ("\"attribution_windows\":[]", "\"attribution_windows\":[\"A\\u0000\"]"),
        ] {
            let json = json.replace(was, is);
            let of = circumstances(Codec::Plain, None);
            let reason = said(read(&of, json.as_bytes(), &DAY, &PurchaseRule::default(), 1 << 20));
            assert_eq!(reason, "the request's \"A\\0\" holds a character that PostgreSQL's text does not take");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let json = data(&(0..400).map(|ad| row(ad, ad)).collect::<Vec<_>>(), "");
        for limit_bytes in [1000, AT_ONCE_BYTES, json.len() as u64 - 1] {
            let of = circumstances(Codec::Plain, None);
            let reason = said(read(&of, &json, &DAY, &PurchaseRule::default(), limit_bytes));
            assert_eq!(reason, format!("payload is larger than {limit_bytes} bytes when decompressed"));
        }
    }
}
