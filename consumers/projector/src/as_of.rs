//! The tables as they were known at an instant: the events that had been fetched by then, folded by the very code that
//! live traffic is, into tables that only one session sees and that end with it.
//!
//! So the past of this moment is what the tables say, rows of absent ads included, and nothing is written that another
//! could see.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use events::subject::AccountDay;
use futures_util::TryStreamExt;
use logs::{Logs, Range};
use projections::{AdAccounts, Folds, shadow_for_session};
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use crate::failure::{AllNotFolded, Class, class, refused_of};
use crate::reading::{DayBatch, LOOK_EVERY, LOOKED_FOR, ReadError, Reader, Wanted, came_true};
use crate::session;

/// Rows after which a transaction is complete: memory is a few times these.
const ROWS_A_TRANSACTION: usize = 10_000;

/// By which purchase rule the past is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The newest there is.
    Today,
    /// The newest that there was.
    Then,
}

/// What to know of the past.
pub struct AsOf {
    /// Events fetched until this instant, itself included, are known; all there are, where none is given.
    pub at: Option<DateTime<Utc>>,
    pub rule: Rule,
    pub range: Range,
    pub logs: Logs,
    /// How the session begins that folds; whoever it connects as, it sees no more than that.
    pub session: PgConnectOptions,
    pub max_event_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("PostgreSQL failed while the past was folded")]
    Database(#[from] sqlx::Error),
    #[error(
        "{0} events that were folded once are not in the log, or can no longer be folded: `adledger audit` and `adledger log \
         check` say which"
    )]
    Incomplete(usize),
}

/// The past, folded. Its tables end with it.
pub struct Past {
    session: PgConnection,
    pub events: u64,
    pub not_folded: AllNotFolded,
}

/// A tenant's day as it was known: the columns of `daily_summary` that the fold owns. Decimals are PostgreSQL's own texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SummaryDay {
    pub account_id: Uuid,
    pub date: NaiveDate,
    pub meta_spend: Option<String>,
    pub meta_impressions: Option<i64>,
    pub meta_clicks: Option<i64>,
    pub meta_purchases: Option<String>,
    pub meta_purchase_value: Option<String>,
    pub meta_roas: Option<String>,
    /// The newest answer that it is made of.
    pub updated_at: Option<DateTime<Utc>>,
}

impl AsOf {
    /// Folds the past. `progress` is called after each transaction with the days done and all.
    pub async fn fold(&self, progress: impl Fn(usize, usize)) -> Result<Past, AsOfError> {
        let mut session = session::held(self.session.clone()).connect().await?;
        session::send_at_once(self.session.get_port());
        let came_true = came_true(&mut session, &self.range).await?;
        shadow_for_session(&mut session).await?;
        let ruled_until = self.at.filter(|_| self.rule == Rule::Then);
        let ad_accounts = Arc::new(AdAccounts::load_ruled_until(&mut session, None, ruled_until).await?);
        let at = self.at;
        let reader = Reader {
            logs: self.logs.clone(),
            end: None,
            ad_accounts,
            wanted: Arc::new(move |logged| at.is_none_or(|at| logged.circumstances.fetched_at <= at)),
            refused: HashMap::new(),
            came_true,
            max_event_bytes: self.max_event_bytes,
        };
        let mut past = Past { session, events: 0, not_folded: AllNotFolded::default() };
        let days = self.logs.days(&self.range).await.map_err(ReadError::from)?;
        past.take_all(&reader, days, &progress).await?;
        // What comes from now on is known later than this past.
        let mut missing = past.observed_since(self).await?;
        for looked in 0.. {
            if missing.is_empty() {
                break;
            }
            if looked == LOOKED_FOR {
                return Err(AsOfError::Incomplete(missing.len()));
            }
            if looked > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            past.take_events(&reader, missing.clone()).await?;
            let still: HashSet<_> = past.observed_since(self).await?.into_iter().collect();
            missing.retain(|event| still.contains(event));
        }
        Ok(past)
    }
}

