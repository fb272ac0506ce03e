//! Everything folded once more beside the live tables, and then only the differences applied to them.
//!
//! Three steps, so that whoever assembles the command can look in between. [`Rebuild::load`] folds both logs' days into
//! the schema `rebuild`, in parallel by ad account, by the code that live traffic is folded by; nobody waits for it.
//! [`Rebuilt::catch_up`] folds what live traffic has folded meanwhile. [`Rebuilt::apply`] takes the account-days that
//! differ, each under the lock that every fold of the day takes, and writes the rows that differ; those that they
//! replace are kept in `rebuild_undo`.
//!
//! **Why nothing newer is lost.** A day is applied only while every event that the live day has observed is in the
//! rebuilt one: the heads are locked first, so that nobody adds one in between. Else the day is caught up and tried
//! again. An observed event that neither log can give, or none can read any more, leaves its day as it is, and is said.
//!
//! **Why it can die anywhere.** Until a day is applied nothing public has changed; a day is applied in one transaction.
//! Repeated, it begins with empty tables, and finds fewer differences.

mod apply;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use chrono::NaiveDate;
use events::subject::AccountDay;
use futures_util::{TryStreamExt, stream};
use logs::{LogError, Range, Source};
use projections::{AdAccounts, Folds};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

pub use apply::Applied;

use crate::batch::{Class, TRIES, class};
use crate::reading::{Days, ReadError, Reader, came_true};

/// Where everything is folded.
const SCHEMA: &str = "rebuild";
/// Where replaced rows are kept.
const UNDO: &str = "rebuild_undo";

/// A rebuild, ready to go.
#[derive(Clone)]
pub struct Rebuild {
    pub pool: PgPool,
    pub from: Source,
    /// The other log, asked only for events that live traffic has folded and `from` does not hold.
    pub other: Option<Source>,
    /// Ad accounts that are folded at once.
    pub workers: usize,
    /// Rows after which a transaction is complete: memory is a few times these for each worker.
    pub rows_a_transaction: usize,
    pub max_event_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another rebuild is at work: wait for its end")]
    AnotherOne,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("PostgreSQL failed during the rebuild (what was applied is whole; repeat the command)")]
    Database(#[from] sqlx::Error),
    #[error("purchase rules are changed again and again meanwhile: repeat the command")]
    RuleChanged,
}

impl From<LogError> for RebuildError {
    fn from(error: LogError) -> Self {
        RebuildError::Read(error.into())
    }
}

/// What was folded beside the live tables.
#[derive(Debug, Default, Clone)]
pub struct Loaded {
    pub days_total: usize,
    pub days: usize,
    pub events: u64,
    pub rows: u64,
    /// Events that cannot be folded, as live traffic could not: `(day, reason)`.
    pub unfoldable: Vec<(AccountDay, String)>,
}

/// Everything folded, and not applied yet. No other rebuild begins while it is there.
pub struct Rebuilt {
    rebuild: Rebuild,
    /// Connections whose search path finds the rebuilt tables before the live ones.
    beside: PgPool,
    /// The session that holds the lock of all rebuilds.
    _lock: PgConnection,
    /// Observed events that were looked for in both logs in vain, or cannot be folded any more.
    lost: HashSet<(AccountDay, Uuid)>,
    pub loaded: Loaded,
}

