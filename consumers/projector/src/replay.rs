//! Folding a range again, into the live tables, beside live traffic.
//!
//! A day is replayed in one transaction: its head is locked, its events are decoded, and what the tables hold of it
//! is compared with what its events say, row by row and column by column. A day that is right is not written.
//! Another one is emptied, and all its events are folded as if they came for the first time. So a reader sees the
//! old day or the new one, a replay broken off leaves whole days, and one that is repeated ends in the same tables.
//! Live traffic on a day waits for the lock and goes on from the result.
//!
//! Events are read before the lock is taken, by tasks of their own, so that decoding and writing overlap. What live
//! traffic folded in between is then found among the day's observations, and read while the lock is held. An
//! observation whose event is in neither log would be lost by the replay: such a day is left as it is, and
//! reported.
//!
//! A replay that is recorded writes how far it came in the transactions of its days, so that it goes on there.

mod batch;
mod listing;
mod pace;
mod record;
mod report;
mod summaries;
mod trust;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use events::Cause;
use events::subject::AccountDay;
use futures_util::{StreamExt, TryStreamExt, stream};
use logs::{End, LogError, Logs, Range};
use projections::{AdAccounts, Folds, SummaryKey, Table};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reading::READERS;
use batch::Batch;
pub use listing::{Listed, PauseError, list, pause};
use pace::Pacer;
pub use pace::{Lag, Pace};
pub use record::{Asked, Begun, Record, Totals};
pub use report::Report;

/// How long the transaction in hand may take once the replay is to end; it is rolled back then.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A replay, ready to go.
#[derive(Clone)]
pub struct Replay {
    pub pool: PgPool,
    pub folds: Folds,
    pub logs: Logs,
    /// Rows after which a transaction is complete: memory is about three times these, and the days being read.
    pub rows_a_transaction: usize,
    pub max_event_bytes: u64,
    /// Compare, report, and take everything back.
    pub dry_run: bool,
    /// Compare this table alone, and write what is computed from it only where it changes.
    pub only: Option<Table>,
    /// Skip days whose observations have the content that the log has, without making their rows anew.
    pub trust_hash: bool,
    /// Where the first log ends for this replay: what comes later is live traffic's.
    pub end: Option<End>,
    pub pace: Pace,
    /// What is told to those who listen for changes.
    pub cause: Cause,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("PostgreSQL failed during the replay (what was committed is whole; repeat the command)")]
    Database(#[from] sqlx::Error),
    #[error(
        "the purchase rule was changed again and again meanwhile (what was committed is whole; repeat the command)"
    )]
    RuleChanged,
    #[error("reading the log broke off")]
    Reading(#[source] tokio::task::JoinError),
    #[error("an event that was folded is not in the log yet")]
    NotThere,
    #[error("the replay lost its lock on the database, and another process goes on with it")]
    TakenOver,
}

/// The order of days: those of a tenant's date come together, so that a summary is summed when all of its ad
/// accounts are right, and not from one that is mended by the next transaction. Each transaction locks its days in
/// the order of keys.
fn order(day: &AccountDay) -> (Uuid, NaiveDate, Uuid) {
    (day.account_id, day.date, day.ad_account_id)
}

/// How a replay came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Finished,
    /// It was asked to, and everything up to where it is recorded to be is done.
    Paused,
}

/// Why the folding stops.
enum Stop {
    Paused,
    Failed(ReplayError),
}

impl<E: Into<ReplayError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

impl Replay {
    /// A replay of all tables at full speed, with 10,000 rows a transaction.
    pub fn new(pool: PgPool, logs: impl Into<Logs>) -> Self {
        Replay {
            pool,
            folds: Folds::default(),
            logs: logs.into(),
            rows_a_transaction: 10_000,
            max_event_bytes: crate::MAX_EVENT_BYTES,
            dry_run: false,
            only: None,
            trust_hash: false,
            end: None,
            pace: Pace::default(),
            cause: Cause::Replay,
        }
    }

    /// Replays the range. `progress` is called after each transaction, and while the replay waits.
    pub async fn run(&self, range: &Range, progress: impl Fn(&Report)) -> Result<Report, ReplayError> {
        let (report, _) = self.run_recorded(range, None, &CancellationToken::new(), progress).await?;
        Ok(report)
    }

