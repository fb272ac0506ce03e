//! What a replay writes: of locked days, whose events it has all decoded, the rows that are not what the events say.
//!
//! Every row is made anew and compared in every column, a damaged one as any other; what is the same is not
//! written, so that a replay over days that are right costs the tables nothing, and nobody who watches them is told
//! of a change that is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDate;
use events::subject::AccountDay;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fact_meta_daily::Staged;
use crate::keys::{Days, SummaryKey};
use crate::purchases::PurchaseRule;
use crate::shapes::Table;
use crate::timeline::{Observed, Timeline};
use crate::{Folds, Snapshot, SummaryChange, daily_meta_metrics, daily_summary, fact_meta_daily, observations};

/// How many rows of each table were not what the events say: others, too few, or too many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Differences {
    pub observations: u64,
    pub fact_meta_daily: u64,
    pub daily_meta_metrics: u64,
}

impl Differences {
    pub fn add(&mut self, other: Differences) {
        self.observations += other.observations;
        self.fact_meta_daily += other.fact_meta_daily;
        self.daily_meta_metrics += other.daily_meta_metrics;
    }
}

/// What was compared, and what of it was written.
#[derive(Debug, Default)]
pub struct Mended {
    /// Rows that were made anew and compared.
    pub rows: u64,
    /// Days of which a row was not what the events say.
    pub changed: BTreeSet<AccountDay>,
    pub differing: Differences,
    /// Days of tenants whose summary is another now.
    pub summaries: BTreeSet<SummaryKey>,
    /// How the summaries changed.
    pub changes: Vec<SummaryChange>,
}

impl Folds {
    /// Locks these days for a replay. The heads stay locked until the caller's transaction ends, so live traffic on
    /// these days waits and then goes on from the replay's result.
    ///
    /// Returns the events that had been observed: the caller must hold them all, or give the days up.
    pub async fn lock_for_replay(
        &self,
        conn: &mut PgConnection,
        days: &Days,
    ) -> sqlx::Result<HashMap<AccountDay, Vec<Uuid>>> {
        daily_meta_metrics::lock(conn, days).await?;
        let observed = observations::of_days(conn, days).await?;
        Ok(observed.into_iter().map(|(day, all)| (day, all.iter().map(|o| o.version.event_id).collect())).collect())
    }

    /// Leaves locked days as they were before they were locked.
    pub async fn leave(&self, conn: &mut PgConnection, days: &Days) -> sqlx::Result<()> {
        daily_meta_metrics::remove_placeholders(conn, days).await
    }

    /// Empties locked days and folds `snapshots`, all there are of them, into all tables but `daily_summary`.
    pub(crate) async fn refold(
        &self,
        conn: &mut PgConnection,
        days: &Days,
        snapshots: &[&Snapshot],
    ) -> sqlx::Result<()> {
        fact_meta_daily::delete(conn, days).await?;
        observations::delete(conn, days).await?;
        daily_meta_metrics::delete(conn, days).await?;
        self.fold_days(conn, snapshots).await.map(drop)
    }

    /// Takes numbers out of summaries that no ad account's day stands behind; the columns of other sources stay. Returns
    /// what changed by it.
    pub async fn empty_baseless_summaries(
        &self,
        conn: &mut PgConnection,
        account_id: Option<Uuid>,
        since: NaiveDate,
        until: NaiveDate,
    ) -> sqlx::Result<Vec<SummaryChange>> {
        let keys = daily_summary::without_ad_accounts(conn, account_id, since, until).await?;
        self.sum_up(conn, &keys).await
    }

