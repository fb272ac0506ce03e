//! The tables as they were known at an instant: the events that had been fetched by then, folded by the very code that
//! live traffic is, into tables that only one session sees and that end with it.
//!
//! So the past of this moment is what the tables say, rows of absent ads included, and nothing is written that another
//! could see.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use events::subject::AccountDay;
use futures_util::TryStreamExt;
use logs::{Range, Source};
use projections::{AdAccounts, Folds, shadow_for_session};
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use crate::batch::{Class, class};
use crate::reading::{Days, LOOKED_FOR, PATIENCE, ReadError, Reader, Wanted, came_true};
use crate::rebuild::refused_of;
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
    pub from: Source,
    /// The other log: asked for events that `from` does not hold.
    pub other: Option<Source>,
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
    /// Events that cannot be folded, as live traffic could not: `(day, reason)`.
    pub unfoldable: Vec<(AccountDay, String)>,
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
            from: self.from.clone(),
            ad_accounts,
            wanted: Arc::new(move |logged| at.is_none_or(|at| logged.circumstances.fetched_at <= at)),
            came_true,
            max_event_bytes: self.max_event_bytes,
        };
        let mut past = Past { session, events: 0, unfoldable: Vec::new() };
        let days = self.from.days(&self.range).await.map_err(ReadError::from)?;
        past.take_all(&reader, days, &progress).await?;
        if let Some(raw @ Source::Raw(_)) = &self.other {
            let only_there = past.not_folded(self, "meta_insights_raw").await?;
            past.take_events(&Reader { from: raw.clone(), ..reader.clone() }, only_there).await?;
        }
        let mut looked = 0;
        loop {
            let missing = past.not_folded(self, "observations").await?;
            if missing.is_empty() {
                return Ok(past);
            }
            if looked == LOOKED_FOR {
                return Err(AsOfError::Incomplete(missing.len()));
            }
            looked += 1;
            past.take_events(&reader, missing).await?;
            tokio::time::sleep(PATIENCE).await;
        }
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

    async fn take(&mut self, mut reader: Reader, mut batch: Days) -> Result<(), AsOfError> {
        loop {
            let mut transaction = self.session.begin().await?;
            // A plan that was made while a table was empty reads all of it when it has grown.
            sqlx::raw_sql("set local plan_cache_mode = force_custom_plan").execute(&mut *transaction).await?;
            let snapshots: Vec<_> = batch.snapshots.iter().collect();
            let error = match Folds::default().fold(&mut transaction, &snapshots).await {
                Ok(folded) => {
                    transaction.commit().await?;
                    self.events += folded.events;
                    for unfoldable in batch.unfoldable {
                        // Asked for again from the other log, an event is refused again.
                        if !self.unfoldable.contains(&unfoldable) {
                            self.unfoldable.push(unfoldable);
                        }
                    }
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
            batch = reader.again(&batch.days, refused).await?;
        }
    }

    /// Events of the range that were known at the time, that a table outside knows, and that are not folded here.
    async fn not_folded(&mut self, as_of: &AsOf, table: &'static str) -> sqlx::Result<Vec<(AccountDay, Uuid)>> {
        let sql = format!(
            "select account_id, ad_account_id, date, event_id from public.{table} o
             where ($1::uuid is null or account_id = $1) and ($2::uuid is null or ad_account_id = $2)
               and date between $3 and $4 and ($5::timestamptz is null or fetched_at <= $5)
               and not exists (select from pg_temp.observations p
                               where (p.account_id, p.ad_account_id, p.date, p.event_id)
                                   = (o.account_id, o.ad_account_id, o.date, o.event_id))"
        );
        let Range { account_id, ad_account_id, since, until } = as_of.range;
        let rows: Vec<(Uuid, Uuid, NaiveDate, Uuid)> = sqlx::query_as(AssertSqlSafe(sql))
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
