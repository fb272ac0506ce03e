//! The fresh days, asked for by several at once and in several ways.

use std::time::Duration;

use anyhow::Result;
use runs::{FreshRequest, JobType};
use testkit::{Tenant, database};

const HOUR: Duration = Duration::from_secs(3600);

/// A clock outside, the schedule and people ask at the same moment: one run, and nobody is turned away for the other's
/// sake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_at_once_gets_one_run_and_no_deadlock() -> Result<()> {
    let db = database().await?;
    for _ in 0..20 {
        let tenant = Tenant::insert(&db.pool).await?;
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..10 {
            let pool = db.pool.clone();
            asking.spawn(async move {
                if number % 2 == 0 {
                    return Ok(runs::enqueue(&pool, tenant.integration_id, JobType::Fresh, "api", None).await?.run_id);
                }
                match runs::enqueue_fresh(&pool, tenant.account_id, tenant.integration_id, "schedule", HOUR).await? {
                    FreshRequest::Enqueued { run_id } | FreshRequest::Unfinished { run_id } => Ok(run_id),
                    other => anyhow::bail!("{other:?}"),
                }
            });
        }
        let mut found = asking.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        found.dedup();
        assert_eq!(found.len(), 1, "{found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cooldown_holds_whatever_became_of_the_run_and_who_is_not_connected_is_not_asked_for() -> Result<()> {
    let db = database().await?;
    let tenant = Tenant::insert(&db.pool).await?;
    let ask = async || runs::enqueue_fresh(&db.pool, tenant.account_id, tenant.integration_id, "x", HOUR).await;
    let FreshRequest::Enqueued { run_id } = ask().await? else { anyhow::bail!("the first is enqueued") };
    assert_eq!(ask().await?, FreshRequest::Unfinished { run_id });
    sqlx::query("update sync_runs set status = 'failed'").execute(&db.pool).await?;
    assert!(matches!(ask().await?, FreshRequest::CoolingDown { .. }));
    sqlx::query("update sync_runs set requested_at = requested_at - interval '61 minutes'").execute(&db.pool).await?;
    assert!(matches!(ask().await?, FreshRequest::Enqueued { .. }));
    sqlx::query("update integrations set status = 'needs_reconnect'").execute(&db.pool).await?;
    assert_eq!(ask().await?, FreshRequest::NotConnected);
    Ok(())
}
