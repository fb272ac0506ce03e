//! The tables as they were known at an instant: the events that had been fetched by then, folded by the very code that
//! live traffic is, into tables that only one session sees and that end with it.
//!
//! So the past of this moment is what the tables say, rows of absent ads included, and nothing is written that another
//! could see.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use events::subject::AccountDay;
use futures_util::TryStreamExt;
use logs::{Range, Source};
use projections::{AdAccounts, Folds, shadow_for_session};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use crate::reading::{Days, ReadError, Reader, came_true};

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
    /// Events fetched until this instant, itself included, are known.
    pub at: DateTime<Utc>,
    pub rule: Rule,
    pub range: Range,
    pub from: Source,
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
}

/// The past, folded. Its tables end with it.
pub struct Past {
    session: PgConnection,
    pub events: u64,
    pub account_days: usize,
    /// Events that cannot be folded, as live traffic could not: `(day, reason)`.
    pub unfoldable: Vec<(AccountDay, String)>,
}

/// A tenant's day as it was known: the columns of `daily_summary` that the fold owns. Decimals are PostgreSQL's own texts.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let mut days: Vec<AccountDay> =
            self.from.days(&self.range).await.map_err(ReadError::from)?.into_iter().collect();
        days.sort_unstable();
        let mut session = self.session.clone().connect().await?;
        let came_true = came_true(&mut session, &self.range).await?;
        shadow_for_session(&mut session).await?;
        let ruled_until = (self.rule == Rule::Then).then_some(self.at);
        let ad_accounts = Arc::new(AdAccounts::load_ruled_until(&mut session, None, ruled_until).await?);
        let at = self.at;
        let reader = Reader {
            from: self.from.clone(),
            ad_accounts,
            wanted: Arc::new(move |logged| logged.circumstances.fetched_at <= at),
            came_true,
            max_event_bytes: self.max_event_bytes,
        };
        let all = days.len();
        let mut past = Past { session, events: 0, account_days: 0, unfoldable: Vec::new() };
        let mut done = 0;
        let mut batches = std::pin::pin!(reader.batches(days, ROWS_A_TRANSACTION));
        while let Some(batch) = batches.try_next().await? {
            done += batch.days.len();
            past.take(batch).await?;
            progress(done, all);
        }
        Ok(past)
    }
}

impl Past {
    async fn take(&mut self, mut batch: Days) -> sqlx::Result<()> {
        let mut transaction = self.session.begin().await?;
        // A plan that was made while a table was empty reads all of it when it has grown.
        sqlx::raw_sql("set local plan_cache_mode = force_custom_plan").execute(&mut *transaction).await?;
        let snapshots: Vec<_> = batch.snapshots.iter().collect();
        let folded = Folds::default().fold(&mut transaction, &snapshots).await?;
        transaction.commit().await?;
        let mut with_events: Vec<AccountDay> = snapshots.iter().map(|snapshot| snapshot.day).collect();
        with_events.sort_unstable();
        with_events.dedup();
        self.account_days += with_events.len();
        self.events += folded.events;
        self.unfoldable.append(&mut batch.unfoldable);
        Ok(())
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