impl Rebuild {
    /// Folds every day of the log into the schema `rebuild`, which begins empty. `progress` is called after each
    /// transaction.
    pub async fn load(&self, progress: impl Fn(&Loaded)) -> Result<Rebuilt, RebuildError> {
        let mut lock = PgConnection::connect_with(&self.pool.connect_options()).await?;
        if !sqlx::query_scalar!(r#"select pg_try_advisory_lock(7263541820332) as "locked!""#)
            .fetch_one(&mut lock)
            .await?
        {
            return Err(RebuildError::AnotherOne);
        }
        projections::recreate_schema(&mut lock, SCHEMA).await?;
        let along = (*self.pool.connect_options()).clone().options([("search_path", "rebuild,public")]);
        let connections = u32::try_from(self.workers).unwrap_or(u32::MAX).saturating_add(1);
        let beside = PgPoolOptions::new().max_connections(connections).connect_with(along).await?;
        let days = self.from.days(&everything()).await?;
        let loaded = Loaded { days_total: days.len(), ..Loaded::default() };
        let mut rebuilt = Rebuilt { rebuild: self.clone(), beside, _lock: lock, lost: HashSet::new(), loaded };
        rebuilt.fold(days, None, progress).await?;
        rebuilt.sum_up().await?;
        Ok(rebuilt)
    }
}

impl Rebuilt {
    /// Folds what live traffic has folded since, and by which rules, until nothing is left that can be; returns how many
    /// account-days that were.
    pub async fn catch_up(&mut self) -> Result<usize, RebuildError> {
        let mut caught_up: HashSet<AccountDay> = HashSet::new();
        for _ in 0..TRIES {
            let outdated: HashSet<AccountDay> =
                tables::by_an_older_rule(&self.rebuild.pool).await?.into_iter().collect();
            if !outdated.is_empty() {
                tables::forget(&self.rebuild.pool, &projections::Days::new(outdated.iter().copied())).await?;
                self.fold(outdated.clone(), None, |_| {}).await?;
            }
            let mut missing = tables::observed_since(&self.rebuild.pool).await?;
            missing.retain(|event| !self.lost.contains(event));
            if outdated.is_empty() && missing.is_empty() {
                break;
            }
            caught_up.extend(outdated.into_iter().chain(missing.iter().map(|(day, _)| *day)));
            let asked = missing.clone();
            self.fold_missing(missing).await?;
            let still: HashSet<(AccountDay, Uuid)> =
                tables::observed_since(&self.rebuild.pool).await?.into_iter().collect();
            self.lost.extend(asked.into_iter().filter(|event| still.contains(event)));
        }
        if !caught_up.is_empty() {
            self.sum_up().await?;
        }
        Ok(caught_up.len())
    }

    /// Folds these events, from whichever log has them.
    async fn fold_missing(&mut self, missing: Vec<(AccountDay, Uuid)>) -> Result<(), RebuildError> {
        if missing.is_empty() {
            return Ok(());
        }
        let days: HashSet<AccountDay> = missing.iter().map(|(day, _)| *day).collect();
        let ids: Arc<HashSet<Uuid>> = Arc::new(missing.into_iter().map(|(_, id)| id).collect());
        self.fold(days.clone(), Some((self.rebuild.from.clone(), ids.clone())), |_| {}).await?;
        if let Some(other) = self.rebuild.other.clone() {
            self.fold(days, Some((other, ids)), |_| {}).await?;
        }
        Ok(())
    }

    /// Folds days beside the live tables, in parallel by ad account: all their events, or some of a log's.
    async fn fold(
        &mut self,
        days: HashSet<AccountDay>,
        only: Option<(Source, Arc<HashSet<Uuid>>)>,
        progress: impl Fn(&Loaded),
    ) -> Result<(), RebuildError> {
        let mut by_ad_account: BTreeMap<Uuid, BTreeSet<AccountDay>> = BTreeMap::new();
        for day in days {
            by_ad_account.entry(day.ad_account_id).or_default().insert(day);
        }
        let (from, only) = match only {
            Some((from, ids)) => (from, Some(ids)),
            None => (self.rebuild.from.clone(), None),
        };
        let reader = Reader {
            from,
            ad_accounts: Arc::new(AdAccounts::load(&self.rebuild.pool, None).await?),
            wanted: Arc::new(move |logged| {
                only.as_ref().is_none_or(|ids| ids.contains(&logged.circumstances.event_id))
            }),
            came_true: came_true(&self.rebuild.pool, &everything()).await?,
            max_event_bytes: self.rebuild.max_event_bytes,
        };
        let loaded = std::cell::RefCell::new(&mut self.loaded);
        let (beside, rows) = (&self.beside, self.rebuild.rows_a_transaction);
        stream::iter(by_ad_account.into_values().map(Ok::<_, RebuildError>))
            .try_for_each_concurrent(self.rebuild.workers, async |days| {
                let mut batches = std::pin::pin!(reader.batches(days.into_iter().collect(), rows));
                while let Some(batch) = batches.try_next().await? {
                    let (mut batch, folded) = fold_beside(beside, &reader, batch).await?;
                    let mut loaded = loaded.borrow_mut();
                    loaded.days += batch.days.len();
                    loaded.events += folded.events;
                    loaded.rows += folded.rows;
                    loaded.unfoldable.append(&mut batch.unfoldable);
                    progress(&loaded);
                }
                Ok(())
            })
            .await
    }

