//! Folding a range again, into the live tables, beside live traffic.
//!
//! A day is replayed in one transaction: its head is locked, its rows are taken out, and all its events are folded as if
//! they came for the first time. So a reader sees the old day or the new one, a replay broken off leaves whole days, and
//! one that is repeated ends in the same tables. Live traffic on a day waits for the lock and goes on from the result.
//!
//! Events are read before the lock is taken, by tasks of their own, so that decoding and writing overlap. What live
//! traffic folded in between is then found among the day's observations, and read while the lock is held. An observation
//! whose event is in neither log would be lost by the replay: such a day is left as it is, and reported.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use events::Cause;
use events::subject::AccountDay;
use futures_util::{StreamExt, TryStreamExt, stream};
use logs::{LogError, Logged, Range, Source};
use projections::{AdAccounts, Days, Folded, Folds, Snapshot};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::announce_changes;
use crate::batch::{Class, TRIES, class, decode};

/// Days that are read at once. Decoding them costs the processor as much as PostgreSQL spends on their rows.
const READERS: usize = 2;

/// A replay, ready to go.
#[derive(Clone)]
pub struct Replay {
    pub pool: PgPool,
    pub folds: Folds,
    pub from: Source,
    /// The other log, asked only for events that live traffic has folded and `from` does not hold.
    pub other: Option<Source>,
    /// Rows after which a transaction is complete: memory is about three times these, and the days being read.
    pub rows_a_transaction: usize,
    pub max_event_bytes: u64,
    /// Fold, report, and take everything back.
    pub dry_run: bool,
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
    unfoldable: Vec<(AccountDay, Option<Uuid>, String)>,
    /// Days taken out of the batch for good: they stay as they are.
    left: Vec<(AccountDay, Uuid)>,
}

impl Batch {
    fn append(&mut self, mut other: Batch) {
        self.days.append(&mut other.days);
        self.snapshots.append(&mut other.snapshots);
        self.unfoldable.append(&mut other.unfoldable);
    }

