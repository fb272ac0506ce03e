use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Acquire, Postgres};
use uuid::Uuid;

use crate::enqueue::{EnqueueError, enqueue_within};
use crate::job::JobType;

/// What became of a request for the fresh days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreshRequest {
    Enqueued {
        run_id: Uuid,
    },
    /// A run waits or works already.
    Unfinished {
        run_id: Uuid,
    },
    /// They were asked for a short while ago, whatever became of it.
    CoolingDown {
        until: DateTime<Utc>,
    },
    /// The integration's jobs may not run.
    NotConnected,
}

/// Asks for a `meta_fresh` run unless one was asked for within `cooldown`.
///
/// The integration's row is locked for it: of any number who ask at once, in any number of processes, the second sees
/// the run of the first. The lock lets foreign keys pass: who makes a run in another way waits for nobody here, and
/// nobody for them.
pub async fn enqueue_fresh<'a>(
    db: impl Acquire<'a, Database = Postgres>,
    account_id: Uuid,
    integration_id: Uuid,
    trigger: &str,
    cooldown: Duration,
) -> Result<FreshRequest, EnqueueError> {
    let mut tx = db.begin().await?;
    let status = sqlx::query_scalar!(
        "select status from integrations where account_id = $1 and id = $2 for no key update",
        account_id,
        integration_id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    match status.as_deref() {
        None => return Err(EnqueueError::NotOfTenant { account_id, id: integration_id }),
        Some("connected") => {}
        Some(_) => return Ok(FreshRequest::NotConnected),
    }
    let newest = sqlx::query!(
        r#"select id, status in ('queued', 'running', 'waiting') as "is_unfinished!",
                  requested_at + make_interval(secs => $4) as "until!",
                  requested_at + make_interval(secs => $4) > clock_timestamp() as "is_cooling_down!"
           from sync_runs
           where account_id = $1 and integration_id = $2 and job_type = $3
           order by requested_at desc limit 1"#,
        account_id,
        integration_id,
        JobType::Fresh.as_str(),
        cooldown.as_secs_f64(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(newest) = newest {
        if newest.is_unfinished {
            return Ok(FreshRequest::Unfinished { run_id: newest.id });
        }
        if newest.is_cooling_down {
            return Ok(FreshRequest::CoolingDown { until: newest.until });
        }
    }
    let enqueued = enqueue_within(&mut tx, integration_id, JobType::Fresh, trigger, None).await?;
    tx.commit().await?;
    Ok(match enqueued.already {
        true => FreshRequest::Unfinished { run_id: enqueued.run_id },
        false => FreshRequest::Enqueued { run_id: enqueued.run_id },
    })
}
