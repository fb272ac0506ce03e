use chrono::NaiveDate;
use sqlx::PgPool;
use uuid::Uuid;

use crate::job::{JobType, Window};

/// How often a request that fell between the end of one run and the beginning of another is repeated.
const TRIES: u32 = 3;

/// The run that was asked for, or the one that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub run_id: Uuid,
    /// A run of this job waits or works already: it is this one, and none was added.
    pub already: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    #[error("integration {id} does not exist: `adledger status` lists those there are")]
    NoIntegration { id: Uuid },
    #[error(
        "a backfill of this integration from {since} to {until} is under way (run {run_id}): ask again when `adledger runs` \
         shows it done"
    )]
    OtherWindow { run_id: Uuid, since: NaiveDate, until: NaiveDate },
    #[error("the runs of integration {id} change faster than they can be read: ask again")]
    Busy { id: Uuid },
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

/// Asks for a run. At most one of an integration and job is unfinished at any time: a second request finds the first, and
/// one for another range is refused.
pub async fn enqueue(
    pool: &PgPool,
    integration_id: Uuid,
    job: JobType,
    trigger: &str,
    window: Option<Window>,
) -> Result<Enqueued, EnqueueError> {
    for _ in 0..TRIES {
        let inserted = sqlx::query_scalar!(
            "insert into sync_runs (account_id, id, integration_id, job_type, trigger, status, window_since, window_until)
             select account_id, $1, id, $3, $4, 'queued', $5, $6 from integrations where id = $2
             on conflict (account_id, integration_id, job_type) where status in ('queued', 'running', 'waiting')
             do nothing
             returning id",
            Uuid::now_v7(),
            integration_id,
            job.as_str(),
            trigger,
            window.map(|w| w.since),
            window.map(|w| w.until),
        )
        .fetch_optional(pool)
        .await?;
        if let Some(run_id) = inserted {
            return Ok(Enqueued { run_id, already: false });
        }
        let unfinished = sqlx::query!(
            "select id, window_since, window_until from sync_runs
             where integration_id = $1 and job_type = $2 and status in ('queued', 'running', 'waiting')",
            integration_id,
            job.as_str(),
        )
        .fetch_optional(pool)
        .await?;
        if let Some(run) = unfinished {
            let theirs = run.window_since.zip(run.window_until).map(|(since, until)| Window { since, until });
            if let (Some(asked), Some(theirs)) = (window, theirs)
                && asked != theirs
            {
                return Err(EnqueueError::OtherWindow { run_id: run.id, since: theirs.since, until: theirs.until });
            }
            return Ok(Enqueued { run_id: run.id, already: true });
        }
        let exists = sqlx::query_scalar!("select exists (select from integrations where id = $1)", integration_id);
        if !exists.fetch_one(pool).await?.unwrap_or(false) {
            return Err(EnqueueError::NoIntegration { id: integration_id });
        }
        // The unfinished run ended between the two statements: now there is room for a new one.
    }
    Err(EnqueueError::Busy { id: integration_id })
}