    fn ad_accounts(&self) -> Vec<Uuid> {
        let ids: BTreeSet<Uuid> = self.days.iter().map(|day| day.ad_account_id).collect();
        ids.into_iter().collect()
    }
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
        drop(connection);
        let report = self.run_days(days, Cause::Replay, progress).await?;
        if ad_account_id.is_none() && !self.dry_run {
            let mut transaction = projections::begin(&self.pool).await?;
            let changes = self.folds.empty_baseless_summaries(&mut transaction, account_id, since, until).await?;
            announce_changes(&mut transaction, &changes, Cause::Replay).await?;
            transaction.commit().await?;
        }
        Ok(report)
    }

    /// Folds those days of an ad account again that an older purchase rule than its newest was used for. Broken off and
    /// repeated, or run twice at once, it ends in the same tables: what is done is no longer among these days.
    pub async fn run_behind(
        &self,
        account_id: Uuid,
        ad_account_id: Uuid,
        progress: impl Fn(&Report),
    ) -> Result<Report, ReplayError> {
        let days = projections::purchases::days_behind(&self.pool, account_id, ad_account_id).await?;
        self.run_days(days.into_iter().collect(), Cause::Rule, progress).await
    }

    async fn run_days(
        &self,
        days: BTreeSet<AccountDay>,
        cause: Cause,
        progress: impl Fn(&Report),
    ) -> Result<Report, ReplayError> {
        let ad_accounts = Arc::new(AdAccounts::load(&self.pool, None).await?);
        let mut report = Report { days_total: days.len(), ..Report::default() };
        // One batch is being folded, one waits, one is being read.
        let (read, mut folding) = mpsc::channel(1);
        let reading = async {
            // The sender is dropped at the end of this block, which ends the folding.
            let read = read;
            let mut reads = stream::iter(days).map(|day| self.spawn_read(&ad_accounts, day)).buffered(READERS);
            let mut batch = Batch::default();
            while let Some(day) = reads.try_next().await? {
                batch.append(day);
                let rows: usize = batch.snapshots.iter().map(|s| s.rows.len()).sum();
                let full = rows >= self.rows_a_transaction || batch.days.len() >= 100;
                if full && read.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
            }
            // A closed channel means that the folding failed, and says so itself.
            let _ = read.send(batch).await;
            Ok::<_, ReplayError>(())
        };
        let folding = async {
            while let Some(batch) = folding.recv().await {
                self.fold(batch, cause, &mut report).await?;
                progress(&report);
            }
            Ok::<_, ReplayError>(())
        };
        tokio::try_join!(reading, folding)?;
        Ok(report)
    }

    /// Reads a day in a task of its own, which is broken off when the future is dropped.
    fn spawn_read(
        &self,
        ad_accounts: &Arc<AdAccounts>,
        day: AccountDay,
    ) -> impl Future<Output = Result<Batch, ReplayError>> + use<> {
        let (replay, ad_accounts) = (self.clone(), ad_accounts.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut batch = Batch::default();
            replay.read(&ad_accounts, day, &mut batch).await?;
            Ok(batch)
        }));
        async { task.await.unwrap_or_else(|broken| Err(ReplayError::Reading(broken))) }
    }

    /// Reads a day's events into the batch, keeping no row that a newer snapshot of the day replaces.
    async fn read(&self, ad_accounts: &AdAccounts, day: AccountDay, batch: &mut Batch) -> Result<(), ReplayError> {
        batch.days.insert(day);
        self.read_from(ad_accounts, &self.from, day, batch, |_| true, |_| {}).await
    }

    async fn read_from(
        &self,
        ad_accounts: &AdAccounts,
        source: &Source,
        day: AccountDay,
        batch: &mut Batch,
        wanted: impl Fn(Uuid) -> bool,
        amend: impl Fn(&mut Logged),
    ) -> Result<(), ReplayError> {
        let mut snapshots = Vec::new();
        let mut unfoldable = Vec::new();
        let mut seen = HashSet::new();
        source
            .each_event(day, |parts| match parts {
                Ok(parts) if !wanted(parts.circumstances.event_id) || !seen.insert(parts.circumstances.event_id) => {}
                Ok(mut parts) => {
                    amend(&mut parts);
                    let event_id = Some(parts.circumstances.event_id);
                    match decode(&parts, ad_accounts, self.max_event_bytes) {
                        // Refused before it can take a row from an older snapshot.
                        Ok(snapshot) => match ad_accounts.refusal(&snapshot) {
                            None => projections::snapshot::push_trimmed(&mut snapshots, snapshot),
                            Some(refusal) => unfoldable.push((day, event_id, refusal.to_string())),
                        },
                        Err(reason) => unfoldable.push((day, event_id, reason.to_string())),
                    }
                }
                Err(reason) => unfoldable.push((day, None, reason.to_string())),
            })
            .await?;
        batch.snapshots.append(&mut snapshots);
        batch.unfoldable.append(&mut unfoldable);
        Ok(())
    }

    async fn fold(&self, mut batch: Batch, cause: Cause, report: &mut Report) -> Result<(), ReplayError> {
        let mut unfoldable = batch.unfoldable.len();
        let mut tries = 0;
        let folded = loop {
            match self.fold_once(&mut batch, cause).await {
                Err(ReplayError::Database(error)) if matches!(class(&error), Class::Race) && tries < TRIES => {
                    tries += 1;
                    // What the lost attempt found is found again.
                    batch.unfoldable.truncate(unfoldable);
                }
                Err(ReplayError::RuleChanged) if tries < TRIES => {
                    tries += 1;
                    let ad_accounts = AdAccounts::load(&self.pool, Some(&batch.ad_accounts())).await?;
                    let mut again = Batch { left: std::mem::take(&mut batch.left), ..Batch::default() };
                    for &day in &batch.days {
                        self.read(&ad_accounts, day, &mut again).await?;
                    }
                    batch = again;
                    unfoldable = batch.unfoldable.len();
                }
                outcome => break outcome?,
            }
        };
        report.days += batch.days.len();
        report.events += folded.events;
        report.rows += folded.rows;
        report.left.append(&mut batch.left);
        let folded: HashSet<Uuid> = batch.snapshots.iter().map(|snapshot| snapshot.version.event_id).collect();
        batch.unfoldable.retain(|(_, event_id, _)| event_id.is_none_or(|id| !folded.contains(&id)));
        report.unfoldable.extend(batch.unfoldable.into_iter().map(|(day, _, reason)| (day, reason)));
        Ok(())
    }

    async fn fold_once(&self, batch: &mut Batch, cause: Cause) -> Result<Folded, ReplayError> {
        let mut transaction = projections::begin(&self.pool).await?;
        let ad_accounts = AdAccounts::load(&mut *transaction, Some(&batch.ad_accounts())).await?;
        if !batch.snapshots.iter().all(|snapshot| ad_accounts.is_current(snapshot)) {
            return Err(ReplayError::RuleChanged);
        }
        let observed = self.folds.lock_for_replay(&mut transaction, &Days::new(batch.days.iter().copied())).await?;
        for (day, missing) in missing(&observed, &batch.snapshots) {
            let found = self.read_missing(&ad_accounts, day, &missing, batch).await?;
            if let Some(lost) = missing.difference(&found).next() {
                batch.left.push((day, *lost));
                batch.days.remove(&day);
                batch.snapshots.retain(|snapshot| snapshot.day != day);
            }
        }
        if !batch.left.is_empty() {
            self.folds.leave(&mut transaction, &Days::new(batch.left.iter().map(|(day, _)| *day))).await?;
        }
        let days = Days::new(batch.days.iter().copied());
        let snapshots: Vec<&Snapshot> = batch.snapshots.iter().collect();
        let folded = self.folds.refold(&mut transaction, &days, &snapshots).await?;
        announce_changes(&mut transaction, &folded.changes, cause).await?;
        if self.dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok(folded)
    }

    /// Looks for observed events that were not read: first where the others came from (they may have come since), then in
    /// the other log. Returns those found.
    async fn read_missing(
        &self,
        ad_accounts: &AdAccounts,
        day: AccountDay,
        missing: &HashSet<Uuid>,
        batch: &mut Batch,
    ) -> Result<HashSet<Uuid>, ReplayError> {
        let mut found = HashSet::new();
        for source in std::iter::once(&self.from).chain(&self.other) {
            let before = batch.snapshots.len();
            let read = self
                .read_from(
                    ad_accounts,
                    source,
                    day,
                    batch,
                    |id| missing.contains(&id) && !found.contains(&id),
                    come_true,
                )
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

/// An event of the future whose time has come: it was parked, published again, and folded then. The first copy of it, which is
/// all that meta_insights_raw keeps, still stands where it was too early.
fn come_true(observed: &mut Logged) {
    observed.stored_at = observed.stored_at.max(observed.circumstances.fetched_at);
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
