//! Keys as the columns that statements over many days take.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use events::subject::AccountDay;
use uuid::Uuid;

/// A tenant's day.
pub type SummaryKey = (Uuid, NaiveDate);

/// Account-days in key order, as arrays of equal length. The order is that of every lock: two transactions that lock
/// the same days meet at the first of them.
#[derive(Debug, Default)]
pub struct Days {
    pub account_ids: Vec<Uuid>,
    pub ad_account_ids: Vec<Uuid>,
    pub dates: Vec<NaiveDate>,
}

impl Days {
    pub fn new(days: impl IntoIterator<Item = AccountDay>) -> Self {
        let mut keys = Days::default();
        for day in days.into_iter().collect::<BTreeSet<_>>() {
            keys.account_ids.push(day.account_id);
            keys.ad_account_ids.push(day.ad_account_id);
            keys.dates.push(day.date);
        }
        keys
    }

    pub fn len(&self) -> usize {
        self.dates.len()
    }

    pub fn is_empty(&self) -> bool {
        self.dates.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = AccountDay> {
        self.account_ids
            .iter()
            .zip(&self.ad_account_ids)
            .zip(&self.dates)
            .map(|((&account_id, &ad_account_id), &date)| AccountDay { account_id, ad_account_id, date })
    }
}