    /// Makes every summary beside the live ones, a few hundred days at a time.
    async fn sum_up(&self) -> Result<(), RebuildError> {
        let keys = tables::days_beside(&self.beside).await?;
        for some in keys.chunks(1_000) {
            let mut transaction = self.beside.begin().await?;
            Folds::default().sum_up(&mut transaction, &some.iter().copied().collect()).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Account-days that differ from the live tables now.
    pub async fn differing(&self) -> Result<Vec<AccountDay>, RebuildError> {
        Ok(tables::differing(&self.rebuild.pool).await?)
    }

    /// Ends it: the schema `rebuild` stays for whoever wants to look at it.
    pub async fn close(self) {
        self.beside.close().await;
    }
}

/// Folds a batch in one transaction. It is read again where a purchase rule was changed since, or where PostgreSQL
/// refuses an event's numbers: live traffic has parked that one, and its day is made of the others.
async fn fold_beside(
    beside: &PgPool,
    reader: &Reader,
    mut batch: Days,
) -> Result<(Days, projections::Folded), RebuildError> {
    let mut reader = reader.clone();
    for _ in 0..TRIES {
        let mut transaction = projections::begin(beside).await?;
        let ids: HashSet<Uuid> = batch.days.iter().map(|day| day.ad_account_id).collect();
        let ad_accounts = AdAccounts::load(&mut *transaction, Some(&ids.into_iter().collect::<Vec<_>>())).await?;
        let mut refused = Vec::new();
        if batch.snapshots.iter().all(|snapshot| ad_accounts.is_current(snapshot)) {
            let snapshots: Vec<_> = batch.snapshots.iter().collect();
            match Folds::default().fold_days(&mut transaction, &snapshots).await {
                Ok((folded, _)) => {
                    transaction.commit().await?;
                    return Ok((batch, folded));
                }
                Err(error) => match class(&error) {
                    Class::Race => continue,
                    Class::Data => refused = refused_alone(beside, &batch).await?,
                    Class::Infrastructure => return Err(error.into()),
                },
            }
        } else {
            reader.ad_accounts = Arc::new(ad_accounts);
        }
        drop(transaction);
        if !refused.is_empty() {
            let (wanted, ids) = (reader.wanted.clone(), refused.iter().map(|(_, id, _)| *id).collect::<HashSet<_>>());
            reader.wanted = Arc::new(move |logged| wanted(logged) && !ids.contains(&logged.circumstances.event_id));
        }
        let mut again = Days::default();
        for day in &batch.days {
            again.append(reader.day(*day).await?);
        }
        again.unfoldable.extend(refused.into_iter().map(|(day, _, reason)| (day, reason)));
        batch = again;
    }
    Err(RebuildError::RuleChanged)
}

/// Which events of a batch PostgreSQL refuses, each tried by itself and taken back.
async fn refused_alone(beside: &PgPool, batch: &Days) -> Result<Vec<(AccountDay, Uuid, String)>, RebuildError> {
    let mut refused = Vec::new();
    for snapshot in &batch.snapshots {
        let mut transaction = projections::begin(beside).await?;
        match Folds::default().fold_days(&mut transaction, &[snapshot]).await {
            Ok(_) => {}
            Err(error) if matches!(class(&error), Class::Data) => {
                refused.push((snapshot.day, snapshot.version.event_id, format!("PostgreSQL refuses it: {error}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refused)
}

/// Every day that a log can have.
pub fn everything() -> Range {
    let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
    Range { account_id: None, ad_account_id: None, since: day(1, 1, 1), until: day(9999, 12, 31) }
}

/// Drops what rebuilds have left: the schema `rebuild`, and the replaced rows.
pub async fn drop_schemas(pool: &PgPool) -> sqlx::Result<()> {
    let sql = format!("drop schema if exists {SCHEMA} cascade; drop schema if exists {UNDO} cascade");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop)
}