impl Past {
    async fn take_all(
        &mut self,
        reader: &Reader,
        days: HashSet<AccountDay>,
        progress: &impl Fn(usize, usize),
    ) -> Result<(), AsOfError> {
        let mut days: Vec<AccountDay> = days.into_iter().collect();
        days.sort_unstable();
        let all = days.len();
        let mut done = 0;
        let mut batches = std::pin::pin!(reader.batches(days, ROWS_A_TRANSACTION));
        while let Some(batch) = batches.try_next().await? {
            done += batch.days.len();
            self.take(reader.clone(), batch).await?;
            progress(done, all);
        }
        Ok(())
    }

    /// Folds these events alone.
    async fn take_events(&mut self, reader: &Reader, events: Vec<(AccountDay, Uuid)>) -> Result<(), AsOfError> {
        let days = events.iter().map(|(day, _)| *day).collect();
        let ids: HashSet<Uuid> = events.into_iter().map(|(_, id)| id).collect();
        let wanted = reader.wanted.clone();
        let wanted: Arc<Wanted> =
            Arc::new(move |logged| ids.contains(&logged.circumstances.event_id) && wanted(logged));
        self.take_all(&Reader { wanted, ..reader.clone() }, days, &|_, _| {}).await
    }

    async fn take(&mut self, mut reader: Reader, mut batch: DayBatch) -> Result<(), AsOfError> {
        loop {
            let mut transaction = self.session.begin().await?;
            // A plan that was made while a table was empty reads all of it when it has grown.
            sqlx::raw_sql("set local plan_cache_mode = force_custom_plan").execute(&mut *transaction).await?;
            let snapshots: Vec<_> = batch.snapshots.iter().collect();
            let error = match Folds::default().fold(&mut transaction, &snapshots).await {
                Ok(folded) => {
                    transaction.commit().await?;
                    self.events += folded.events;
                    self.not_folded.extend(batch.not_folded);
                    return Ok(());
                }
                Err(error) => error,
            };
            transaction.rollback().await?;
            // What PostgreSQL refuses, live traffic has parked: the days are made of the others.
            let mut trial = self.session.begin().await?;
            let refused = match class(&error) {
                Class::Data => refused_of(&mut trial, &batch.snapshots).await?,
                Class::Race | Class::Infrastructure => Vec::new(),
            };
            trial.rollback().await?;
            if refused.is_empty() {
                return Err(error.into());
            }
            batch = reader.again(&batch.days, refused).await.map_err(ReadError::from)?;
        }
    }

    /// Events of the range that were known at the time, that live traffic has folded, and that are not folded here.
    async fn observed_since(&mut self, as_of: &AsOf) -> sqlx::Result<Vec<(AccountDay, Uuid)>> {
        let sql = "select account_id, ad_account_id, date, event_id from public.observations o
             where ($1::uuid is null or account_id = $1) and ($2::uuid is null or ad_account_id = $2)
               and date between $3 and $4 and ($5::timestamptz is null or fetched_at <= $5)
               and not exists (select from pg_temp.observations p
                               where (p.account_id, p.ad_account_id, p.date, p.event_id)
                                   = (o.account_id, o.ad_account_id, o.date, o.event_id))";
        let Range { account_id, ad_account_id, since, until } = as_of.range;
        let rows: Vec<(Uuid, Uuid, NaiveDate, Uuid)> = sqlx::query_as(sql)
            .bind(account_id)
            .bind(ad_account_id)
            .bind(since)
            .bind(until)
            .bind(as_of.at)
            .fetch_all(&mut self.session)
            .await?;
        let event = |(account_id, ad_account_id, date, id)| (AccountDay { account_id, ad_account_id, date }, id);
        Ok(rows.into_iter().map(event).collect())
    }

    /// The tenants' days, in the order of their keys.
    pub async fn summary(&mut self) -> sqlx::Result<Vec<SummaryDay>> {
        sqlx::query_as!(
            SummaryDay,
            "select account_id, date, meta_spend::text, meta_impressions, meta_clicks, meta_purchases::text,
                    meta_purchase_value::text, meta_roas::text, updated_at
             from daily_summary order by account_id, date",
        )
        .fetch_all(&mut self.session)
        .await
    }

    /// The session, whose tables are those of the past.
    pub fn session(&mut self) -> &mut PgConnection {
        &mut self.session
    }
}
