//! Tenants' days summed anew, without a log.

use std::collections::BTreeSet;

use events::subject::AccountDay;
use logs::Range;
use projections::SummaryKey;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::MOST_DAYS;
use super::pace::Pacer;
use super::{Record, Replay, ReplayError, Report, Stop};
use crate::announce_changes;

impl Replay {
    /// The tenants' days of a range, each as a day of no ad account: no log is read for them.
    pub(super) async fn summary_days(&self, range: &Range) -> Result<BTreeSet<AccountDay>, ReplayError> {
        let Range { account_id, ad_account_id, since, until } = *range;
        let mut connection = self.pool.acquire().await?;
        let keys = projections::summary_keys(&mut connection, account_id, ad_account_id, since, until).await?;
        Ok(keys
            .into_iter()
            .map(|(account_id, date)| AccountDay { account_id, ad_account_id: Uuid::nil(), date })
            .collect())
    }

    /// Sums tenants' days anew, where they are not what their ad accounts say.
    pub(super) async fn resum(
        &self,
        days: Vec<AccountDay>,
        record: Option<&Record>,
        cancel: &CancellationToken,
        report: &mut Report,
        progress: &impl Fn(&Report),
    ) -> Result<(), Stop> {
        let mut pacer = Pacer::new(&self.pace);
        for some in days.chunks(MOST_DAYS.min(self.rows_a_transaction)) {
            pacer.wait(&self.pool, record, cancel, report, progress).await?;
            let keys: BTreeSet<SummaryKey> = some.iter().map(|day| (day.account_id, day.date)).collect();
            let mut transaction = projections::begin(&self.pool).await?;
            let (summed, changes) = self.folds.resum(&mut transaction, &keys, BTreeSet::new()).await?;
            announce_changes(&mut transaction, &changes, self.cause).await?;
            let (rows, days_changed) = (some.len() as u64, summed.len());
            let mut paused = false;
            if let (Some(record), Some(through)) = (record, some.last()) {
                let done = Report { days: some.len(), rows, days_changed, ..Report::default() };
                paused = record.advance(&mut transaction, *through, &done).await?;
            }
            if self.dry_run {
                transaction.rollback().await?;
            } else {
                transaction.commit().await?;
            }
            report.days += some.len();
            report.compared += some.len();
            report.rows += rows;
            self.summed(summed, report);
            progress(report);
            if paused {
                return Err(Stop::Paused);
            }
            pacer.spend(rows);
        }
        Ok(())
    }

    /// Summaries that no ad account's day stands behind lose their numbers. Where a dry run has `visited` a
    /// tenant's date, an ad account's day would stand behind it, or it was told already.
    pub(super) async fn empty_baseless_summaries(
        &self,
        range: &Range,
        visited: &BTreeSet<SummaryKey>,
        record: Option<&Record>,
        report: &mut Report,
    ) -> Result<(), ReplayError> {
        let mut transaction = projections::begin(&self.pool).await?;
        let Range { account_id, since, until, .. } = *range;
        let changes = self.folds.empty_baseless_summaries(&mut transaction, account_id, since, until).await?;
        announce_changes(&mut transaction, &changes, self.cause).await?;
        if let Some(record) = record {
            record.adds_changed(&mut transaction, changes.len()).await?;
        }
        let mut emptied: BTreeSet<SummaryKey> = changes.iter().map(|change| (change.account_id, change.date)).collect();
        if self.dry_run {
            transaction.rollback().await?;
            emptied.retain(|key| !visited.contains(key));
        } else {
            transaction.commit().await?;
        }
        self.summed(emptied, report);
        Ok(())
    }

    fn summed(&self, keys: BTreeSet<SummaryKey>, report: &mut Report) {
        let day = |key: &SummaryKey| AccountDay { account_id: key.0, ad_account_id: Uuid::nil(), date: key.1 };
        let days: Vec<AccountDay> = keys.iter().filter(|key| !report.summaries.contains(key)).map(day).collect();
        report.changed(days);
        report.summaries.extend(keys);
    }
}
