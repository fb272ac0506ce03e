//! A history in the raw log and in the tables, folded as live traffic does.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use chrono::NaiveDate;
use logs::{Range, Source};
use projections::{AdAccounts, Folds, Snapshot, Table};
use projector::fold_events;
use projector::replay::{Replay, Report};
use sqlx::{AssertSqlSafe, PgPool};
use testkit::Database;
use testkit::history::{Answer, DAYS, History, Random, first_day};
use tokio_util::sync::CancellationToken;

pub const MAX_EVENT_BYTES: u64 = 1 << 24;

pub struct House {
    pub database: Database,
    pub history: History,
}

/// The rows of the tables, each as text.
pub type Rows = BTreeMap<&'static str, Vec<String>>;

impl House {
    /// The answers come in another order than Meta gave them.
    pub async fn open(seed: u64) -> Result<House> {
        let database = testkit::database().await?;
        let mut random = Random::new(seed);
        let history = History::random(&mut random);
        history.insert_tenants(&database.pool).await?;
        record(&database.pool, &history.answers).await?;
        let mut shuffled = history.answers.clone();
        random.shuffle(&mut shuffled);
        for answer in &shuffled {
            fold(&database.pool, answer).await?;
        }
        Ok(House { database, history })
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub fn replay(&self) -> Replay {
        replay(self.pool())
    }

    pub async fn rows(&self) -> Result<Rows> {
        self.rows_as("t::text").await
    }

    /// Where each row is, and which transaction wrote it.
    pub async fn places(&self) -> Result<Rows> {
        self.rows_as("format('%s %s %s', ctid, xmin, t)").await
    }

    async fn rows_as(&self, expression: &str) -> Result<Rows> {
        let mut rows = Rows::new();
        for table in Table::ALL.map(Table::name) {
            let read = format!("select {expression} from {table} t order by 1");
            rows.insert(table, sqlx::query_scalar(AssertSqlSafe(read)).fetch_all(self.pool()).await?);
        }
        Ok(rows)
    }

    pub async fn sql(&self, statement: &str) -> Result<u64> {
        Ok(sqlx::query(AssertSqlSafe(statement)).execute(self.pool()).await?.rows_affected())
    }
}

pub fn replay(pool: &PgPool) -> Replay {
    let from = Source::Raw(pool.clone());
    Replay { rows_a_transaction: 5, max_event_bytes: MAX_EVENT_BYTES, ..Replay::new(pool.clone(), from) }
}

/// Every day of the history.
pub fn everything() -> Range {
    between(first_day(), last_day())
}

pub fn last_day() -> NaiveDate {
    first_day() + chrono::Duration::days(DAYS as i64 - 1)
}

pub fn between(since: NaiveDate, until: NaiveDate) -> Range {
    Range { account_id: None, ad_account_id: None, since, until }
}

pub fn of(report: &Report, table: Table) -> u64 {
    report.changes().iter().find(|(of, _)| *of == table).map_or(0, |(_, rows)| *rows)
}

/// Appends answers to the raw log, by the consumer that does it always.
pub async fn record(pool: &PgPool, answers: &[Answer]) -> Result<()> {
    let nats = testkit::nats().await?;
    let append =
        async |cancel: &CancellationToken| raw::run(pool, &nats.wire, jetstream::BatchLimits::default(), cancel).await;
    testkit::record(pool, &nats.wire, answers, append).await
}

/// Folds an answer as live traffic does.
pub async fn fold(pool: &PgPool, answer: &Answer) -> Result<()> {
    let event = answer.event()?;
    let (rule, stored_at) = (AdAccounts::load(pool, None).await?.rule(&event.day).clone(), answer.fetched_at);
    let snapshot = Snapshot::decode(
        &event.circumstances,
        event.day,
        stored_at,
        &event.payload,
        &Arc::clone(&rule),
        MAX_EVENT_BYTES,
    )?;
    let (_, refused) = fold_events(pool, &Folds::default(), vec![snapshot]).await?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}
