//! What differs between the rebuilt tables and the live ones, and the live ones made equal, a few days at a time.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use events::subject::AccountDay;
use projections::{AdAccounts, Days, Folds, SummaryKey};
use uuid::Uuid;

use super::tables;
use super::{RebuildError, Rebuilt};
use crate::failure::{Class, TRIES, class};

/// Account-days that are applied in one transaction: live traffic on them waits for it.
const DAYS_A_TRANSACTION: usize = 20;

/// What was applied.
#[derive(Debug, Default, Clone)]
pub struct Applied {
    /// Account-days that differ.
    pub days_total: usize,
    /// Account-days that were looked at under their lock, and are equal now.
    pub days: usize,
    /// Those of which a row was replaced or written.
    pub changed: BTreeSet<AccountDay>,
    /// Rows that were replaced or taken out; `rebuild_undo` has them.
    pub replaced: u64,
    /// Rows that were written.
    pub written: u64,
    /// Summaries of tenants' days that were replaced or taken out; `rebuild_undo` has them too.
    pub summaries: u64,
    /// Days left as they were: an observed event is in neither log, or nobody can read it any more.
    pub left: Vec<(AccountDay, Uuid)>,
    /// Days left as they were because live traffic or a changed rule came again and again.
    pub busy: Vec<AccountDay>,
}

impl Applied {
    fn add(&mut self, mut more: Applied) {
        self.days += more.days;
        self.changed.append(&mut more.changed);
        self.replaced += more.replaced;
        self.written += more.written;
        self.summaries += more.summaries;
        self.left.append(&mut more.left);
    }
}

impl Rebuilt {
    /// Makes the live tables equal to the rebuilt ones. `progress` is called after each transaction.
    pub async fn apply(&mut self, progress: impl Fn(&Applied)) -> Result<Applied, RebuildError> {
        let pool = self.rebuild.pool.clone();
        let began_at = tables::prepare_undo(&pool).await?;
        let mut applied = Applied::default();
        let mut due = tables::differing(&self.beside).await?;
        applied.days_total = due.len();
        for _ in 0..TRIES {
            let mut again = Vec::new();
            for some in due.chunks(DAYS_A_TRANSACTION) {
                again.extend(self.apply_some(some, began_at, &mut applied).await?);
                progress(&applied);
            }
            due = again;
            if due.is_empty() {
                break;
            }
            self.catch_up().await?;
        }
        applied.busy = due;
        let left: HashSet<AccountDay> = applied.left.iter().map(|(day, _)| *day).collect();
        self.apply_summaries(began_at, &left, &mut applied).await?;
        Ok(applied)
    }

    /// Applies these days in one transaction; returns those that live traffic, or a rule, has moved on since.
    async fn apply_some(
        &self,
        some: &[AccountDay],
        began_at: DateTime<Utc>,
        applied: &mut Applied,
    ) -> Result<Vec<AccountDay>, RebuildError> {
        for _ in 0..TRIES {
            let mut attempt = Applied::default();
            match self.try_some(some, began_at, &mut attempt).await {
                Err(RebuildError::Database(error)) if matches!(class(&error), Class::Race) => {}
                outcome => {
                    applied.add(attempt);
                    return outcome;
                }
            }
        }
        Ok(some.to_vec())
    }

    async fn try_some(
        &self,
        some: &[AccountDay],
        began_at: DateTime<Utc>,
        applied: &mut Applied,
    ) -> Result<Vec<AccountDay>, RebuildError> {
        let mut transaction = projections::begin(&self.rebuild.pool).await?;
        self.beside.check(&mut transaction).await?;
        let folds = Folds::default();
        let days = Days::new(some.iter().copied());
        let observed = folds.lock_for_replay(&mut transaction, &days).await?;
        let rebuilt = tables::rebuilt_events(&mut transaction, &days).await?;
        let ids: HashSet<Uuid> = some.iter().map(|day| day.ad_account_id).collect();
        let ad_accounts = AdAccounts::load(&mut *transaction, Some(&ids.into_iter().collect::<Vec<_>>())).await?;
        let (mut now, mut again, mut stay) = (BTreeSet::new(), Vec::new(), Vec::new());
        for &day in some {
            let events = rebuilt.get(&day);
            let is_rebuilt = |id: &Uuid| events.is_some_and(|events| events.contains_key(id));
            let is_current =
                events.is_none_or(|events| events.values().all(|version| *version == ad_accounts.rule(&day).version));
            let missing: Vec<Uuid> =
                observed.get(&day).into_iter().flatten().copied().filter(|id| !is_rebuilt(id)).collect();
            match missing.first() {
                None if is_current => drop(now.insert(day)),
                Some(id) if missing.iter().all(|id| self.lost.contains(&(day, *id))) => stay.push((day, *id)),
                _ => again.push(day),
            }
        }
        let untouched = again.iter().copied().chain(stay.iter().map(|(day, _)| *day));
        folds.leave(&mut transaction, &Days::new(untouched)).await?;
        if !now.is_empty() {
            tables::exchange(&mut transaction, &Days::new(now.iter().copied()), began_at, applied).await?;
            let keys: BTreeSet<SummaryKey> = now.iter().map(|day| (day.account_id, day.date)).collect();
            applied.summaries += tables::sum_up(&mut transaction, &keys, began_at).await?;
        }
        transaction.commit().await?;
        applied.days += now.len();
        applied.left.append(&mut stay);
        Ok(again)
    }

    /// Summaries that differ though every account-day of theirs is equal: a hand has been at them.
    async fn apply_summaries(
        &self,
        began_at: DateTime<Utc>,
        left: &HashSet<AccountDay>,
        applied: &mut Applied,
    ) -> Result<(), RebuildError> {
        let with_left: HashSet<SummaryKey> = left.iter().map(|day| (day.account_id, day.date)).collect();
        let differing = tables::differing_summaries(&self.beside).await?;
        let keys: Vec<SummaryKey> = differing.into_iter().filter(|key| !with_left.contains(key)).collect();
        for some in keys.chunks(DAYS_A_TRANSACTION) {
            let some = some.iter().copied().collect();
            let mut tries = 0;
            applied.summaries += loop {
                match self.sum_up(&some, began_at).await {
                    Err(error) if matches!(class(&error), Class::Race) && tries < TRIES => tries += 1,
                    outcome => break outcome?,
                }
            };
        }
        Ok(())
    }

    async fn sum_up(&self, some: &BTreeSet<SummaryKey>, began_at: DateTime<Utc>) -> sqlx::Result<u64> {
        let mut transaction = projections::begin(&self.rebuild.pool).await?;
        let changed = tables::sum_up(&mut transaction, some, began_at).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}
