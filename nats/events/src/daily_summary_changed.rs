//! The event that a tenant's day in `daily_summary` is another one now.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::DAILY_SUMMARY_CHANGED_V1;
use crate::announcement::{Announcement, AnnouncementError};
use crate::subject::SummaryDay;

/// The data of `adledger.warehouse.daily_summary.changed.v1`: a tenant's day says something else than before.
///
/// It is written in the transaction that changes the row, and only where a number changed: a newer answer of Meta's that
/// says the same, or a replay that ends in the same row, is never an event. Events can come twice and out of order: the
/// one with the highest version of an account and date is what the day says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DailySummaryChanged {
    /// The tenant.
    pub account_id: Uuid,
    /// The day.
    pub date: NaiveDate,
    /// Which change of this tenant's day it is: 1 is the first, and each further one is higher by 1. It never begins
    /// again, also not when a day's row was taken out and came back.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// Why the day was summed again.
    pub cause: Cause,
    /// ISO 4217: the tenant's currency, which all money here is in.
    pub currency: Option<String>,
    /// What the row said before; null where there was none. It is the `new` of the version before, unless somebody wrote
    /// to the table by hand.
    pub old: Option<DailySummaryValues>,
    /// What the row says now; null where it was taken out, because a replay found no event of the day.
    pub new: Option<DailySummaryValues>,
}

/// Why a day was summed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A new answer of Meta's came.
    Live,
    /// The day's events were folded again.
    Replay,
    /// The rule was changed by which purchases are read.
    Rule,
}

/// The columns of `daily_summary` that Meta's numbers make. Null is what nobody said, which is not zero. Decimals are
/// exact, as texts; their trailing zeros mean nothing, so compare them as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DailySummaryValues {
    /// A decimal.
    pub meta_spend: Option<String>,
    pub meta_impressions: Option<i64>,
    pub meta_clicks: Option<i64>,
    /// A decimal.
    pub meta_purchases: Option<String>,
    /// A decimal.
    pub meta_purchase_value: Option<String>,
    /// A decimal: `meta_purchase_value` / `meta_spend`, to six places.
    pub meta_roas: Option<String>,
}

impl DailySummaryChanged {
    /// The event's id, which the change itself gives: however often it is announced, it is one event.
    pub fn event_id(&self) -> Uuid {
        let named = format!("{DAILY_SUMMARY_CHANGED_V1} {} {} {}", self.account_id, self.date, self.version);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(named)[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    pub fn announce(&self, at: DateTime<Utc>) -> Result<Announcement, AnnouncementError> {
        let subject = SummaryDay { account_id: self.account_id, date: self.date }.subject();
        Announcement::new(DAILY_SUMMARY_CHANGED_V1, self.event_id(), at, "urn:adledger:projector", subject, self)
    }
}

/// The JSON Schema of the data.
pub(crate) fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(DailySummaryChanged);
    schema.insert("$id".into(), DAILY_SUMMARY_CHANGED_V1.into());
    schema.to_value()
}
