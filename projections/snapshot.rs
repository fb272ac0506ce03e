//! An event, decoded: everything of it that the folds need, its rows already in the form PostgreSQL's COPY takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use events::subject::AccountDay;
use events::{Circumstances, EventError, Version};
use rust_decimal::Decimal;

use crate::content::{self, Content};
use crate::data::Parsed;
use crate::purchases::{PurchaseRule, Purchases};
use crate::row::{self, Field};

/// sha256 of an event's decompressed data.
pub type ContentHash = [u8; 32];

/// An event's clock may be this far ahead of the stream's before the event counts as one from the future.
const FUTURE: Duration = Duration::minutes(2);

/// A control total may be that of a million of the largest rows, and those of years can still be summed.
const MOST_CONTROL: Decimal = Decimal::from_parts(0, 0, 54, false, 0);

/// An event that can never be folded, with the reason in words.
#[derive(Debug, thiserror::Error)]
pub enum Unfoldable {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(
        "the event says it was fetched at {fetched_at}, more than 2 minutes after the stream stored it at {stored_at}"
    )]
    Future { fetched_at: DateTime<Utc>, stored_at: DateTime<Utc> },
    #[error("time zone {0:?} is not known")]
    Timezone(String),
    #[error("the request's {0:?} holds a character that PostgreSQL's text does not take")]
    Request(String),
    #[error("control total: {0}")]
    Control(String),
    /// Counted from 1.
    #[error("row {number} of the event: {reason}")]
    Row { number: usize, reason: String },
}

/// One observed snapshot of an ad account's day.
#[derive(Debug)]
pub struct Snapshot {
    pub day: AccountDay,
    pub version: Version,
    pub content: ContentHash,
    pub currency: String,
    /// The day's age when it was fetched, in days of the ad account's zone.
    pub age_days: i32,
    /// `(spend, impressions)`.
    pub control: Option<(Decimal, i64)>,
    pub status_filter: Option<String>,
    /// The windows that were asked for, joined by commas.
    pub attribution_windows: String,
    /// By which its purchases were read.
    pub rule: Arc<PurchaseRule>,
    /// Whether the rule's window was asked for: nothing is known of its purchases otherwise.
    pub purchases_known: bool,
    pub sums: Sums,
    /// How many ads the event has rows of; `rows` may hold fewer, see [`push_trimmed`].
    pub row_count: usize,
    /// Ads of which the event has another row before the one that counts, once for each.
    pub superseded: Vec<String>,
    pub rows: Rows,
}

/// Sums over a snapshot's own rows. `None`: there are rows, and none of them has the metric; or the purchases are not
/// known. No rows sum to zero.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sums {
    pub spend: Option<Decimal>,
    pub impressions: Option<i64>,
    pub purchases: Option<Decimal>,
    pub purchase_value: Option<Decimal>,
}

/// A snapshot's rows, one an ad: the columns that belong to the row as one stretch of COPY text, in a buffer for each
/// part of the event, so that none has to grow.
#[derive(Debug, Default)]
pub struct Rows {
    segments: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Segment {
    text: String,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    ad_id_end: u32,
    end: u32,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.places.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the rows take of the memory.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.text.len() + size_of_val(&segment.places[..])).sum()
    }

    /// Adds the rows of a further part.
    pub(crate) fn append(&mut self, mut other: Rows) {
        self.segments.append(&mut other.segments);
    }

    /// Keeps the rows of the ads that `keep` wants, and gives the memory of the others back.
    fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.segments.iter_mut().for_each(|segment| segment.retain(&mut keep));
    }

    /// Each row's ad id and COPY text (`ad_id … purchase_action_type`, tab-separated).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.segments.iter().flat_map(Segment::iter)
    }
}

impl Segment {
    fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let kept: Vec<(&str, &str)> = self.iter().filter(|(ad_id, _)| keep(ad_id)).collect();
        if kept.len() == self.places.len() {
            return;
        }
        let mut text = String::with_capacity(kept.iter().map(|(_, row)| row.len()).sum());
        let mut places = Vec::with_capacity(kept.len());
        for (ad_id, row) in kept {
            // What is kept is no longer than what was there, and that fitted.
            let start = text.len() as u32;
            text.push_str(row);
            places.push(Place { start, ad_id_end: start + ad_id.len() as u32, end: text.len() as u32 });
        }
        *self = Segment { text, places };
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|p| {
            let row = &self.text[p.start as usize..p.end as usize];
            (&row[..(p.ad_id_end - p.start) as usize], row)
        })
    }
}

