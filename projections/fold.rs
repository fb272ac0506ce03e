//! One transaction's worth of folding: what new snapshots make of the tables.

use std::collections::{BTreeSet, HashMap, HashSet};

use events::subject::AccountDay;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::daily_meta_metrics::Head;
use crate::daily_summary::SummaryChange;
use crate::fact_meta_daily::Staged;
use crate::keys::{Days, SummaryKey};
use crate::purchases::PurchaseRule;
use crate::timeline::Timeline;
use crate::{Mutant, Snapshot, daily_meta_metrics, daily_summary, fact_meta_daily, observations};

/// The folds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Folds {
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// What a transaction did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Folded {
    /// Events that were new.
    pub events: u64,
    /// Rows written to `fact_meta_daily`.
    pub rows: u64,
    /// What changed in `daily_summary`, which others are to be told in the same transaction. Each tenant's day is there
    /// at most once.
    pub changes: Vec<SummaryChange>,
}

impl Folds {
    /// Whether the law test has planted this fault.
    pub fn planted(&self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        return self.mutant == Some(mutant);
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            false
        }
    }

    /// Folds snapshots of any days, in any order, all of them read by the newest rule of their ad account. The caller
    /// commits, and acknowledges after that.
    pub async fn fold(&self, conn: &mut PgConnection, snapshots: &[&Snapshot]) -> sqlx::Result<Folded> {
        let (folded, touched) = self.fold_days(conn, snapshots).await?;
        let changes = self.summarise(conn, touched.iter()).await?;
        Ok(Folded { changes, ..folded })
    }

    /// Folds snapshots into all tables but `daily_summary`; returns the days whose tenants' summaries have to be made
    /// anew. Into tables that nobody reads yet, [`sum_up`](Self::sum_up) does that once, at the end.
    pub async fn fold_days(
        &self,
        conn: &mut PgConnection,
        snapshots: &[&Snapshot],
    ) -> sqlx::Result<(Folded, BTreeSet<AccountDay>)> {
        if snapshots.is_empty() {
            return Ok(Default::default());
        }
        let days = Days::new(snapshots.iter().map(|s| s.day));
        let heads = daily_meta_metrics::lock(conn, &days).await?;
        let added = observations::insert(conn, snapshots).await?;
        let mut new: HashMap<AccountDay, Vec<&Snapshot>> = HashMap::new();
        for (&snapshot, _) in snapshots.iter().zip(added).filter(|(_, added)| *added) {
            new.entry(snapshot.day).or_default().push(snapshot);
        }
        // Events that were folded once, on a day whose head somebody removed since: a replay can bring it back, this
        // cannot.
        let headless: Vec<AccountDay> =
            days.iter().filter(|day| !heads.contains_key(day) && !new.contains_key(day)).collect();
        if !headless.is_empty() {
            daily_meta_metrics::remove_placeholders(conn, &Days::new(headless)).await?;
        }
        if new.is_empty() {
            return Ok(Default::default());
        }
        let touched = Days::new(new.keys().copied());
        let timelines: HashMap<AccountDay, Timeline> = observations::of_days(conn, &touched)
            .await?
            .into_iter()
            .map(|(day, observed)| (day, Timeline::new(observed)))
            .collect();

        // A day whose new snapshots all say, newer, what its head says: no row changes.
        let changed: BTreeSet<AccountDay> = new
            .iter()
            .filter(|(day, snapshots)| {
                !timelines.get(day).is_some_and(|timeline| unchanged(heads.get(day).copied(), snapshots, timeline))
            })
            .map(|(day, _)| *day)
            .collect();
        // A head that somebody removed says nothing of the rows that the day's other events brought.
        let observed = |day: &AccountDay| timelines.get(day).is_some_and(|all| all.events().count() > new[day].len());
        let had_rows = |day: &AccountDay| heads.contains_key(day) || observed(day);
        let had_rows: BTreeSet<AccountDay> = changed.iter().copied().filter(had_rows).collect();
        // Rows that stand in the way of a late snapshot are looked at one by one; the newest snapshot wins over all.
        let late = |day: &AccountDay| {
            timelines.get(day).is_some_and(|timeline| {
                new[day]
                    .iter()
                    .any(|s| timeline.standing(&s.content).is_some_and(|standing| standing.absence.is_some()))
            })
        };
        let existing = fact_meta_daily::events_of_rows(conn, &Days::new(had_rows.iter().copied().filter(late))).await?;
        let mut staged: Vec<Staged<'_>> = Vec::new();
        for day in &changed {
            if let (Some(snapshots), Some(timeline)) = (new.get(day), timelines.get(day)) {
                self.stage(*day, snapshots, timeline, &existing, &mut staged);
            }
        }
        fact_meta_daily::delete_replaced(conn, staged.iter().filter(|part| had_rows.contains(&part.day))).await?;
        let rows = fact_meta_daily::copy(conn, &staged).await?;
        let stayed: Vec<_> = had_rows.iter().filter_map(|day| Some((*day, timelines.get(day)?))).collect();
        fact_meta_daily::restate(conn, &stayed).await?;

        let pointed: Vec<_> = new
            .values()
            .flatten()
            .filter_map(|s| {
                let head = timelines.get(&s.day)?.head()?;
                (head.version == s.version).then_some((*s, head))
            })
            .collect();
        daily_meta_metrics::point(conn, &pointed).await?;
        let rules: Vec<&PurchaseRule> = changed.iter().map(|day| &*new[day][0].rule).collect();
        daily_meta_metrics::recompute(conn, &Days::new(changed.iter().copied()), &rules).await?;
        let folded = Folded { events: new.values().map(|s| s.len() as u64).sum(), rows, changes: Vec::new() };
        Ok((folded, new.into_keys().collect()))
    }

    /// Makes the summaries of these tenants' days anew; returns those that changed.
    pub async fn sum_up(
        &self,
        conn: &mut PgConnection,
        days: &BTreeSet<SummaryKey>,
    ) -> sqlx::Result<Vec<SummaryChange>> {
        if days.is_empty() { Ok(Vec::new()) } else { daily_summary::recompute(conn, days).await }
    }

    async fn summarise(
        &self,
        conn: &mut PgConnection,
        days: impl Iterator<Item = &AccountDay>,
    ) -> sqlx::Result<Vec<SummaryChange>> {
        let keys: BTreeSet<SummaryKey> = days.map(|day| (day.account_id, day.date)).collect();
        #[cfg(feature = "mutants")]
        if self.planted(Mutant::NoSummaryLock) && !keys.is_empty() {
            return daily_summary::upsert_without_lock(conn, &keys).await;
        }
        self.sum_up(conn, &keys).await
    }

    /// Chooses the rows to write for a day: for each ad of a new snapshot, the row of the content with the newest last
    /// version, unless an existing row's content is newer still.
    pub(crate) fn stage<'a>(
        &self,
        day: AccountDay,
        snapshots: &[&'a Snapshot],
        timeline: &Timeline,
        existing: &HashMap<(AccountDay, String), Uuid>,
        staged: &mut Vec<Staged<'a>>,
    ) {
        let mut contents: Vec<_> =
            snapshots.iter().filter_map(|s| Some((timeline.standing(&s.content)?, *s))).collect();
        // Of equal snapshots the newest goes first: a replay keeps no row in an older one that a newer one has.
        contents.sort_by_key(|(standing, s)| std::cmp::Reverse((standing.last, s.version)));
        contents.dedup_by_key(|(standing, _)| standing.last);
        if self.planted(Mutant::WholeSnapshotNewestWins) {
            contents.retain(|(standing, _)| standing.absence.is_none());
        }
        let several = contents.len() > 1;
        let mut taken: HashSet<&str> = HashSet::new();
        for (standing, snapshot) in contents {
            let wins = |ad_id: &str| {
                // The newest snapshot of all is above every row there is.
                standing.absence.is_none()
                    || existing
                        .get(&(day, ad_id.to_owned()))
                        .and_then(|event_id| timeline.standing_of_event(*event_id))
                        .is_none_or(|theirs| theirs.last < standing.last)
            };
            let rows =
                snapshot.rows.iter().filter(|(ad_id, _)| wins(ad_id) && (!several || taken.insert(ad_id))).collect();
            staged.push(Staged { day, snapshot, standing, rows });
        }
    }
}

/// Begins a transaction that folds.
///
/// PostgreSQL plans its statements for the tables as they are: a plan that a session made while a table was small, and
/// keeps, reads the whole table long after it has grown. And until the transaction ends no purchase rule is added, so
/// that the newest rules, asked for from now on, are those that the days have to be folded by.
pub async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut transaction = pool.begin().await?;
    let prepare = "set local plan_cache_mode = force_custom_plan; select purchase_rules_hold()";
    sqlx::raw_sql(prepare).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Whether a day's new snapshots all say, above its head's version, what the head says already, and the rule by which
/// its rows were read is still the one.
fn unchanged(head: Option<Head>, new: &[&Snapshot], timeline: &Timeline) -> bool {
    head.is_some_and(|head| {
        let rule_version = timeline.rule_version_of_event(head.version.event_id);
        new.iter()
            .all(|s| s.content == head.content && s.version > head.version && rule_version == Some(s.rule.version))
    })
}
