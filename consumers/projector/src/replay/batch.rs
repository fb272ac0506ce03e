//! One transaction's worth of a replay: its days read, and made what their events say.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use events::subject::AccountDay;
use projections::{AdAccounts, Days, Mended, Snapshot};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Record, Replay, ReplayError, Report};
use crate::announce_changes;
use crate::failure::{Class, NotFolded, TRIES, class, refused_of};
use crate::reading::{DayBatch, LOOK_EVERY, LOOKED_FOR, Reader, Wanted};

/// Days after which a transaction is complete, however few their rows: each is locked.
pub(super) const MOST_DAYS: usize = 100;

/// One transaction's worth of days, read and decoded.
#[derive(Default)]
pub(super) struct Batch {
    read: DayBatch,
    /// Events that PostgreSQL refuses, as [`Reader::refused`].
    refused: HashMap<(AccountDay, Uuid), String>,
    /// Days taken out of the batch for good: they stay as they are.
    left: Vec<(AccountDay, Uuid)>,
    /// Days whose hashes are known.
    trusted: usize,
    /// The last day that was read, in the order of days.
    through: Option<AccountDay>,
}

impl Batch {
    pub(super) fn append(&mut self, other: Batch) {
        self.read.append(other.read);
        self.trusted += other.trusted;
        self.through = other.through.or(self.through);
    }

    /// Whether the transaction is complete before this day comes. What is of one tenant's date stays together, up to
    /// twice as much.
    pub(super) fn is_full_before(&self, next: &Batch, rows_a_transaction: usize) -> bool {
        let rows = self.read.rows();
        let summary = |batch: &Batch| batch.through.map(|day| (day.account_id, day.date));
        let full = |times: usize| rows >= times * rows_a_transaction || self.days_read() >= times * MOST_DAYS;
        full(2) || full(1) && summary(self) != summary(next)
    }

    pub(super) fn days_read(&self) -> usize {
        self.read.days.len() + self.left.len() + self.trusted
    }

    /// Events of which no copy could be folded, with the reason.
    fn never_folded(&self) -> impl Iterator<Item = NotFolded> {
        let folded: HashSet<Uuid> = self.read.snapshots.iter().map(|snapshot| snapshot.version.event_id).collect();
        let never =
            self.read.not_folded.iter().filter(move |event| event.event_id.is_none_or(|id| !folded.contains(&id)));
        never.cloned()
    }

    fn is_unreadable(&self, event_id: &Uuid) -> bool {
        self.read.not_folded.iter().any(|event| event.event_id == Some(*event_id))
    }