impl Snapshot {
    /// Decodes an event.
    ///
    /// `stored_at` is the stream's time of the message. `limit_bytes` bounds the decompressed data.
    pub fn decode(
        circumstances: &Circumstances,
        day: AccountDay,
        stored_at: DateTime<Utc>,
        payload: &[u8],
        rule: &Arc<PurchaseRule>,
        limit_bytes: u64,
    ) -> Result<Self, Unfoldable> {
        let fetched_at = circumstances.fetched_at;
        if fetched_at > stored_at + FUTURE {
            return Err(Unfoldable::Future { fetched_at, stored_at });
        }
        let Content { head, sums, rows, superseded, sha256 } =
            content::read(circumstances, payload, &day, rule, limit_bytes)?;
        let zone: Tz = head.timezone_name.parse().map_err(|_| Unfoldable::Timezone(head.timezone_name.clone()))?;
        let age = fetched_at.with_timezone(&zone).date_naive() - day.date;
        let control = head
            .control
            .as_ref()
            .map(|c| Decimal::from_str_exact(&c.spend).map(|spend| (spend, c.impressions)))
            .transpose()
            .map_err(|e| Unfoldable::Control(format!("spend is not a number: {e}")))?;
        if control.is_some_and(|(spend, _)| spend.abs() >= MOST_CONTROL) {
            return Err(Unfoldable::Control("spend is larger than any amount".to_owned()));
        }
        Ok(Snapshot {
            day,
            version: circumstances.version(),
            content: sha256,
            currency: head.currency,
            age_days: i32::try_from(age.num_days()).unwrap_or(i32::MAX),
            control,
            status_filter: head.status_filter,
            attribution_windows: head.attribution_windows,
            purchases_known: head.purchases_known,
            rule: rule.clone(),
            sums,
            row_count: rows.len(),
            superseded,
            rows,
        })
    }

    /// Whether this snapshot proves that what it does not contain is gone: its own rows are all there was that day.
    pub fn proves(&self) -> bool {
        self.control.is_some_and(|(spend, impressions)| {
            self.sums.spend == Some(spend) && self.sums.impressions == Some(impressions)
        })
    }
}

/// Adds a snapshot to those of its day, of which each keeps only the rows of ads that no newer one has. So the memory
/// of a day is that of its ads, however often it was fetched.
pub fn push_trimmed(day: &mut Vec<Snapshot>, mut new: Snapshot) {
    if day.is_empty() {
        return day.push(new);
    }
    let own: HashSet<String> = new.rows.iter().map(|(ad_id, _)| ad_id.to_owned()).collect();
    for other in day.iter_mut() {
        if other.version < new.version {
            other.rows.retain(|ad_id| !own.contains(ad_id));
        } else if !other.rows.is_empty() {
            let newer: HashSet<&str> = other.rows.iter().map(|(ad_id, _)| ad_id).collect();
            new.rows.retain(|ad_id| !newer.contains(ad_id));
        }
    }
    day.push(new);
}

/// Longer, an ad's id is none: PostgreSQL could not find a row by it.
const MOST_ID_BYTES: usize = 200;

