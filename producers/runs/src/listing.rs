use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::job::JobType;
use crate::lease::WaitReason;

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
    pub throttled_until: Option<DateTime<Utc>>,
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

/// Runs that wait for the log: that is somebody's business here, while a wait for Meta is Meta's.
#[derive(Debug)]
pub struct WaitingForLog {
    pub count: usize,
    /// The one that was asked for first.
    pub first: Run,
}

impl fmt::Display for WaitingForLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WaitingForLog { count, first } = self;
        let (reason, message) = (first.wait_reason.as_deref(), first.error_message.as_deref());
        let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
        write!(f, "{count} runs wait for the log, {} first ({reason}): {message}", first.id)
    }
}

/// Which runs; what is `None` is not asked for.
#[derive(Default)]
struct Which {
    id: Option<Uuid>,
    status: Option<&'static str>,
    integration_id: Option<Uuid>,
    job: Option<JobType>,
}

async fn load(db: impl PgExecutor<'_>, which: Which, limit: i64) -> sqlx::Result<Vec<Run>> {
    sqlx::query_as!(
        Run,
        "select id, account_id, integration_id, job_type, trigger, status, window_since, window_until, days_total, days_done,
                rows_fetched, rate_limited, throttle_count, throttle_wait_ms, throttled_until, wait_reason, not_before, attempts, error_code,
                error_message, requested_at, started_at, finished_at
         from sync_runs
         where ($1::uuid is null or id = $1) and ($2::text is null or status = $2)
           and ($3::uuid is null or integration_id = $3) and ($4::text is null or job_type = $4)
         order by requested_at desc, id desc limit $5",
        which.id,
        which.status,
        which.integration_id,
        which.job.map(JobType::as_str),
        limit,
    )
    .fetch_all(db)
    .await
}

/// The newest runs that `db` may see, newest first.
pub async fn runs(db: impl PgExecutor<'_>, limit: u32) -> sqlx::Result<Vec<Run>> {
    load(db, Which::default(), i64::from(limit)).await
}

/// Those of one integration.
pub async fn runs_of(db: impl PgExecutor<'_>, integration_id: Uuid, limit: u32) -> sqlx::Result<Vec<Run>> {
    load(db, Which { integration_id: Some(integration_id), ..Which::default() }, i64::from(limit)).await
}

pub async fn run(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Run>> {
    Ok(load(db, Which { id: Some(id), ..Which::default() }, 1).await?.pop())
}

/// The runs that wait for something, and say what for; newest first.
pub async fn waiting(pool: &PgPool, limit: u32) -> sqlx::Result<Vec<Run>> {
    load(pool, Which { status: Some("waiting"), ..Which::default() }, i64::from(limit)).await
}

/// Those of them that wait for the log; `None` when none does.
pub async fn waiting_for_log(pool: &PgPool) -> sqlx::Result<Option<WaitingForLog>> {
    let reasons = [WaitReason::LogFull, WaitReason::LogUnreachable].map(WaitReason::as_str);
    let mut runs = waiting(pool, 1000).await?;
    runs.retain(|run| run.wait_reason.as_deref().is_some_and(|reason| reasons.contains(&reason)));
    let count = runs.len();
    Ok(runs.pop().map(|first| WaitingForLog { count, first }))
}

/// The newest run of an integration and job.
pub async fn newest(pool: &PgPool, integration_id: Uuid, job: JobType) -> sqlx::Result<Option<Run>> {
    let which = Which { integration_id: Some(integration_id), job: Some(job), ..Which::default() };
    Ok(load(pool, which, 1).await?.pop())
}

/// Days that failed and are tried again with the next `meta_fresh`: how many, and one of the reasons.
pub async fn failed_days(pool: &PgPool) -> sqlx::Result<Option<(i64, String)>> {
    let row =
        sqlx::query!(r#"select count(*) as "count!", max(last_error) as reason from sync_days where state = 'failed'"#)
            .fetch_one(pool)
            .await?;
    Ok((row.count > 0).then(|| (row.count, row.reason.unwrap_or_default())))
}
