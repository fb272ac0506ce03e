use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use crate::job::{JobType, Window};
use crate::lease::Lease;

/// A number of adledger's own for PostgreSQL's advisory locks.
const CLAIM_LOCK: i64 = 0x0061_646c_6564_6765;

/// Takes the next run: one that is queued, one whose wait is over, or one whose holder let its lease run out. `only`
/// takes that run or none.
///
/// With `stub_only`, a run of an integration that Meta answers for is nobody's here.
///
/// An ad account is fetched by one worker at a time, so a run whose integration is being worked on is passed over.
/// Fills and fresh days come before settling ones, and backfills last. Claims take turns, each with a view of the table
/// that holds the claims before it.
pub async fn claim(
    pool: &PgPool,
    duration: Duration,
    only: Option<Uuid>,
    stub_only: bool,
) -> sqlx::Result<Option<Lease>> {
    let mut tx = pool.begin().await?;
    sqlx::query_scalar!("select pg_advisory_xact_lock($1)::text", CLAIM_LOCK).fetch_one(&mut *tx).await?;
    let row = sqlx::query_file!(
        "src/claim.sql",
        duration.as_secs_f64(),
        only,
        &JobType::ALL.map(|job| job.as_str().to_owned()),
        stub_only,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.and_then(|r| {
        Some(Lease {
            account_id: r.account_id,
            run_id: r.id,
            integration_id: r.integration_id,
            job: r.job_type.parse().ok()?,
            window: r.window_since.zip(r.window_until).map(|(since, until)| Window { since, until }),
            attempts: r.attempts,
            takeovers: r.takeovers,
            throttle_waits: r.throttle_waits,
            planned: r.planned,
            epoch: r.lease_epoch,
            duration,
        })
    }))
}
