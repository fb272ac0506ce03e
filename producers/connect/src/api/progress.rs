//! How far a run has come, from Meta to the tables, as it is sent while it changes.

use chrono::{DateTime, Utc};
use runs::Run;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// `queued`, `running`, `waiting`, `succeeded`, `partial` or `failed`.
    pub(crate) status: String,
    /// Days that are to be fetched; 0 until the run is planned.
    pub(crate) asked: u64,
    /// Rows that Meta gave.
    pub(crate) fetched: u64,
    /// Days whose event is in the stream.
    pub(crate) published: u64,
    /// Of these, days whose event is in `meta_insights_raw`.
    pub(crate) raw: u64,
    /// Of those, days that are in the tables.
    pub(crate) folded: u64,
    /// How often Meta throttled the run.
    pub(crate) throttle_count: u64,
    pub(crate) throttle_wait_ms: u64,
    /// What the run waits for: `throttled`, `log_full`, `log_unreachable`, `meta_unreachable`.
    pub(crate) wait_reason: Option<String>,
    pub(crate) not_before: Option<DateTime<Utc>>,
    pub(crate) error_code: Option<String>,
    pub(crate) error_message: Option<String>,
    /// Nothing more will come of it.
    #[serde(skip)]
    pub(crate) is_over: bool,
}

impl Progress {
    /// The caller's transaction says whose rows are seen.
    pub(crate) async fn of(conn: &mut PgConnection, run: &Run) -> sqlx::Result<Progress> {
        let days = runs::days_folded(conn, run).await?;
        Ok(Progress {
            status: run.status.clone(),
            asked: count(run.days_total),
            fetched: count(run.rows_fetched),
            published: days.published,
            raw: days.raw,
            folded: days.folded,
            throttle_count: count(run.throttle_count),
            throttle_wait_ms: count(run.throttle_wait_ms),
            wait_reason: run.wait_reason.clone(),
            not_before: run.not_before,
            error_code: run.error_code.clone(),
            error_message: run.error_message.clone(),
            is_over: days.is_over(run),
        })
    }
}

fn count(number: impl Into<i64>) -> u64 {
    u64::try_from(number.into()).unwrap_or_default()
}
