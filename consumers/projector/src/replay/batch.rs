//! One transaction's worth of a replay: its days read, and made what their events say.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use events::subject::AccountDay;
use logs::{End, LogError, Logged, Source};
use projections::{AdAccounts, Days, Mended, Snapshot};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Record, Replay, ReplayError, Report};
use crate::announce_changes;
use crate::batch::{Class, TRIES, admit, class};

/// Days after which a transaction is complete, however few their rows: each is locked.
pub(super) const MOST_DAYS: usize = 100;

/// One transaction's worth of days, read and decoded.
#[derive(Default)]
pub(super) struct Batch {
    days: BTreeSet<AccountDay>,
    snapshots: Vec<Snapshot>,
    payload_bytes: u64,
    unfoldable: Vec<(AccountDay, Option<Uuid>, String)>,
    /// Days taken out of the batch for good: they stay as they are.
    left: Vec<(AccountDay, Uuid)>,
    /// Days whose hashes are known.
    trusted: usize,
    /// The last day that was read, in the order of days.
    through: Option<AccountDay>,
}

impl Batch {
    pub(super) fn append(&mut self, mut other: Batch) {
        self.days.append(&mut other.days);
        self.snapshots.append(&mut other.snapshots);
        self.payload_bytes += other.payload_bytes;
        self.unfoldable.append(&mut other.unfoldable);
        self.trusted += other.trusted;
        self.through = other.through.or(self.through);
    }

    /// Whether the transaction is complete before this day comes. What is of one tenant's date stays together, up to
    /// twice as much.
    pub(super) fn is_full_before(&self, next: &Batch, rows_a_transaction: usize) -> bool {
        let rows: usize = self.snapshots.iter().map(|s| s.rows.len()).sum();
        let summary = |batch: &Batch| batch.through.map(|day| (day.account_id, day.date));
        let full = |times: usize| rows >= times * rows_a_transaction || self.days_read() >= times * MOST_DAYS;
        full(2) || full(1) && summary(self) != summary(next)
    }

    pub(super) fn days_read(&self) -> usize {
        self.days.len() + self.left.len() + self.trusted
    }

    /// Events of which no copy could be folded, with the reason.
    fn never_folded(&self) -> impl Iterator<Item = (AccountDay, String)> {
        let folded: HashSet<Uuid> = self.snapshots.iter().map(|snapshot| snapshot.version.event_id).collect();
        let never = self.unfoldable.iter().filter(move |(_, id, _)| id.is_none_or(|id| !folded.contains(&id)));
        never.map(|(day, _, reason)| (*day, reason.clone()))
    }

    fn ad_accounts(&self) -> Vec<Uuid> {
        let ids: BTreeSet<Uuid> = self.days.iter().map(|day| day.ad_account_id).collect();
        ids.into_iter().collect()
    }
}

