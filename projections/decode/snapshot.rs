//! An event, decoded: everything of it that the folds need, its rows already in the form PostgreSQL's COPY takes.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use events::subject::AccountDay;
use events::{Circumstances, EventError, Version};
use rust_decimal::Decimal;

use super::content::{self, Content};
use super::copy::Rows;
use crate::purchases::PurchaseRule;

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