/// Rows in the form of COPY, and what they sum to; of an ad that stands more than once the last one, and its id for
/// each other.
pub(crate) fn encode(
    event_currency: &str,
    parsed: Vec<Parsed<'_>>,
    purchases_known: bool,
) -> Result<(Rows, Sums, Vec<String>), Unfoldable> {
    let zero = parsed.is_empty();
    let none = Purchases::default();
    let mut sums = Sums {
        spend: zero.then_some(Decimal::ZERO),
        impressions: zero.then_some(0),
        purchases: (zero && purchases_known).then_some(Decimal::ZERO),
        purchase_value: (zero && purchases_known).then_some(Decimal::ZERO),
    };
    // Two rows of one ad are there only where Meta insisted on both, and nobody but Meta could say which is right.
    // Adding them could count one thing twice; so one counts, always the same, and the control total shows what the
    // other had.
    let latest: HashMap<Cow<'_, str>, usize> = parsed.iter().map(|(ad_id, _)| ad_id.clone()).zip(1..).collect();
    let mut text = String::with_capacity(parsed.len() * 200);
    let mut places = Vec::with_capacity(latest.len());
    let mut superseded = Vec::new();
    for (number, (ad_id, row)) in (1..).zip(parsed) {
        let refuse = |reason: String| Unfoldable::Row { number, reason: format!("ad {ad_id}: {reason}") };
        if latest.get(&ad_id) != Some(&number) {
            superseded.push(ad_id.into_owned());
            continue;
        }
        if ad_id.is_empty()
            || ad_id.len() > MOST_ID_BYTES
            || !ad_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return Err(refuse(format!("ad_id {ad_id:?} is not an id")));
        }
        let row = row.map_err(refuse)?;
        if let Some(raw) = row.get(Field::AccountCurrency) {
            let currency = row::text(raw).map_err(refuse)?;
            if !currency.is_empty() && currency != event_currency {
                return Err(refuse(format!("its currency {currency} is not the event's {event_currency}")));
            }
        }
        let start = text.len();
        text.push_str(&ad_id);
        let ad_id_end = text.len();
        for name in [Field::AdsetId, Field::CampaignId, Field::AdName, Field::AdsetName, Field::CampaignName] {
            match row.get(name) {
                Some(raw) => push_text(&mut text, &row::name(raw)),
                None => text.push_str("\t\\N"),
            }
        }
        let named = |field: Field| move |reason: String| refuse(format!("{} {reason}", field.name()));
        let whole = |field| row.get(field).map_or(Ok(None), row::whole).map_err(named(field));
        let spend = row.get(Field::Spend).map_or(Ok(None), row::decimal).map_err(named(Field::Spend))?;
        let impressions = whole(Field::Impressions)?;
        let purchases = if purchases_known { &row.purchases } else { &none };
        push_number(&mut text, spend);
        push_number(&mut text, impressions);
        push_number(&mut text, whole(Field::Clicks)?);
        push_number(&mut text, whole(Field::InlineLinkClicks)?);
        push_number(&mut text, purchases.count);
        push_number(&mut text, purchases.value);
        match &purchases.action_type {
            Some(name) => push_text(&mut text, name),
            None => text.push_str("\t\\N"),
        }
        let place =
            |n: usize| u32::try_from(n).map_err(|_| refuse("the event's rows are too large together".to_owned()));
        places.push(Place { start: place(start)?, ad_id_end: place(ad_id_end)?, end: place(text.len())? });
        sums.add(&Sums { spend, impressions, purchases: purchases.count, purchase_value: purchases.value });
    }
    text.shrink_to_fit();
    Ok((Rows { segments: vec![Segment { text, places }] }, sums, superseded))
}

impl Sums {
    /// Adds what further rows sum to.
    pub(crate) fn add(&mut self, other: &Sums) {
        add(&mut self.spend, other.spend);
        self.impressions = match (self.impressions, other.impressions) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        add(&mut self.purchases, other.purchases);
        add(&mut self.purchase_value, other.purchase_value);
    }
}

fn add(sum: &mut Option<Decimal>, value: Option<Decimal>) {
    *sum = match (*sum, value) {
        // No row has an amount with which this could overflow; see `row::decimal`.
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

fn push_number(text: &mut String, number: Option<impl std::fmt::Display>) {
    // Writing into a String does not fail.
    let _ = match number {
        Some(number) => write!(text, "\t{number}"),
        None => write!(text, "\t\\N"),
    };
}

/// A column of COPY's text format, with the escapes that PostgreSQL writes itself: a row read back is the same bytes.
fn push_text(text: &mut String, value: &str) {
    text.push('\t');
    if !value.contains(['\\', '\t', '\n', '\r', '\u{8}', '\u{b}', '\u{c}']) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{8}' => text.push_str("\\b"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            c => text.push(c),
        }
    }
}
