//! The past, for the web side: folded from the raw log in a session that PostgreSQL holds to one tenant.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use connect::{PastDay, PastError};
use futures_util::future::BoxFuture;
use logs::{Range, Source};
use projector::{AsOf, Rule, SummaryDay};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Questions that are answered at once: each folds, which is work.
const AT_ONCE: usize = 2;
/// Connections that read the log for one question.
const READERS: u32 = 2;
/// How long a question waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// Folds the past for whoever asks.
pub struct Past {
    pub owner: PgConnectOptions,
    turns: Semaphore,
}

impl Past {
    pub fn new(owner: PgConnectOptions) -> Past {
        Past { owner, turns: Semaphore::new(AT_ONCE) }
    }

    async fn fold(&self, range: Range, at: DateTime<Utc>) -> Result<Vec<PastDay>, PastError> {
        let _turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire())
            .await
            .map_err(|_| PastError::Busy)?
            .map_err(|closed| PastError::Failed(closed.to_string()))?;
        let session = held(&self.owner, range.account_id.unwrap_or_default());
        let reading = PgPoolOptions::new().max_connections(READERS).connect_lazy_with(session.clone());
        let (from, max_event_bytes) = (Source::Raw(reading.clone()), projector::MAX_EVENT_BYTES);
        let folded = AsOf { at, rule: Rule::Today, range, from, session, max_event_bytes }.fold(|_, _| {}).await;
        reading.close().await;
        let failed = |error: &dyn std::error::Error| PastError::Failed(error.to_string());
        let mut past = folded.map_err(|error| failed(&error))?;
        Ok(past.summary().await.map_err(|error| failed(&error))?.into_iter().map(day).collect())
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
        Box::pin(self.fold(range, at))
    }
}

/// The role and the tenant that a request's transaction has, for the whole session: its log is that tenant's, whatever a
/// query says.
fn held(owner: &PgConnectOptions, account_id: Uuid) -> PgConnectOptions {
    owner.clone().options([("role", "adledger_web".to_owned()), ("adledger.account_id", account_id.to_string())])
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