    fn ad_accounts(&self) -> Vec<Uuid> {
        let ids: BTreeSet<Uuid> = self.read.days.iter().map(|day| day.ad_account_id).collect();
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
            if replay.trust_hash && replay.is_known(&ad_accounts, day, &mut batch.read.payload_bytes).await? {
                batch.trusted = 1;
            } else {
                batch.read = replay.reader(ad_accounts).day(day).await?;
            }
            Ok(batch)
        }));
        async { task.await.unwrap_or_else(|broken| Err(ReplayError::Reading(broken))) }
    }

    /// Reads the logs up to where the first of them ended when the replay began.
    fn reader(&self, ad_accounts: Arc<AdAccounts>) -> Reader {
        Reader {
            logs: self.logs.clone(),
            end: self.end,
            ad_accounts,
            wanted: Arc::new(|_| true),
            refused: HashMap::new(),
            came_true: Arc::default(),
            max_event_bytes: self.max_event_bytes,
        }
    }

    /// Makes the tables right for a batch, in one transaction with the record of it. Whether a pause is wanted.
    pub(super) async fn fold(
        &self,
        mut batch: Batch,
        record: Option<&Record>,
        report: &mut Report,
    ) -> Result<bool, ReplayError> {
        let (mut tries, mut looked) = (0, 1);
        let (mended, paused) = loop {
            match self.fold_once(&mut batch, looked == LOOKED_FOR, record).await {
                Err(ReplayError::Database(error)) if matches!(class(&error), Class::Race) && tries < TRIES => {
                    tries += 1
                }
                Err(ReplayError::NotThere) => {
                    looked += 1;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                // Live traffic has parked what PostgreSQL refuses: the days are made of the others.
                Err(ReplayError::Database(error)) if matches!(class(&error), Class::Data) => {
                    let mut trial = projections::begin(&self.pool).await?;
                    let refused = refused_of(&mut trial, &batch.read.snapshots).await?;
                    trial.rollback().await?;
                    if refused.is_empty() {
                        return Err(error.into());
                    }
                    self.read_again(&mut batch, refused).await?;
                }
                Err(ReplayError::RuleChanged) if tries < TRIES => {
                    tries += 1;
                    self.read_again(&mut batch, Vec::new()).await?;
                }
                outcome => break outcome?,
            }
        };
        report.days += batch.days_read();
        report.trusted += batch.trusted;
        report.compared += batch.read.days.len();
        report.events += batch.read.snapshots.len() as u64;
        report.payload_bytes += batch.read.payload_bytes;
        report.rows += mended.rows;
        report.differing.add(mended.differing);
        report.changed(mended.changed);
        report.summaries.extend(mended.summaries);
        report.not_folded.extend(batch.never_folded());
        report.left.append(&mut batch.left);
        Ok(paused)
    }

    /// Reads the days of a batch again, by the rules of now and without the events that are refused.
    async fn read_again(&self, batch: &mut Batch, refused: Vec<NotFolded>) -> Result<(), ReplayError> {
        let ad_accounts = AdAccounts::load(&self.pool, Some(&batch.ad_accounts())).await?;
        let before = std::mem::take(&mut batch.refused);
        let mut reader = Reader { refused: before, ..self.reader(Arc::new(ad_accounts)) };
        batch.read = reader.again(&batch.read.days, refused).await?;
        batch.refused = reader.refused;
        Ok(())
    }

    async fn fold_once(
        &self,
        batch: &mut Batch,
        last_look: bool,
        record: Option<&Record>,
    ) -> Result<(Mended, bool), ReplayError> {
        let mut transaction = projections::begin(&self.pool).await?;
        let ad_accounts = Arc::new(AdAccounts::load(&mut *transaction, Some(&batch.ad_accounts())).await?);
        if !batch.read.snapshots.iter().all(|snapshot| ad_accounts.is_current(snapshot)) {
            return Err(ReplayError::RuleChanged);
        }
        let observed =
            self.folds.lock_for_replay(&mut transaction, &Days::new(batch.read.days.iter().copied())).await?;
        for (day, missing) in missing(&observed, &batch.read.snapshots) {
            let found = self.read_missing(&ad_accounts, day, &missing, batch).await?;
            if let Some(lost) = missing.difference(&found).next() {
                // The raw log may be a moment behind the projector; what is there and cannot be read stays so.
                if !last_look && !missing.difference(&found).any(|id| batch.is_unreadable(id)) {
                    return Err(ReplayError::NotThere);
                }
                batch.left.push((day, *lost));
                batch.read.days.remove(&day);
                batch.read.snapshots.retain(|snapshot| snapshot.day != day);
            }
        }
        if !batch.left.is_empty() {
            self.folds.leave(&mut transaction, &Days::new(batch.left.iter().map(|(day, _)| *day))).await?;
        }
        let days = Days::new(batch.read.days.iter().copied());
        let snapshots: Vec<&Snapshot> = batch.read.snapshots.iter().collect();
        let mended = self.folds.mend(&mut transaction, &days, &snapshots, self.only).await?;
        announce_changes(&mut transaction, &mended.changes, self.cause).await?;
        let mut paused = false;
        if let (Some(record), Some(through)) = (record, batch.through) {
            let mut done = Report {
                days: batch.days_read(),
                events: snapshots.len() as u64,
                payload_bytes: batch.read.payload_bytes,
                rows: mended.rows,
                days_changed: mended.changed.len(),
                left: batch.left.clone(),
                ..Report::default()
            };
            done.not_folded.extend(batch.never_folded());
            paused = record.advance(&mut transaction, through, &done).await?;
        }
        if self.dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
        }
        Ok((mended, paused))
    }

    /// Looks for observed events that were not read: they may have come since, or their time has. Returns those found.
    async fn read_missing(
        &self,
        ad_accounts: &Arc<AdAccounts>,
        day: AccountDay,
        missing: &HashSet<Uuid>,
        batch: &mut Batch,
    ) -> Result<HashSet<Uuid>, ReplayError> {
        let ids = Arc::new(missing.clone());
        let came_true = ids.clone();
        let wanted: Arc<Wanted> = Arc::new(move |logged| ids.contains(&logged.circumstances.event_id));
        let reader = Reader { end: None, wanted, came_true, ..self.reader(ad_accounts.clone()) };
        let mut read = reader.day(day).await?;
        // What has no id was said when the day was read.
        read.not_folded.retain(|event| event.event_id.is_some());
        let found = read.snapshots.iter().map(|snapshot| snapshot.version.event_id).collect();
        batch.read.append(read);
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
