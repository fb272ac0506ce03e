//! The past, for the web side: folded from the raw log in a session that PostgreSQL holds to one tenant.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use connect::{PastDay, PastError};
use futures_util::future::BoxFuture;
use logs::{Range, Source};
use projector::as_of::{AsOf, AsOfError, Rule, SummaryDay};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Questions that are answered at once: each folds, which is work.
const AT_ONCE: usize = 2;
/// Connections that read the log for one question.
const READERS: u32 = 2;
/// How long a question waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// How long one statement of it may take.
const STATEMENT_WITHIN: &str = "60s";

/// Folds the past for whoever asks.
pub struct Past {
    owner: PgConnectOptions,
    turns: Semaphore,
    /// Tenants whose question is worked on: none waits for another tenant's second one.
    asking: Mutex<HashSet<Uuid>>,
}

/// A tenant's turn, which ends with it.
struct Turn<'p> {
    asking: &'p Mutex<HashSet<Uuid>>,
    account_id: Uuid,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(self.asking).remove(&self.account_id);
    }
}

fn lock(asking: &Mutex<HashSet<Uuid>>) -> MutexGuard<'_, HashSet<Uuid>> {
    asking.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    pub fn new(owner: PgConnectOptions) -> Past {
        Past { owner, turns: Semaphore::new(AT_ONCE), asking: Mutex::default() }
    }

    async fn fold(&self, account_id: Uuid, range: Range, at: DateTime<Utc>) -> Result<Vec<PastDay>, PastError> {
        if !lock(&self.asking).insert(account_id) {
            return Err(PastError::Busy);
        }
        let _turn = Turn { asking: &self.asking, account_id };
        let _permit = tokio::time::timeout(TURN_WITHIN, self.turns.acquire())
            .await
            .map_err(|_| PastError::Busy)?
            .map_err(|closed| PastError::Failed(closed.to_string()))?;
        let session = connect::access::session_of_tenant(self.owner.clone(), account_id)
            .options([("statement_timeout", STATEMENT_WITHIN)]);
        let reading = PgPoolOptions::new().max_connections(READERS).connect_lazy_with(session.clone());
        let (logs, max_event_bytes) = (Source::Raw(reading.clone()).into(), projector::MAX_EVENT_BYTES);
        let (at, rule) = (Some(at), Rule::Today);
        let folded = AsOf { at, rule, range, logs, session, max_event_bytes }.fold(|_, _| {}).await;
        reading.close().await;
        let failed = |error: anyhow::Error| PastError::Failed(format!("{error:#}"));
        let mut past = folded.map_err(|error| match error {
            AsOfError::Incomplete(_) => PastError::Incomplete(error.to_string()),
            error => failed(error.into()),
        })?;
        Ok(past.summary().await.map_err(|error| failed(error.into()))?.into_iter().map(day).collect())
    }
}

impl connect::Past for Past {
    fn summary(
        &self,
        account_id: Uuid,
        since: NaiveDate,
        until: NaiveDate,
        at: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Vec<PastDay>, PastError>> {
        let range = Range { account_id: Some(account_id), ad_account_id: None, since, until };
        Box::pin(self.fold(account_id, range, at))
    }
}

fn day(day: SummaryDay) -> PastDay {
    PastDay {
        date: day.date,
        meta_spend: day.meta_spend,
        meta_impressions: day.meta_impressions,
        meta_clicks: day.meta_clicks,
        meta_purchases: day.meta_purchases,
        meta_purchase_value: day.meta_purchase_value,
        meta_roas: day.meta_roas,
        updated_at: day.updated_at,
    }
}
