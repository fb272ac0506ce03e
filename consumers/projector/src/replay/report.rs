//! What a replay has done so far.

use std::collections::BTreeSet;

use events::subject::AccountDay;
use projections::{Differences, SummaryKey, Table};
use uuid::Uuid;

use crate::AllNotFolded;

/// How many days of which something changes are named.
const NAMED: usize = 20;

/// What a replay has done so far; counts are of this process, but for the days.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub days_total: usize,
    /// Days that are done, those before a pause among them.
    pub days: usize,
    /// Days that were skipped, because the tables have the hashes of the log.
    pub trusted: usize,
    /// Days whose rows were made anew and compared.
    pub compared: usize,
    pub events: u64,
    /// Bytes of payload, as they travelled.
    pub payload_bytes: u64,
    /// Rows that were made anew and compared.
    pub rows: u64,
    /// Days of which a row was not what the events say.
    pub days_changed: usize,
    /// The first of them.
    pub first_changed: Vec<AccountDay>,
    pub differing: Differences,
    /// Days of tenants whose summary is another now.
    pub summaries: BTreeSet<SummaryKey>,
    pub not_folded: AllNotFolded,
    /// Days left as they were: an observation's event is in neither log.
    pub left: Vec<(AccountDay, Uuid)>,
    /// Why the next transaction waits.
    pub waiting: Option<String>,
}

impl Report {
    pub(super) fn changed(&mut self, days: impl IntoIterator<Item = AccountDay>) {
        for day in days {
            self.days_changed += 1;
            if self.first_changed.len() < NAMED {
                self.first_changed.push(day);
            }
        }
    }

    /// How many rows of each table were not what the events say.
    pub fn changes(&self) -> [(Table, u64); 4] {
        Table::ALL.map(|table| {
            let rows = match table {
                Table::Observations => self.differing.observations,
                Table::FactMetaDaily => self.differing.fact_meta_daily,
                Table::DailyMetaMetrics => self.differing.daily_meta_metrics,
                Table::DailySummary => self.summaries.len() as u64,
            };
            (table, rows)
        })
    }
}
