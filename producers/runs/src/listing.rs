use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::job::JobType;

/// A run as its row says, for people and for programs that wait for it.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    pub id: Uuid,
    pub account_id: Uuid,
    pub integration_id: Uuid,
    pub job_type: String,
    pub trigger: String,
    pub status: String,
    pub window_since: Option<NaiveDate>,
    pub window_until: Option<NaiveDate>,
    pub days_total: i32,
    pub days_done: i32,
    pub rows_fetched: i64,
    pub rate_limited: bool,
    pub throttle_count: i32,
    pub throttle_wait_ms: i64,
    pub wait_reason: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
    pub attempts: i32,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub requested_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Run {
    /// No worker will touch it any more.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "partial" | "failed")
    }
}

async fn load(pool: &PgPool, id: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Run>> {
    sqlx::query_as!(
        Run,
        "select id, account_id, integration_id, job_type, trigger, status, window_since, window_until, days_total, days_done,
                rows_fetched, rate_limited, throttle_count, throttle_wait_ms, wait_reason, not_before, attempts, error_code,
                error_message, requested_at, started_at, finished_at
         from sync_runs where $1::uuid is null or id = $1
         order by requested_at desc, id desc limit $2",
        id,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// The newest runs, newest first.
pub async fn runs(pool: &PgPool, limit: u32) -> sqlx::Result<Vec<Run>> {
    load(pool, None, i64::from(limit)).await
}

pub async fn run(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Run>> {
    Ok(load(pool, Some(id), 1).await?.pop())
}

/// The runs that wait for something, and say what for; those that were asked for first come first.
pub async fn waiting(pool: &PgPool, limit: u32) -> sqlx::Result<Vec<Run>> {
    let ids = sqlx::query_scalar!(
        "select id from sync_runs where status = 'waiting' order by requested_at, id limit $1",
        i64::from(limit),
    )
    .fetch_all(pool)
    .await?;
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        runs.extend(run(pool, id).await?);
    }
    Ok(runs)
}

/// The newest run of an integration and job.
pub async fn newest(pool: &PgPool, integration_id: Uuid, job: JobType) -> sqlx::Result<Option<Run>> {
    let id = sqlx::query_scalar!(
        "select id from sync_runs where integration_id = $1 and job_type = $2 order by requested_at desc, id desc limit 1",
        integration_id,
        job.as_str(),
    );
    match id.fetch_optional(pool).await? {
        Some(id) => run(pool, id).await,
        None => Ok(None),
    }
}

/// Days that failed and are tried again with the next `meta_fresh`: how many, and one of the reasons.
pub async fn failed_days(pool: &PgPool) -> sqlx::Result<Option<(i64, String)>> {
    let row =
        sqlx::query!(r#"select count(*) as "count!", max(last_error) as reason from sync_days where state = 'failed'"#)
            .fetch_one(pool)
            .await?;
    Ok((row.count > 0).then(|| (row.count, row.reason.unwrap_or_default())))
}
