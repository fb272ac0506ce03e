use chrono::NaiveDate;
use sqlx::PgPool;
use uuid::Uuid;

use crate::enqueue::{EnqueueError, Enqueued, enqueue_within};
use crate::job::JobType;

/// Asks for a job that an integration has once a day; `None` when it was asked for on this day (of the ad account's
/// zone) or a later one. The day and the run are written together, so that two who ask at once make one run.
pub async fn enqueue_daily(
    pool: &PgPool,
    account_id: Uuid,
    integration_id: Uuid,
    job: JobType,
    today: NaiveDate,
) -> Result<Option<Enqueued>, EnqueueError> {
    let mut tx = pool.begin().await?;
    let due = sqlx::query!(
        "insert into daily_jobs as d (account_id, integration_id, job_type, last_date) values ($1, $2, $3, $4)
         on conflict (account_id, integration_id, job_type) do update set last_date = excluded.last_date
         where d.last_date < excluded.last_date",
        account_id,
        integration_id,
        job.as_str(),
        today,
    )
    .execute(&mut *tx)
    .await?;
    if due.rows_affected() == 0 {
        return Ok(None);
    }
    let enqueued = enqueue_within(&mut tx, integration_id, job, "schedule", None).await?;
    tx.commit().await?;
    Ok(Some(enqueued))
}