    /// Makes days, locked by [`lock_for_replay`](Folds::lock_for_replay), what `snapshots`, all there are of them,
    /// say. A day whose observations and facts are right keeps them; another one is emptied and folded. With
    /// `only`, one table is compared, and those that are computed from it are only written where it changes.
    pub async fn mend(
        &self,
        conn: &mut PgConnection,
        days: &Days,
        snapshots: &[&Snapshot],
        only: Option<Table>,
    ) -> sqlx::Result<Mended> {
        let told = DaysToMend::new(days, snapshots);
        let compares = |table| only.is_none_or(|only| only == table);
        let before = heads(conn, days, true).await?;
        let mut mended = Mended::default();
        if compares(Table::Observations) {
            let differing = observations::differing(conn, days, snapshots).await?;
            mended.differing.observations = differing.values().sum();
            mended.changed.extend(differing.into_keys());
        }
        let mut staged = Vec::new();
        if compares(Table::FactMetaDaily) {
            staged = self.staged(&told);
            let differing = fact_meta_daily::differing(conn, days, &staged).await?;
            mended.differing.fact_meta_daily = differing.iter().sum();
            mended.changed.extend(days.iter().zip(differing).filter(|(_, n)| *n > 0).map(|(day, _)| day));
        }
        mended.rows = match only {
            Some(Table::Observations) => snapshots.len() as u64,
            Some(Table::DailyMetaMetrics) => told.of_day.len() as u64,
            _ => staged.iter().map(|part| part.rows.len() as u64).sum(),
        };
        self.write(conn, &told, &staged, only, &mended.changed).await?;

        // What folded days say was summed with them; here are the others, and damage to the summaries themselves.
        let heads = other(&before, &heads(conn, days, false).await?);
        mended.differing.daily_meta_metrics = heads.len() as u64;
        mended.changed.extend(heads);
        let touched = days.iter().filter(|day| only.is_none() || mended.changed.contains(day));
        let keys = touched.map(|day| (day.account_id, day.date)).collect();
        // Where an account-day changed here, nobody else saw the sum that it makes now: it is summed under the lock.
        let again = mended.changed.iter().map(|day| (day.account_id, day.date)).collect();
        (mended.summaries, mended.changes) = self.resum(conn, &keys, again).await?;
        for key in &mended.summaries {
            let of_key = |day: &AccountDay| (day.account_id, day.date) == *key;
            if !mended.changed.iter().any(of_key) {
                mended.changed.extend(days.iter().find(of_key));
            }
        }
        Ok(mended)
    }

    /// Sums those of these tenants' days anew that are not what their ad accounts say, and those of `again`; which were
    /// not, and what changed.
    pub async fn resum(
        &self,
        conn: &mut PgConnection,
        keys: &BTreeSet<SummaryKey>,
        mut again: BTreeSet<SummaryKey>,
    ) -> sqlx::Result<(BTreeSet<SummaryKey>, Vec<SummaryChange>)> {
        let (account_ids, dates): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
        let rows = sqlx::query_file!("mend/summaries.sql", &account_ids, &dates).fetch_all(&mut *conn).await?;
        let differing: BTreeSet<SummaryKey> = rows.into_iter().map(|r| (r.account_id, r.date)).collect();
        again.extend(&differing);
        let changes = self.sum_up(conn, &again).await?;
        Ok((differing, changes))
    }

    /// All that the events of these days say, as rows for empty days.
    fn staged<'s>(&self, told: &DaysToMend<'s>) -> Vec<Staged<'s>> {
        let (none, mut staged) = (HashMap::new(), Vec::new());
        for (day, snapshots) in &told.of_day {
            if let Some(timeline) = told.timelines.get(day) {
                self.stage(*day, snapshots, timeline, &none, &mut staged);
            }
        }
        staged
    }

    async fn write(
        &self,
        conn: &mut PgConnection,
        told: &DaysToMend<'_>,
        staged: &[Staged<'_>],
        only: Option<Table>,
        changed: &BTreeSet<AccountDay>,
    ) -> sqlx::Result<()> {
        let (with_events, without): (Vec<AccountDay>, Vec<AccountDay>) =
            told.days.iter().partition(|day| told.of_day.contains_key(day));
        let right: Vec<AccountDay> = with_events.into_iter().filter(|day| !changed.contains(day)).collect();
        match only {
            None | Some(Table::Observations) => {
                let again: Vec<&Snapshot> =
                    told.of_day.iter().filter(|(day, _)| changed.contains(day)).flat_map(|(_, s)| s).copied().collect();
                if !changed.is_empty() {
                    self.refold(conn, &Days::new(changed.iter().copied()), &again).await?;
                }
            }
            Some(Table::FactMetaDaily) => {
                let staged: Vec<&Staged<'_>> = staged.iter().filter(|part| changed.contains(&part.day)).collect();
                fact_meta_daily::delete(conn, &Days::new(changed.iter().copied())).await?;
                fact_meta_daily::copy(conn, staged).await?;
                told.head(conn, changed.iter().filter(|day| told.of_day.contains_key(day))).await?;
            }
            Some(Table::DailyMetaMetrics | Table::DailySummary) => {}
        }
        match only {
            None | Some(Table::DailyMetaMetrics) => {
                told.head(conn, right.iter()).await?;
                daily_meta_metrics::delete(conn, &Days::new(without)).await?;
            }
            // A head that was only made to lock its day is taken back.
            _ => daily_meta_metrics::remove_placeholders(conn, told.days).await?,
        }
        Ok(())
    }
}

