//! Rows in the text format of COPY: what a fold writes is what PostgreSQL says back, to the byte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use rust_decimal::Decimal;

use super::data::Parsed;
use super::row::{self, Field};
use super::snapshot::{Sums, Unfoldable};
use crate::purchases::Purchases;

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
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
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