    /// Replays what is left of the range by the record, until the end, until it is cancelled, or until somebody
    /// asks the record for a pause.
    pub async fn run_recorded(
        &self,
        range: &Range,
        record: Option<&Record>,
        cancel: &CancellationToken,
        progress: impl Fn(&Report),
    ) -> Result<(Report, Ended), ReplayError> {
        let days = match self.only {
            Some(Table::DailySummary) => self.summary_days(range).await?,
            _ => self.days(range).await?,
        };
        let mut report = Report::default();
        let mut days: Vec<AccountDay> = days.into_iter().collect();
        days.sort_by_key(order);
        if let Some(record) = record {
            report.days = record.days_done;
            days.retain(|day| record.after.is_none_or(|after| order(day) > order(&after)));
        }
        report.days_total = report.days + days.len();
        if let Some(record) = record {
            record.expects(&self.pool, report.days_total).await?;
        }
        let visited: BTreeSet<SummaryKey> = days.iter().map(|day| (day.account_id, day.date)).collect();
        let stop = match self.only {
            Some(Table::DailySummary) => self.resum(days, record, cancel, &mut report, &progress).await.err(),
            _ => self.run_days(days, record, cancel, &mut report, &progress).await.err(),
        };
        match stop {
            Some(Stop::Paused) => return Ok((report, Ended::Paused)),
            Some(Stop::Failed(error)) => return Err(error),
            None => {}
        }
        if range.ad_account_id.is_none() && self.only.is_none_or(|table| table == Table::DailySummary) {
            self.empty_baseless_summaries(range, &visited, record, &mut report).await?;
        }
        Ok((report, Ended::Finished))
    }

    /// Folds those days of an ad account again that an older purchase rule than its newest was used for. Broken off and
    /// repeated, or run twice at once, it ends in the same tables: what is done is no longer among these days.
    pub async fn run_behind(
        &self,
        account_id: Uuid,
        ad_account_id: Uuid,
        progress: impl Fn(&Report),
    ) -> Result<Report, ReplayError> {
        let mut days = projections::purchases::days_behind(&self.pool, account_id, ad_account_id).await?;
        days.sort_by_key(order);
        let mut report = Report { days_total: days.len(), ..Report::default() };
        let replay = Replay { cause: Cause::Rule, ..self.clone() };
        match replay.run_days(days, None, &CancellationToken::new(), &mut report, &progress).await {
            Err(Stop::Failed(error)) => Err(error),
            Ok(()) | Err(Stop::Paused) => Ok(report),
        }
    }

    /// The days that a log or a table knows something of.
    async fn days(&self, range: &Range) -> Result<BTreeSet<AccountDay>, ReplayError> {
        let mut days: BTreeSet<AccountDay> = self.logs.days(range).await?.into_iter().collect();
        let mut connection = self.pool.acquire().await?;
        let Range { account_id, ad_account_id, since, until } = *range;
        days.extend(
            projections::daily_meta_metrics::days_on_record(&mut connection, account_id, ad_account_id, since, until)
                .await?,
        );
        Ok(days)
    }

    async fn run_days(
        &self,
        days: Vec<AccountDay>,
        record: Option<&Record>,
        cancel: &CancellationToken,
        report: &mut Report,
        progress: &impl Fn(&Report),
    ) -> Result<(), Stop> {
        let ad_accounts = Arc::new(AdAccounts::load(&self.pool, None).await?);
        // One batch is being folded, one waits, one is being read.
        let (read, mut folding) = mpsc::channel(1);
        let reading = async {
            // The sender is dropped at the end of this block, which ends the folding.
            let read = read;
            let mut reads = stream::iter(days).map(|day| self.spawn_read(&ad_accounts, day)).buffered(READERS);
            let mut batch = Batch::default();
            while let Some(day) = reads.try_next().await? {
                if batch.is_full_before(&day, self.rows_a_transaction)
                    && read.send(std::mem::take(&mut batch)).await.is_err()
                {
                    return Ok(());
                }
                batch.append(day);
            }
            // A closed channel means that the folding failed, and says so itself.
            let _ = read.send(batch).await;
            Ok::<_, Stop>(())
        };
        let folding = async {
            let mut pacer = Pacer::new(&self.pace);
            while let Some(batch) = cancel.run_until_cancelled(folding.recv()).await.ok_or(Stop::Paused)? {
                pacer.wait(&self.pool, record, cancel, report, progress).await?;
                let rows = report.rows;
                let overdue = async {
                    cancel.cancelled().await;
                    tokio::time::sleep(END_WITHIN).await;
                };
                let paused = tokio::select! {
                    folded = self.fold(batch, record, report) => folded?,
                    () = overdue => return Err(Stop::Paused),
                };
                progress(report);
                if paused {
                    return Err(Stop::Paused);
                }
                pacer.spend(report.rows - rows);
            }
            Ok::<_, Stop>(())
        };
        tokio::try_join!(reading, folding)?;
        Ok(())
    }
}