/// Locked days with all that their events say of them.
struct DaysToMend<'s> {
    days: &'s Days,
    of_day: BTreeMap<AccountDay, Vec<&'s Snapshot>>,
    timelines: HashMap<AccountDay, Timeline>,
}

impl<'s> DaysToMend<'s> {
    fn new(days: &'s Days, snapshots: &[&'s Snapshot]) -> Self {
        let mut of_day: BTreeMap<AccountDay, Vec<&Snapshot>> = BTreeMap::new();
        for &snapshot in snapshots {
            of_day.entry(snapshot.day).or_default().push(snapshot);
        }
        let observed = |s: &&Snapshot| Observed {
            version: s.version,
            content: s.content,
            proves: s.proves(),
            rule_version: s.rule.version,
        };
        let timelines =
            of_day.iter().map(|(day, all)| (*day, Timeline::new(all.iter().map(observed).collect()))).collect();
        DaysToMend { days, of_day, timelines }
    }

    /// Points the heads of days with events at their newest one, and sums the days from their facts.
    async fn head(&self, conn: &mut PgConnection, days: impl Iterator<Item = &AccountDay>) -> sqlx::Result<()> {
        let mut heads: Vec<(&Snapshot, Observed)> = Vec::new();
        for day in days {
            let newest = self.timelines.get(day).and_then(Timeline::head);
            let of_it = |s: &&&Snapshot| newest.is_some_and(|newest| newest.version == s.version);
            heads.extend(self.of_day[day].iter().find(of_it).copied().zip(newest));
        }
        heads.sort_by_key(|(snapshot, _)| snapshot.day);
        let rules: Vec<&PurchaseRule> = heads.iter().map(|(snapshot, _)| &*snapshot.rule).collect();
        daily_meta_metrics::point(conn, &heads).await?;
        daily_meta_metrics::recompute(conn, &Days::new(heads.iter().map(|(s, _)| s.day)), &rules).await
    }
}

/// The heads of some days as text, in which every column stands; `before` anything is written, heads that are there only
/// because their days were locked are none.
async fn heads(conn: &mut PgConnection, days: &Days, before: bool) -> sqlx::Result<HashMap<AccountDay, String>> {
    let rows = sqlx::query_file!("mend/metrics.sql", &days.account_ids, &days.ad_account_ids, &days.dates, before);
    let rows = rows.fetch_all(conn).await?;
    let day = |account_id, ad_account_id, date| AccountDay { account_id, ad_account_id, date };
    Ok(rows.into_iter().map(|r| (day(r.account_id, r.ad_account_id, r.date), r.text)).collect())
}

/// Days whose row is another one, or is only on one side.
fn other(before: &HashMap<AccountDay, String>, after: &HashMap<AccountDay, String>) -> BTreeSet<AccountDay> {
    let days = before.keys().chain(after.keys());
    days.filter(|day| before.get(day) != after.get(day)).copied().collect()
}

/// The tenants' days of a range of which an ad account's day is folded, in their order.
pub async fn summary_keys(
    conn: &mut PgConnection,
    account_id: Option<Uuid>,
    ad_account_id: Option<Uuid>,
    since: NaiveDate,
    until: NaiveDate,
) -> sqlx::Result<BTreeSet<SummaryKey>> {
    let rows = sqlx::query_file!("mend/keys.sql", account_id, ad_account_id, since, until).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|r| (r.account_id, r.date)).collect())
}
