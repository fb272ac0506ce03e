//! The service: it works on what is queued, and ends in order when it is told to.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::wait;
use tokio::process::Child;

use crate::shop::{Shop, days_ago};

/// How long whoever stops a service waits before it kills.
const DRAIN: Duration = Duration::from_secs(10);

fn start(shop: &Shop, role: &str) -> Result<Child> {
    let mut command = shop.command(&["serve", "--role", role]);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(child.id().context("it runs")?)?), signal)?)
}

async fn count(shop: &Shop, query: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(query).fetch_one(&shop.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_ad_account_fills_and_settles_by_itself_in_roles_of_their_own() -> Result<()> {
    let shop = Shop::open().await?;
    let roles =
        ["fetch", "fetch", "raw", "project", "project", "fill", "fill", "relay", "relay", "schedule", "schedule"];
    let mut roles = roles.map(|role| start(&shop, role)).into_iter().collect::<Result<Vec<_>>>()?;
    // 28 days: the fill's 7 that follow from the connection, and the settle run's, from 29 days ago on.
    wait::until("every day is in the tables", Duration::from_secs(90), async || {
        Ok(shop.check_sums(days_ago(29), days_ago(1)).await.is_ok())
    })
    .await?;
    wait::until("no run is left", Duration::from_secs(20), async || {
        Ok(count(&shop, "select count(*) from sync_runs where status <> 'succeeded'").await? == 0)
    })
    .await?;
    assert_eq!(
        count(&shop, "select count(*) from sync_runs where job_type = 'meta_7d_fill' and trigger = 'connect'").await?,
        1
    );
    assert_eq!(
        count(&shop, "select count(*) from sync_runs where job_type = 'meta_settle' and trigger = 'schedule'").await?,
        1
    );
    assert_eq!(count(&shop, "select count(*) from sync_runs").await?, 2);
    assert_eq!(shop.cursor().await?, Some(days_ago(1)), "a settle run does not move it back");

    // A bell is a bell: what was done is not rung for any more.
    let left = shop.nats.wire.log(jetstream::META_SYNC).await?.level().await?.messages;
    assert_eq!(left, 0, "every bell was answered");
    let queued = shop.done(&["sync", "--integration", &shop.integration_id.to_string(), "--job", "meta_fresh"]).await?;
    assert!(queued.stdout.contains("is queued"), "{queued:?}");
    wait::until("the fresh run is through", Duration::from_secs(30), async || {
        Ok(count(&shop, "select count(*) from sync_runs where job_type = 'meta_fresh' and status = 'succeeded'")
            .await?
            == 1)
    })
    .await?;
    for role in &roles {
        signal(role, Signal::SIGTERM)?;
    }
    for role in &mut roles {
        let status = tokio::time::timeout(DRAIN, role.wait()).await??;
        assert!(status.success(), "{status}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_waits_for_days_that_another_run_fetched() -> Result<()> {
    let shop = Shop::open().await?;
    // The fill and the settle run come between the chunks of the backfill, and take days of its window.
    let integration = shop.integration_id.to_string();
    let (since, until) = (days_ago(40).to_string(), days_ago(1).to_string());
    let backfill = ["backfill", "--integration", &integration, "--since", &since, "--until", &until];
    shop.done(&backfill).await?;
    let mut service = start(&shop, "all")?;
    shop.done(&[&backfill[..], &["--wait", "--deadline-seconds", "60"]].concat()).await?;
    shop.check_sums(days_ago(40), days_ago(1)).await?;
    signal(&service, Signal::SIGTERM)?;
    assert!(tokio::time::timeout(DRAIN, service.wait()).await??.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_signal_drains_and_the_second_ends() -> Result<()> {
    let shop = Shop::open().await?;
    let integration = shop.integration_id.to_string();
    let mut fetch = start(&shop, "fetch")?;
    shop.done(&["sync", "--integration", &integration, "--job", "meta_7d_fill"]).await?;
    wait::until("the days are published", Duration::from_secs(60), async || {
        Ok(count(&shop, "select count(*) from sync_runs where status = 'succeeded'").await? == 1)
    })
    .await?;
    signal(&fetch, Signal::SIGTERM)?;
    assert!(tokio::time::timeout(DRAIN, fetch.wait()).await??.success());

    // A batch that cannot be finished: somebody holds the table.
    let mut holder = shop.database.pool.begin().await?;
    sqlx::query("lock table meta_insights_raw in share mode").execute(&mut *holder).await?;
    let waiting_for_lock = async |sessions: i64| {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        wait::until("so many sessions wait", Duration::from_secs(60), async || {
            Ok(count(&shop, waiting).await? == sessions)
        })
        .await
    };
    let mut drains = start(&shop, "raw")?;
    waiting_for_lock(1).await?;
    signal(&drains, Signal::SIGTERM)?;
    let status = tokio::time::timeout(DRAIN, drains.wait()).await??;
    assert!(status.success(), "what was in hand is given back: {status}");
    // All of it is there at once, long before its ack_wait is over.
    let puller = shop.nats.wire.puller(jetstream::META_INSIGHTS, raw::DURABLE).await?;
    let free = puller.next_batch(10, jetstream::BATCH_BYTES, Duration::from_millis(100)).await?;
    assert_eq!(free.len(), 7);
    for delivery in &free {
        puller.settle(delivery, jetstream::Disposition::Retry { after: Duration::ZERO }).await;
    }
    // PostgreSQL notices that the session's client is gone, though the session waits for a lock.
    waiting_for_lock(0).await?;
    let mut ends = start(&shop, "raw")?;
    waiting_for_lock(1).await?;
    signal(&ends, Signal::SIGTERM)?;
    // The second signal counts once the first was heard.
    tokio::time::timeout(Duration::from_millis(500), ends.wait()).await.expect_err("it drains");
    signal(&ends, Signal::SIGTERM)?;
    let status = tokio::time::timeout(Duration::from_secs(2), ends.wait()).await??;
    assert_eq!(status.code(), Some(1), "ended at once");
    shop.nats.redeliver(jetstream::META_INSIGHTS, raw::DURABLE).await?;
    holder.rollback().await?;
    let mut survivor = start(&shop, "raw")?;
    wait::until("every event is appended", Duration::from_secs(60), async || {
        Ok(count(&shop, "select count(*) from meta_insights_raw").await? == 7)
    })
    .await?;
    signal(&survivor, Signal::SIGTERM)?;
    assert!(tokio::time::timeout(DRAIN, survivor.wait()).await??.success());
    Ok(())
}
