//! A database and a stream with a random history in both logs, and its live tables folded.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use jetstream::BatchLimits;
use logs::{Logged, Logs, Source};
use projections::{AdAccounts, Folds};
use projector::fold_events;
use projector::rebuild::Rebuild;
use projector::replay::Replay;
use testkit::history::{Answer, History, Random};
use testkit::oracle::{self, Rule, Tables};
use testkit::{Database, Nats};
use tokio_util::sync::CancellationToken;

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const MAX_EVENT_BYTES: u64 = 1 << 24;

pub struct Stage {
    pub database: Database,
    pub nats: Nats,
    pub history: History,
}

impl Stage {
    /// Everything in both logs; of the answers, those of even places are folded.
    pub async fn half_folded(seed: u64) -> Result<Stage> {
        let (database, nats) = (testkit::database().await?, testkit::nats().await?);
        let history = History::random(&mut Random::new(seed));
        history.insert_tenants(&database.pool).await?;
        let stage = Stage { database, nats, history };
        let (pool, wire) = (&stage.database.pool, &stage.nats.wire);
        let append = async |cancel: &CancellationToken| raw::run(pool, wire, BatchLimits::default(), cancel).await;
        testkit::record(pool, wire, &stage.history.answers, append).await?;
        stage.fold(stage.history.answers.iter().step_by(2)).await?;
        Ok(stage)
    }

    /// The same with every answer folded.
    pub async fn folded(seed: u64) -> Result<Stage> {
        let stage = Stage::half_folded(seed).await?;
        stage.fold_rest().await?;
        Ok(stage)
    }

    /// Folds the answers of odd places.
    pub async fn fold_rest(&self) -> Result<()> {
        self.fold(self.history.answers.iter().skip(1).step_by(2)).await
    }

    async fn fold(&self, answers: impl Iterator<Item = &Answer>) -> Result<()> {
        let pool = &self.database.pool;
        let ad_accounts = AdAccounts::load(pool, None).await?;
        for answer in answers {
            let event = answer.event()?;
            let logged = Logged {
                day: event.day,
                circumstances: event.circumstances,
                stored_at: answer.fetched_at,
                payload: event.payload.into(),
            };
            let snapshot = projector::decode(&logged, &ad_accounts, MAX_EVENT_BYTES)?;
            let (_, refused) = fold_events(pool, &Folds::default(), vec![snapshot]).await?;
            ensure!(refused.is_empty(), "{refused:?}");
        }
        Ok(())
    }

    pub async fn stream(&self) -> Result<Source> {
        Ok(Source::stream(&self.nats.wire).await?)
    }

    pub fn raw(&self) -> Source {
        Source::Raw(self.database.pool.clone())
    }

    pub async fn rebuild(&self) -> Result<Rebuild> {
        Ok(Rebuild {
            pool: self.database.pool.clone(),
            logs: Logs { first: self.stream().await?, other: Some(self.raw()) },
            workers: 3,
            rows_a_transaction: 5,
            max_event_bytes: MAX_EVENT_BYTES,
        })
    }

    /// A replay of a few rows a transaction, which may ask the other log.
    pub async fn replay(&self, first: Source) -> Result<Replay> {
        let other = match first {
            Source::Stream(_) => self.raw(),
            Source::Raw(_) => self.stream().await?,
        };
        let (pool, logs) = (self.database.pool.clone(), Logs { first, other: Some(other) });
        Ok(Replay { rows_a_transaction: 5, max_event_bytes: MAX_EVENT_BYTES, ..Replay::new(pool, logs) })
    }

    pub async fn sql(&self, statements: &'static str) -> Result<()> {
        sqlx::raw_sql(statements).execute(&self.database.pool).await?;
        Ok(())
    }

    pub async fn count(&self, query: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(query).fetch_one(&self.database.pool).await?)
    }

    pub async fn now(&self) -> Result<DateTime<Utc>> {
        Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.database.pool).await?)
    }

    /// What the tables must say, and that they say it.
    pub async fn check(&self, wanted: &Tables) -> Result<()> {
        let difference = wanted.difference(&oracle::read(&self.database.pool).await?);
        ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
        Ok(())
    }

    /// The tables that the whole history makes.
    pub fn wanted(&self) -> Tables {
        oracle::tables(&self.history.answers)
    }

    /// A rule for the first ad account.
    pub async fn set_rule(&self, version: i32) -> Result<Rule> {
        let (account_id, ad_accounts) = &self.history.tenants[0];
        let rule = Rule::new(version, &["lead"], "unified");
        rule.set(&self.database.pool, *account_id, ad_accounts[0]).await?;
        Ok(rule)
    }
}
