//! From an event of META_CONNECT to a run, on real servers, whoever published the event.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jetstream::{META_CONNECT, Which};
use testkit::{Database, Nats, Tenant, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What any program with a NATS client publishes.
async fn connected(nats: &Nats, tenant: &Tenant, event_type: &str, id: &str) -> Result<()> {
    let subject = format!("meta.connect.{}.{}", tenant.account_id, tenant.integration_id);
    let headers =
        [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "a-program-of-yours"), ("ce-type", event_type)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    nats.publish_foreign(&subject, &headers, b"{}").await
}

/// Handles everything that is in the stream, and ends.
async fn handle_all(database: &Database, nats: &Nats) -> Result<()> {
    let cancel = CancellationToken::new();
    let filling = initial_fill::run(&database.pool, &nats.wire, &cancel);
    let until_done = async {
        let waited = wait::until("every event is handled", Duration::from_secs(30), async || {
            let lag = nats.wire.lag(META_CONNECT, initial_fill::DURABLE).await?;
            Ok(lag.gap + lag.in_flight == 0)
        })
        .await;
        cancel.cancel();
        waited
    };
    tokio::join!(filling, until_done).1
}

async fn fills(database: &Database) -> Result<i64> {
    let query = "select count(*) from sync_runs where job_type = 'meta_7d_fill' and trigger = 'connect'";
    Ok(sqlx::query_scalar(query).fetch_one(&database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_makes_one_fill_however_often_it_comes() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let tenant = Tenant::insert(&database.pool).await?;
    for _ in 0..3 {
        connected(&nats, &tenant, "adledger.meta.ad_account.connected.v1", "first").await?;
    }
    handle_all(&database, &nats).await?;
    assert_eq!(fills(&database).await?, 1);
    // The fill is long done when the same event comes once more, and another one.
    sqlx::query("update sync_runs set status = 'succeeded'").execute(&database.pool).await?;
    connected(&nats, &tenant, "adledger.meta.ad_account.connected.v1", "first").await?;
    handle_all(&database, &nats).await?;
    assert_eq!(fills(&database).await?, 1);
    connected(&nats, &tenant, "adledger.meta.ad_account.reconnected.v1", "second").await?;
    handle_all(&database, &nats).await?;
    assert_eq!(fills(&database).await?, 2);
    Ok(())
}

/// Days that are older than the fill's may be missing: the fresh days bring them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_days_were_fetched_before_the_fresh_ones_come_along() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let runs = async || {
        let query = "select concat_ws(' ', integration_id, job_type, trigger, status) from sync_runs order by 1";
        anyhow::Ok(sqlx::query_scalar::<_, String>(query).fetch_all(&database.pool).await?)
    };
    let (new, old) = (Tenant::insert(&database.pool).await?, Tenant::insert(&database.pool).await?);
    let owing = Tenant::insert(&database.pool).await?;
    let fetched = "insert into sync_cursors values ($1, $2, 'meta_last_window_end', '2026-11-01')";
    sqlx::query(fetched).bind(old.account_id).bind(old.integration_id).execute(&database.pool).await?;
    let due = "insert into sync_days (account_id, integration_id, date, state) values ($1, $2, '2026-11-01', 'due')";
    sqlx::query(due).bind(owing.account_id).bind(owing.integration_id).execute(&database.pool).await?;
    for (number, tenant) in [&new, &old, &owing].into_iter().enumerate() {
        // Twice: one event has one effect.
        for _ in 0..2 {
            connected(&nats, tenant, "adledger.meta.ad_account.reconnected.v1", &number.to_string()).await?;
        }
    }
    handle_all(&database, &nats).await?;
    let mut expected: Vec<String> = [(&new, "meta_7d_fill"), (&old, "meta_7d_fill"), (&old, "meta_fresh")]
        .into_iter()
        .chain([(&owing, "meta_7d_fill"), (&owing, "meta_fresh")])
        .map(|(tenant, job)| format!("{} {job} connect queued", tenant.integration_id))
        .collect();
    expected.sort();
    assert_eq!(runs().await?, expected);
    Ok(())
}

/// It tells of something that nobody here does anything about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_comes_to_its_end_makes_no_fill_and_is_not_parked() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let tenant = Tenant::insert(&database.pool).await?;
    connected(&nats, &tenant, "adledger.meta.token.expiring.v1", "soon").await?;
    connected(&nats, &tenant, "adledger.meta.ad_account.disconnected.v1", "end").await?;
    connected(&nats, &tenant, "adledger.meta.ad_account.connected.v1", "good").await?;
    handle_all(&database, &nats).await?;
    assert_eq!(fills(&database).await?, 1);
    assert_eq!(nats.wire.dead_letters().await?.count(&Which::default()).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_or_of_nobody_is_parked_with_its_reason() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let tenant = Tenant::insert(&database.pool).await?;
    let stranger = Tenant { integration_id: Uuid::new_v4(), ..tenant };
    let other_tenant = Tenant { account_id: Uuid::new_v4(), ..tenant };
    connected(&nats, &stranger, "adledger.meta.ad_account.connected.v1", "1").await?;
    connected(&nats, &other_tenant, "adledger.meta.ad_account.connected.v1", "2").await?;
    connected(&nats, &tenant, "adledger.meta.ad_account.exploded.v1", "3").await?;
    connected(&nats, &tenant, "adledger.meta.ad_account.connected.v1", "nul%00").await?;
    nats.publish_foreign("meta.connect.one.two", &[], b"hello").await?;
    connected(&nats, &tenant, "adledger.meta.ad_account.connected.v1", "good").await?;
    handle_all(&database, &nats).await?;
    assert_eq!(fills(&database).await?, 1);
    let letters = nats.wire.dead_letters().await?;
    assert_eq!(letters.count(&Which::default()).await?, 5);
    let of_other = Which { account_id: Some(other_tenant.account_id), ..Which::default() };
    assert_eq!(letters.count(&of_other).await?, 1);
    let letter = letters.next(&Which::default(), 1).await?.context("it is there")?;
    let reason = letter.reason.context("it says why")?;
    ensure!(reason.contains("has no integration"), "{reason}");
    Ok(())
}
