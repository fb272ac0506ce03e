//! The second implementation: an account-day worked out from the log alone, and held against the tables.
//!
//! It is written from the invariants and [the list of strange answers](../../../docs/STRANGE.md), apart from the fold: none of
//! its code is called here, so that a mistake of the one is no mistake of the other. It is slow and plain. Every event is
//! read whole, a day's snapshots are sorted by version, and everything is looked up in them: for each ad the newest one
//! that has it, since when it is missing, and whether a later one proves it gone.
//!
//! Each tenant's day is compared at one moment of the tables, so that traffic beside it changes nothing. What the log has and
//! the tables have not is looked for again after a moment: it was on its way, or it is a finding.
//!
//! What must not live here: anything of `projections` or `projector`, and anything that writes.

mod compare;
mod day;
mod json;
mod rule;
mod snapshot;
mod tables;
mod tenant_day;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::NaiveDate;
use events::subject::AccountDay;
use futures_util::{StreamExt, TryStreamExt, stream};
use logs::{End, LogError, Logs, Range};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub use compare::Side;
pub use day::PROJECTION_VERSION;
pub use tables::{FACTS, METRICS, OBSERVATIONS, SUMMARY, Table, Tables};

use tables::Moment;
use tenant_day::{TenantDay, Verified};

/// Tenants' days that are verified at once.
const AT_ONCE: usize = 2;

/// How often a day is looked at that has events on one side alone: once more, and again where others came meanwhile.
const ROUNDS: u32 = 3;

/// Compares the log with the tables.
#[derive(Clone)]
pub struct Verifier {
    pub pool: PgPool,
    pub logs: Logs,
    pub tables: Tables,
    /// Events that the first log took after this end, and the tables have not, are on their way.
    pub end: Option<End>,
    /// Decompressed size up to which an event is read.
    pub max_event_bytes: u64,
    /// How long what is on its way gets to arrive.
    pub patience: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("PostgreSQL failed while the tables were read")]
    Database(#[from] sqlx::Error),
    #[error("verifying broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// What was verified so far.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Report {
    pub account_days_total: u64,
    pub account_days: u64,
    /// Tenants' days whose summary was compared.
    pub tenant_days: u64,
    pub events: u64,
    /// Rows of `fact_meta_daily` by the log, and what counts of them by currency.
    pub rows: u64,
    pub spend: BTreeMap<String, Decimal>,
    /// Account-days and summaries that differ, and how many rows and events of theirs.
    pub differing_days: u64,
    pub differences: u64,
    /// Events that came meanwhile, and are not folded yet.
    pub on_their_way: u64,
    /// Events that must not be in the tables, and are not.
    pub refused: u64,
}

/// Something to tell.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    Differs(Difference),
    /// No difference: it is in the tables of nobody.
    Refused(Refused),
}

/// An account-day, or a tenant's summary of a day, that differs.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    pub account_id: Uuid,
    /// `None`: it is the tenant's summary.
    pub ad_account_id: Option<Uuid>,
    pub date: NaiveDate,
    /// What differs, in words: the first of it.
    pub sentences: Vec<String>,
    pub differences: u64,
    pub by_the_log: Side,
    pub in_the_tables: Side,
}

/// An event of the log that cannot be folded, as live traffic could not: it was parked.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    pub account_id: Uuid,
    pub ad_account_id: Uuid,
    pub date: NaiveDate,
    /// `None`: even that cannot be read.
    pub event_id: Option<Uuid>,
    pub reason: String,
}

impl Refused {
    fn new(day: AccountDay, event_id: Option<Uuid>, reason: String) -> Self {
        let AccountDay { account_id, ad_account_id, date } = day;
        Refused { account_id, ad_account_id, date, event_id, reason }
    }
}

impl Verifier {
    /// Verifies every account-day of the range that a log or a table speaks of. `take` is given what there is to tell, and
    /// `progress` is called after each tenant's day.
    pub async fn run(
        &self,
        range: &Range,
        mut take: impl FnMut(Finding),
        progress: impl Fn(&Report),
    ) -> Result<Report, VerifyError> {
        let units = self.units(range).await?;
        let total: usize = units.iter().map(|unit| unit.ad_accounts.len()).sum();
        let mut report = Report { account_days_total: total as u64, ..Report::default() };
        let mut round: Vec<(TenantDay, HashSet<Uuid>)> = units.into_iter().map(|unit| (unit, HashSet::new())).collect();
        for rounds_left in (0..ROUNDS).rev() {
            let mut again = Vec::new();
            let mut verifying = stream::iter(round).map(|(unit, known)| self.spawn(unit, known)).buffered(AT_ONCE);
            while let Some((unit, verified, mut known)) = verifying.try_next().await? {
                let one_sided = || verified.pending.iter().chain(&verified.lost);
                if rounds_left > 0 && one_sided().any(|event_id| !known.contains(event_id)) {
                    known.extend(one_sided());
                    again.push((unit, known));
                    continue;
                }
                report.add(&unit, verified, &known, &mut take);
                progress(&report);
            }
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(self.patience).await;
            round = again;
        }
        Ok(report)
    }

    /// Verifies in a task of its own, which is broken off when the future is dropped.
    fn spawn(
        &self,
        unit: TenantDay,
        known: HashSet<Uuid>,
    ) -> impl Future<Output = Result<(TenantDay, Verified, HashSet<Uuid>), VerifyError>> + use<> {
        let verifier = self.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let verified = verifier.tenant_day(&unit, &known).await?;
            Ok((unit, verified, known))
        }));
        async { task.await.unwrap_or_else(|broken| Err(VerifyError::Broken(broken))) }
    }

    /// The tenants' days of a range, in the order of their dates.
    async fn units(&self, range: &Range) -> Result<Vec<TenantDay>, VerifyError> {
        let mut moment = Moment::begin(&self.pool, self.tables).await?;
        let whole = range.ad_account_id.is_none();
        let mut units: BTreeMap<(NaiveDate, Uuid), BTreeSet<Uuid>> = BTreeMap::new();
        if whole {
            units.extend(moment.summaries(range).await?.into_iter().map(|(id, date)| ((date, id), BTreeSet::new())));
        }
        for day in self.logs.days(range).await?.into_iter().chain(moment.days(range).await?) {
            units.entry((day.date, day.account_id)).or_default().insert(day.ad_account_id);
        }
        let unit = |((date, account_id), ad_accounts)| TenantDay { account_id, date, ad_accounts, whole };
        Ok(units.into_iter().map(unit).collect())
    }
}

impl Report {
    fn add(&mut self, unit: &TenantDay, verified: Verified, known: &HashSet<Uuid>, take: &mut impl FnMut(Finding)) {
        self.account_days += verified.account_days;
        // Ad accounts that came since the days were listed.
        self.account_days_total += verified.account_days.saturating_sub(unit.ad_accounts.len() as u64);
        self.tenant_days += u64::from(unit.whole);
        self.events += verified.events;
        self.rows += verified.rows;
        for (currency, spend) in verified.spend {
            *self.spend.entry(currency).or_default() += spend;
        }
        self.on_their_way += verified.pending.difference(known).count() as u64;
        self.refused += verified.refused.len() as u64;
        self.differing_days += verified.differences.len() as u64;
        self.differences += verified.differences.iter().map(|difference| difference.differences).sum::<u64>();
        verified.differences.into_iter().map(Finding::Differs).for_each(&mut *take);
        verified.refused.into_iter().map(Finding::Refused).for_each(take);
    }
}
