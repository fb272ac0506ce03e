//! Folding a range again, into the live tables, beside live traffic.
//!
//! A day is replayed in one transaction: its head is locked, its rows are taken out, and all its events are folded as if
//! they came for the first time. So a reader sees the old day or the new one, a replay broken off leaves whole days, and
//! one that is repeated ends in the same tables. Live traffic on a day waits for the lock and goes on from the result.
//!
//! Events are read before the lock is taken, by a task of their own, so that decoding and writing overlap. What live
//! traffic folded in between is then found among the day's observations, and read while the lock is held. An observation
//! whose event is in neither log would be lost by the replay: such a day is left as it is, and reported.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::NaiveDate;
use events::subject::AccountDay;
use projections::{Currencies, Days, Folded, Folds, Snapshot};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::batch::{Class, class};
use crate::source::Source;

/// Which days to fold again; both ends are included.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub account_id: Option<Uuid>,
    pub ad_account_id: Option<Uuid>,
    pub since: NaiveDate,
    pub until: NaiveDate,
}

/// A replay, ready to go.
#[derive(Clone)]
pub struct Replay {
    pub pool: PgPool,
    pub folds: Folds,
    pub from: Source,
    /// The other log, asked only for events that live traffic has folded and `from` does not hold.
    pub other: Option<Source>,
    /// Rows after which a transaction is complete: memory is about three times these.
    pub rows_a_transaction: usize,
    pub max_event_bytes: u64,
    /// Fold, report, and take everything back.
    pub dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Wire(#[from] jetstream::WireError),
    #[error("PostgreSQL failed during the replay (what was committed is whole; repeat the command)")]
    Database(#[from] sqlx::Error),
    #[error("reading the log broke off")]
    Reading(#[source] tokio::task::JoinError),
}

/// What a replay has done so far.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub days_total: usize,
    pub days: usize,
    pub events: u64,
    pub rows: u64,
    /// Events that cannot be folded, as live traffic could not: `(day, reason)`.
    pub unfoldable: Vec<(AccountDay, String)>,
    /// Days left as they were: an observation's event is in neither log.
    pub left: Vec<(AccountDay, Uuid)>,
}

/// One transaction's worth of days, read and decoded.
#[derive(Default)]
struct Batch {
    days: BTreeSet<AccountDay>,
    snapshots: Vec<Snapshot>,
    unfoldable: Vec<(AccountDay, String)>,
}

impl Replay {
    /// Replays the range. `progress` is called after each transaction.
    pub async fn run(&self, range: &Range, progress: impl Fn(&Report)) -> Result<Report, ReplayError> {
        let mut days: BTreeSet<AccountDay> = self.from.days(range).await?.into_iter().collect();
        let mut connection = self.pool.acquire().await?;
        let Range { account_id, ad_account_id, since, until } = *range;
        days.extend(
            projections::daily_meta_metrics::days_on_record(&mut connection, account_id, ad_account_id, since, until)
                .await?,
        );
        let currencies = Arc::new(Currencies::load(&mut connection, None).await?);
        drop(connection);
        let mut report = Report { days_total: days.len(), ..Report::default() };
        // One batch is being folded, one waits, one is being read.
        let (read, mut folding) = mpsc::channel(1);
        // Dropped with this future, and so broken off with it.
        let reading = AbortOnDropHandle::new(tokio::spawn(self.clone().read_all(currencies.clone(), days, read)));
        let folding = async {
            while let Some(batch) = folding.recv().await {
                self.fold(&currencies, batch, &mut report).await?;
                progress(&report);
            }
            Ok::<_, ReplayError>(())
        };
        let reading = async { reading.await.unwrap_or_else(|broken| Err(ReplayError::Reading(broken))) };
        tokio::try_join!(reading, folding)?;
        Ok(report)
    }

    /// Reads the days into batches of a transaction each. The sender is dropped at the end, which ends the folding.
    async fn read_all(
        self,
        currencies: Arc<Currencies>,
        days: BTreeSet<AccountDay>,
        read: mpsc::Sender<Batch>,
    ) -> Result<(), ReplayError> {
        let mut batch = Batch::default();
        for day in days {
            self.read(&currencies, day, &mut batch).await?;
            let rows: usize = batch.snapshots.iter().map(|s| s.rows.len()).sum();
            if rows >= self.rows_a_transaction || batch.days.len() >= 100 {
                if read.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
        // A closed channel means that the folding failed, and says so itself.
        let _ = read.send(batch).await;
        Ok(())
    }

    /// Reads a day's events into the batch, keeping no row that a newer snapshot of the day replaces.
    async fn read(&self, currencies: &Currencies, day: AccountDay, batch: &mut Batch) -> Result<(), ReplayError> {
        batch.days.insert(day);
        self.read_from(currencies, &self.from, day, batch, |_| true).await
    }

    async fn read_from(
        &self,
        currencies: &Currencies,
        source: &Source,
        day: AccountDay,
        batch: &mut Batch,
        wanted: impl Fn(Uuid) -> bool,
    ) -> Result<(), ReplayError> {
        let mut snapshots = Vec::new();
        let mut unfoldable = Vec::new();
        let mut seen = HashSet::new();
        source
            .each_event(day, |parts| match parts {
                Ok(parts) if !wanted(parts.circumstances.event_id) || !seen.insert(parts.circumstances.event_id) => {}
                Ok(parts) => match parts.decode(&self.folds, self.max_event_bytes) {
                    // Refused before it can take a row from an older snapshot.
                    Ok(snapshot) => match currencies.refusal(&snapshot) {
                        None => projections::snapshot::push_trimmed(&mut snapshots, snapshot),
                        Some(refusal) => unfoldable.push((day, refusal.to_string())),
                    },
                    Err(reason) => unfoldable.push((day, reason.to_string())),
                },
                Err(reason) => unfoldable.push((day, reason.to_string())),
            })
            .await?;
        batch.snapshots.append(&mut snapshots);
        batch.unfoldable.append(&mut unfoldable);
        Ok(())
    }

    async fn fold(&self, currencies: &Currencies, mut batch: Batch, report: &mut Report) -> Result<(), ReplayError> {
        let all_days = batch.days.len();
        let (folded, left) = loop {
            match self.fold_once(currencies, &mut batch).await {
                Err(ReplayError::Database(error)) if matches!(class(&error), Class::Race) => {}
                outcome => break outcome?,
            }
        };
        report.days += all_days - left.len();
        report.events += folded.events;
        report.rows += folded.rows;
        report.left.extend(left);
        report.unfoldable.append(&mut batch.unfoldable);
        Ok(())
    }

    async fn fold_once(
        &self,
        currencies: &Currencies,
        batch: &mut Batch,
    ) -> Result<(Folded, Vec<(AccountDay, Uuid)>), ReplayError> {
        let mut transaction = self.pool.begin().await?;
        let observed = self.folds.lock_for_replay(&mut transaction, &Days::new(batch.days.iter().copied())).await?;
        let mut left = Vec::new();
        for (day, missing) in missing(&observed, &batch.snapshots) {
            let found = self.read_missing(currencies, day, &missing, batch).await?;
            if let Some(lost) = missing.difference(&found).next() {
                left.push((day, *lost));
                batch.days.remove(&day);
                batch.snapshots.retain(|snapshot| snapshot.day != day);
            }
        }
        let days = Days::new(batch.days.iter().copied());
        let snapshots: Vec<&Snapshot> = batch.snapshots.iter().collect();
        let folded = self.folds.refold(&mut transaction, &days, &snapshots).await?;
        if self.dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok((folded, left))
    }

    /// Looks for observed events that were not read: first where the others came from (they may have come since), then in
    /// the other log. Returns those found.
    async fn read_missing(
        &self,
        currencies: &Currencies,
        day: AccountDay,
        missing: &HashSet<Uuid>,
        batch: &mut Batch,
    ) -> Result<HashSet<Uuid>, ReplayError> {
        let mut found = HashSet::new();
        for source in std::iter::once(&self.from).chain(&self.other) {
            let before = batch.snapshots.len();
            let read = self
                .read_from(currencies, source, day, batch, |id| missing.contains(&id) && !found.contains(&id))
                .await;
            match read {
                Ok(()) => {}
                // The other log is a second chance only; what it cannot say is reported as missing.
                Err(error) if source.name() != self.from.name() => {
                    tracing::warn!(%error, source = source.name(), "cannot ask the other log");
                }
                Err(error) => return Err(error),
            }
            let ids: Vec<Uuid> = batch.snapshots[before..].iter().map(|s| s.version.event_id).collect();
            found.extend(ids);
            if found.len() == missing.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// For each day, the observed events that are not among the snapshots.
fn missing(observed: &HashMap<AccountDay, Vec<Uuid>>, snapshots: &[Snapshot]) -> Vec<(AccountDay, HashSet<Uuid>)> {
    let read: HashSet<(AccountDay, Uuid)> = snapshots.iter().map(|s| (s.day, s.version.event_id)).collect();
    observed
        .iter()
        .map(|(day, ids)| (*day, ids.iter().copied().filter(|id| !read.contains(&(*day, *id))).collect::<HashSet<_>>()))
        .filter(|(_, ids)| !ids.is_empty())
        .collect()
}