impl Replay {
    /// Reads a day in a task of its own, which is broken off when the future is dropped.
    pub(super) fn spawn_read(
        &self,
        ad_accounts: &Arc<AdAccounts>,
        day: AccountDay,
    ) -> impl Future<Output = Result<Batch, ReplayError>> + use<> {
        let (replay, ad_accounts) = (self.clone(), ad_accounts.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut batch = Batch { through: Some(day), ..Batch::default() };
            if replay.trust_hash && replay.is_known(&ad_accounts, day, &mut batch.payload_bytes).await? {
                batch.trusted = 1;
            } else {
                batch.payload_bytes = 0;
                replay.read(&ad_accounts, day, &mut batch).await?;
            }
            Ok(batch)
        }));
        async { task.await.unwrap_or_else(|broken| Err(ReplayError::Reading(broken))) }
    }

    /// Reads a day's events into the batch, keeping no row that a newer snapshot of the day replaces. Old days may have
    /// left the stream, wholly or in part: what the raw log alone holds of them is read there.
    async fn read(&self, ad_accounts: &AdAccounts, day: AccountDay, batch: &mut Batch) -> Result<(), ReplayError> {
        batch.days.insert(day);
        let mut seen = HashSet::new();
        let read = self.read_from(
            ad_accounts,
            (&self.from, self.end),
            day,
            batch,
            |id| {
                seen.insert(id);
                true
            },
            |logged| logged,
        );
        read.await?;
        let Some(other @ Source::Raw(pool)) = &self.other else { return Ok(()) };
        let origins = raw::origins_of_day(pool, day).await.map_err(LogError::from)?;
        let is_after = |origin: &raw::Origin| {
            matches!(self.end, Some(End::Stream { incarnation, sequence })
                if origin.incarnation == incarnation && u64::try_from(origin.sequence).is_ok_and(|at| at > sequence))
        };
        let only_there: HashSet<Uuid> = origins
            .iter()
            .filter(|origin| !is_after(origin) && !seen.contains(&origin.event_id))
            .map(|origin| origin.event_id)
            .collect();
        if only_there.is_empty() {
            return Ok(());
        }
        self.read_from(ad_accounts, (other, None), day, batch, |id| only_there.contains(&id), |logged| logged).await
    }

    async fn read_from(
        &self,
        ad_accounts: &AdAccounts,
        (source, end): (&Source, Option<End>),
        day: AccountDay,
        batch: &mut Batch,
        mut wanted: impl FnMut(Uuid) -> bool,
        amend: impl Fn(Logged) -> Logged,
    ) -> Result<(), ReplayError> {
        let mut snapshots = Vec::new();
        let mut unfoldable = Vec::new();
        let mut taken = HashSet::new();
        let mut payload_bytes = 0;
        source
            .each_event_until(day, end, |parts| match parts {
                Ok(parts) if taken.contains(&parts.circumstances.event_id) || !wanted(parts.circumstances.event_id) => {
                }
                Ok(parts) => {
                    let parts = amend(parts);
                    payload_bytes += parts.payload.len() as u64;
                    let event_id = Some(parts.circumstances.event_id);
                    match admit(&parts, ad_accounts, self.max_event_bytes) {
                        // An event may be there twice, and only its later copy be one that can be folded.
                        Ok(snapshot) => {
                            taken.insert(snapshot.version.event_id);
                            projections::snapshot::push_trimmed(&mut snapshots, snapshot);
                        }
                        Err(reason) => unfoldable.push((day, event_id, reason)),
                    }
                }
                Err(reason) => unfoldable.push((day, None, reason.to_string())),
            })
            .await?;
        batch.payload_bytes += payload_bytes;
        batch.snapshots.append(&mut snapshots);
        batch.unfoldable.append(&mut unfoldable);
        Ok(())
    }

    /// Makes the tables right for a batch, in one transaction with the record of it. Whether a pause is wanted.
    pub(super) async fn fold(
        &self,
        mut batch: Batch,
        record: Option<&Record>,
        report: &mut Report,
    ) -> Result<bool, ReplayError> {
        let mut unfoldable = batch.unfoldable.len();
        let mut tries = 0;
        let (mended, paused) = loop {
            match self.fold_once(&mut batch, record).await {
                Err(ReplayError::Database(error)) if matches!(class(&error), Class::Race) && tries < TRIES => {
                    tries += 1;
                    // What the lost attempt found is found again.
                    batch.unfoldable.truncate(unfoldable);
                }
                Err(ReplayError::RuleChanged) if tries < TRIES => {
                    tries += 1;
                    let ad_accounts = AdAccounts::load(&self.pool, Some(&batch.ad_accounts())).await?;
                    let mut again = Batch {
                        left: std::mem::take(&mut batch.left),
                        trusted: batch.trusted,
                        through: batch.through,
                        ..Batch::default()
                    };
                    for &day in &batch.days {
                        self.read(&ad_accounts, day, &mut again).await?;
                    }
                    batch = again;
                    unfoldable = batch.unfoldable.len();
                }
                outcome => break outcome?,
            }
        };
        report.days += batch.days_read();
        report.trusted += batch.trusted;
        report.compared += batch.days.len();
        report.events += batch.snapshots.len() as u64;
        report.payload_bytes += batch.payload_bytes;
        report.rows += mended.rows;
        report.differing.add(mended.differing);
        report.changed(mended.changed);
        report.summaries.extend(mended.summaries);
        report.unfoldable.extend(batch.never_folded());
        report.left.append(&mut batch.left);
        Ok(paused)
    }

    async fn fold_once(&self, batch: &mut Batch, record: Option<&Record>) -> Result<(Mended, bool), ReplayError> {
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
        let mended = self.folds.mend(&mut transaction, &days, &snapshots, self.only).await?;
        announce_changes(&mut transaction, &mended.changes, self.cause).await?;
        let mut paused = false;
        if let (Some(record), Some(through)) = (record, batch.through) {
            let done = Report {
                days: batch.days_read(),
                events: snapshots.len() as u64,
                payload_bytes: batch.payload_bytes,
                rows: mended.rows,
                days_changed: mended.changed.len(),
                left: batch.left.clone(),
                unfoldable: batch.never_folded().collect(),
                ..Report::default()
            };
            paused = record.advance(&mut transaction, through, &done).await?;
        }
        if self.dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok((mended, paused))
    }

    /// Looks for observed events that were not read: first where the others came from (they may have come since),
    /// then in the other log. Returns those found.
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
            let wanted = |id| missing.contains(&id) && !found.contains(&id);
            match self.read_from(ad_accounts, (source, None), day, batch, wanted, Logged::no_longer_early).await {
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
