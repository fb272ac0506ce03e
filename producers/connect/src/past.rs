//! The past, as the web side asks for it. Folding is no business of this room: whoever assembles the process brings it.

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::future::BoxFuture;
use uuid::Uuid;

/// Who knows what a tenant's days were known to be. A trait, because this room may not name the one that folds.
pub trait Past: Send + Sync {
    /// The days of one tenant, by the answers that had been fetched at an instant, in the order of dates.
    fn summary(
        &self,
        account_id: Uuid,
        since: NaiveDate,
        until: NaiveDate,
        at: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Vec<PastDay>, PastError>>;
}

/// A tenant's day as it was known: the columns of `daily_summary` that Meta's answers fill, decimals as text.
#[derive(Debug, Clone)]
pub struct PastDay {
    pub date: NaiveDate,
    pub meta_spend: Option<String>,
    pub meta_impressions: Option<i64>,
    pub meta_clicks: Option<i64>,
    pub meta_purchases: Option<String>,
    pub meta_purchase_value: Option<String>,
    pub meta_roas: Option<String>,
    /// When the newest answer was fetched that it is made of.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Why the past is not known now.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error("as many questions about the past are worked on as this process allows at once")]
    Busy,
    #[error("the past could not be folded: {0}")]
    Failed(String),
    #[error("{0}")]
    Incomplete(String),
}
