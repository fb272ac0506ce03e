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
mod beside;
mod tables;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use events::subject::AccountDay;
use futures_util::{TryStreamExt, stream};
use logs::{LogError, Logs, Range};
use projections::{AdAccounts, SummaryKey};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

pub use apply::Applied;
use beside::Beside;

use crate::failure::{AllNotFolded, TRIES};
use crate::reading::{LOOK_EVERY, LOOKED_FOR, ReadError, Reader, came_true};
use crate::session;

/// Where everything is folded.
const SCHEMA: &str = "rebuild";
/// Where replaced rows are kept.
const UNDO: &str = "rebuild_undo";

/// The tables that a rebuild makes in them.
fn own_tables() -> impl Iterator<Item = &'static str> {
    projections::TABLES.into_iter().chain(["run"])
}

/// A rebuild, ready to go.
#[derive(Clone)]
pub struct Rebuild {
    pub pool: PgPool,
    pub logs: Logs,
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
    #[error(
        "the schema {SCHEMA} is no longer this rebuild's: it was dropped, taken by another one, or emptied by a crash of \
         PostgreSQL (what was applied is whole; repeat the command)"
    )]
    Gone,
    #[error("the schema {0} belongs to another role than the one that rebuilds: it is not touched")]
    Foreign(String),
    #[error("{0} is not a table of a rebuild's: take it to another schema, or drop it")]
    NotOurs(String),
    #[error("other things hang on what a rebuild has left ({0}): drop them first")]
    DependedOn(String),
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
    pub not_folded: AllNotFolded,
}

/// Everything folded, and not applied yet. No other rebuild begins while it is there.
pub struct Rebuilt {
    rebuild: Rebuild,
    beside: Beside,
    /// The session that holds the lock of all rebuilds.
    lock: PgConnection,
    /// Observed events that were looked for in both logs in vain, or cannot be folded any more.
    lost: HashSet<(AccountDay, Uuid)>,
    pub loaded: Loaded,
}

/// Takes the lock of all rebuilds, which lasts as long as the session.
async fn lock(pool: &PgPool) -> Result<PgConnection, RebuildError> {
    let options = session::held((*pool.connect_options()).clone());
    let mut session = PgConnection::connect_with(&options).await?;
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_lock(7263541820332) as "locked!""#);
    if !locked.fetch_one(&mut session).await? {
        return Err(RebuildError::AnotherOne);
    }
    let foreign: Option<String> = sqlx::query_scalar!(
        r#"select nspname::text as "name!" from pg_namespace
           where nspname in ('rebuild', 'rebuild_undo') and nspowner <> current_user::regrole"#
    )
    .fetch_optional(&mut session)
    .await?;
    if let Some(name) = foreign {
        return Err(RebuildError::Foreign(name));
    }
    // What somebody put there is not dropped with it.
    let ours: Vec<&str> = own_tables().collect();
    let others: Option<String> = sqlx::query_scalar!(
        r#"select format('%I.%I', n.nspname, c.relname) as "name!"
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname in ('rebuild', 'rebuild_undo') and c.relkind in ('r', 'p', 'v', 'm', 'f')
             and c.relname <> all ($1) limit 1"#,
        &ours as &[&str],
    )
    .fetch_optional(&mut session)
    .await?;
    others.map_or(Ok(session), |name| Err(RebuildError::NotOurs(name)))
}

/// Nothing is dropped that hangs on what is dropped.
fn depended_on(error: sqlx::Error) -> RebuildError {
    let found = error.as_database_error().filter(|e| e.code().as_deref() == Some("2BP01"));
    let detail = found.and_then(|e| e.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?.detail());
    detail.map(|detail| RebuildError::DependedOn(detail.to_owned())).unwrap_or(RebuildError::Database(error))
}

/// Gives it back at once: the end of a session is seen a moment later.
async fn unlock(mut session: PgConnection) -> sqlx::Result<()> {
    sqlx::query_scalar!("select pg_advisory_unlock(7263541820332)").fetch_one(&mut session).await?;
    session.close().await
}

impl Rebuild {
    /// Folds every day of both logs into the schema `rebuild`, which begins empty. `progress` is called after each
    /// transaction.
    pub async fn load(&self, progress: impl Fn(&Loaded)) -> Result<Rebuilt, RebuildError> {
        let mut lock = lock(&self.pool).await?;
        let beside = Beside::new(&mut lock, &self.pool.connect_options(), self.workers).await.map_err(depended_on)?;
        let days = self.logs.days(&Range::everything()).await?;
        let loaded = Loaded { days_total: days.len(), ..Loaded::default() };
        let mut rebuilt = Rebuilt { rebuild: self.clone(), beside, lock, lost: HashSet::new(), loaded };
        let came_true = came_true(&self.pool, &Range::everything()).await?;
        rebuilt.fold(days, None, came_true, &progress).await?;
        tables::analyze(&rebuilt.beside).await?;
        let keys = tables::keys_beside(&rebuilt.beside).await?;
        rebuilt.beside.sum_up(&keys).await?;
        Ok(rebuilt)
    }
}

impl Rebuilt {
    /// Folds what live traffic has folded since, and by which rules, until nothing is left that can be; returns how many
    /// account-days that were.
    pub async fn catch_up(&mut self) -> Result<usize, RebuildError> {
        let mut caught_up: HashSet<AccountDay> = HashSet::new();
        let mut looked: HashMap<(AccountDay, Uuid), u32> = HashMap::new();
        for _ in 0..TRIES {
            let outdated: HashSet<AccountDay> = tables::by_an_older_rule(&self.beside).await?.into_iter().collect();
            if !outdated.is_empty() {
                tables::forget(&self.beside, &projections::Days::new(outdated.iter().copied())).await?;
                let came_true = came_true(&self.rebuild.pool, &Range::everything()).await?;
                self.fold(outdated.clone(), None, came_true, &|_| {}).await?;
            }
            let mut missing = tables::observed_since(&self.beside).await?;
            missing.retain(|event| !self.lost.contains(event));
            if outdated.is_empty() && missing.is_empty() {
                break;
            }
            self.fold_observed(&missing).await?;
            let still: HashSet<_> = tables::observed_since(&self.beside).await?.into_iter().collect();
            let folded = missing.iter().filter(|event| !still.contains(*event)).map(|(day, _)| *day);
            caught_up.extend(outdated.into_iter().chain(folded));
            missing.retain(|event| still.contains(event));
            for &event in &missing {
                let times = looked.entry(event).or_default();
                *times += 1;
                if *times == LOOKED_FOR {
                    self.lost.insert(event);
                }
            }
            if !missing.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let keys: BTreeSet<SummaryKey> = caught_up.iter().map(|day| (day.account_id, day.date)).collect();
        self.beside.sum_up(&keys).await?;
        Ok(caught_up.len())
    }

    /// Folds events that live traffic has folded.
    async fn fold_observed(&mut self, events: &[(AccountDay, Uuid)]) -> Result<(), RebuildError> {
        if events.is_empty() {
            return Ok(());
        }
        let days: HashSet<AccountDay> = events.iter().map(|(day, _)| *day).collect();
        let ids: Arc<HashSet<Uuid>> = Arc::new(events.iter().map(|(_, id)| *id).collect());
        self.fold(days, Some(ids.clone()), ids, &|_| {}).await
    }

    /// Folds days of the logs beside the live tables, in parallel by ad account: all their events, or only some. Those of
    /// `came_true` were events of the future once.
    async fn fold(
        &mut self,
        days: HashSet<AccountDay>,
        only: Option<Arc<HashSet<Uuid>>>,
        came_true: Arc<HashSet<Uuid>>,
        progress: &impl Fn(&Loaded),
    ) -> Result<(), RebuildError> {
        let mut by_ad_account: BTreeMap<Uuid, BTreeSet<AccountDay>> = BTreeMap::new();
        for day in days {
            by_ad_account.entry(day.ad_account_id).or_default().insert(day);
        }
        let reader = Reader {
            logs: self.rebuild.logs.clone(),
            end: None,
            ad_accounts: Arc::new(AdAccounts::load(&self.rebuild.pool, None).await?),
            wanted: Arc::new(move |logged| {
                only.as_ref().is_none_or(|ids| ids.contains(&logged.circumstances.event_id))
            }),
            refused: HashMap::new(),
            came_true,
            max_event_bytes: self.rebuild.max_event_bytes,
        };
        let loaded = RefCell::new(&mut self.loaded);
        let (beside, rows) = (&self.beside, self.rebuild.rows_a_transaction);
        stream::iter(by_ad_account.into_values().map(Ok::<_, RebuildError>))
            .try_for_each_concurrent(self.rebuild.workers, async |days| {
                let mut batches = std::pin::pin!(reader.batches(days.into_iter().collect(), rows));
                while let Some(batch) = batches.try_next().await? {
                    let (batch, folded) = beside.fold(&reader, batch).await?;
                    let mut loaded = loaded.borrow_mut();
                    loaded.days += batch.days.len();
                    loaded.events += folded.events;
                    loaded.rows += folded.rows;
                    loaded.not_folded.extend(batch.not_folded);
                    progress(&loaded);
                }
                Ok(())
            })
            .await
    }

    /// Account-days, and tenants' days of which only the summary does, that differ from the live tables now.
    pub async fn differing(&self) -> Result<(Vec<AccountDay>, Vec<SummaryKey>), RebuildError> {
        let days = tables::differing(&self.beside).await?;
        let of_days: HashSet<SummaryKey> = days.iter().map(|day| (day.account_id, day.date)).collect();
        let mut summaries = tables::differing_summaries(&self.beside).await?;
        summaries.retain(|key| !of_days.contains(key));
        Ok((days, summaries))
    }

    /// Days that stay as they are, because an event of theirs can be read in neither log.
    pub fn left(&self) -> BTreeMap<AccountDay, Uuid> {
        self.lost.iter().copied().collect()
    }

    /// Ends it: the schema `rebuild` stays for whoever wants to look at it.
    pub async fn close(self) {
        self.beside.pool().close().await;
        // The server frees the lock when it sees the session's end, whether or not it hears this.
        let _ = unlock(self.lock).await;
    }
}

/// Drops what rebuilds have left: the schema `rebuild`, and the replaced rows. Whether there was anything.
pub async fn drop_schemas(pool: &PgPool) -> Result<bool, RebuildError> {
    let mut lock = lock(pool).await?;
    let left = sqlx::query_scalar!(
        r#"select exists (select from pg_namespace where nspname in ('rebuild', 'rebuild_undo')) as "left!""#
    );
    let left = left.fetch_one(&mut lock).await?;
    let tables = |schema| {
        let names: Vec<String> = own_tables().map(|table| format!("{schema}.{table}")).collect();
        format!("drop table if exists {}; drop schema if exists {schema};", names.join(", "))
    };
    let sql = [SCHEMA, UNDO].map(tables).concat();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut lock).await.map_err(depended_on)?;
    unlock(lock).await?;
    Ok(left)
}
