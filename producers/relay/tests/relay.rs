//! What is announced in a transaction reaches its stream when, and only when, that transaction commits.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use events::{Announcement, SyncRequested};
use jetstream::{META_SYNC, Wire};
use sqlx::PgPool;
use testkit::{Tenant, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn bell(tenant: &Tenant) -> Result<Announcement> {
    let data = SyncRequested {
        account_id: tenant.account_id,
        integration_id: Uuid::new_v4(),
        run_id: Uuid::new_v4(),
        job_type: "meta_fresh".into(),
    };
    Ok(data.announce(Uuid::new_v4(), DateTime::UNIX_EPOCH, events::subject::Priority::High)?)
}

async fn write(pool: &PgPool, tenant: &Tenant, event: &Announcement) -> Result<()> {
    let mut tx = pool.begin().await?;
    outbox::announce(&mut tx, tenant.account_id, event).await?;
    Ok(tx.commit().await?)
}

async fn messages(wire: &Wire) -> Result<u64> {
    Ok(wire.log(META_SYNC).await?.level().await?.messages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_is_published_once_by_many_relays_and_what_does_not_never() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    let mut undone = pool.begin().await?;
    outbox::announce(&mut undone, tenant.account_id, &bell(&tenant)?).await?;
    undone.rollback().await?;
    let events = (0..150).map(|_| bell(&tenant)).collect::<Result<Vec<_>>>()?;
    // Numbers commit out of order: the first one written is the last to commit.
    let mut late = pool.begin().await?;
    outbox::announce(&mut late, tenant.account_id, &events[0]).await?;
    for event in &events[1..] {
        write(pool, &tenant, event).await?;
    }
    let cancel = CancellationToken::new();
    let mut relays = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (pool, wire, cancel) = (pool.clone(), nats.wire.clone(), cancel.clone());
        relays.spawn(async move { relay::run(&pool, &wire, &cancel).await });
    }
    wait::until("all but the late one are published", Duration::from_secs(30), async || {
        Ok(messages(&nats.wire).await? == 149)
    })
    .await?;
    late.commit().await?;
    wait::until("the outbox is empty", Duration::from_secs(30), async || Ok(outbox::waiting(pool).await?.events == 0))
        .await?;
    cancel.cancel();
    relays.join_all().await;
    assert_eq!(messages(&nats.wire).await?, 150);
    assert_eq!(nats.wire.log(META_SYNC).await?.level().await?.last_sequence, 150, "none came twice");
    let log = nats.wire.log(META_SYNC).await?;
    let stored = log.next(&events[0].subject, 1).await?.context("it is there")?;
    assert_eq!(stored.payload, events[0].payload);
    ensure!(
        events[0].headers.iter().all(|header| stored.header_pairs().contains(header)),
        "{:?}",
        stored.header_pairs()
    );
    Ok(())
}

#[tokio::test]
async fn a_relay_that_died_before_its_commit_publishes_again_under_the_same_id() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    let event = bell(&tenant)?;
    write(pool, &tenant, &event).await?;
    // What a relay does up to the moment of its death.
    let mut dying = pool.begin().await?;
    let rows = outbox::take(&mut dying, 10).await?;
    let (id, payload) = (rows[0].event_id.to_string(), rows[0].payload.clone().into());
    let headers = rows[0].headers.as_ref().context("they are as they were written")?;
    nats.wire.publish_pairs(&rows[0].subject, &id, headers, payload, Duration::from_secs(5)).await?;
    let none = relay::relay_once(pool, &nats.wire, &CancellationToken::new()).await?;
    assert_eq!(none, 0, "the dying one has it still");
    drop(dying);
    wait::until("its lock is free and the row is relayed", Duration::from_secs(10), async || {
        Ok(relay::relay_once(pool, &nats.wire, &CancellationToken::new()).await? == 1)
    })
    .await?;
    assert_eq!(nats.wire.log(META_SYNC).await?.level().await?.last_sequence, 1, "the stream knows the id");
    assert_eq!(outbox::waiting(pool).await?.events, 0);
    Ok(())
}

#[tokio::test]
async fn an_event_whose_stream_is_missing_waits_and_is_in_nobodys_way() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    let homeless = Announcement { subject: "nowhere.at.all".into(), ..bell(&tenant)? };
    write(pool, &tenant, &homeless).await?;
    write(pool, &tenant, &bell(&tenant)?).await?;
    let cancel = CancellationToken::new();
    wait::until("the other one is published", Duration::from_secs(20), async || {
        relay::relay_once(pool, &nats.wire, &cancel).await?;
        Ok(messages(&nats.wire).await? == 1)
    })
    .await?;
    let waiting = outbox::waiting(pool).await?;
    assert_eq!(waiting.events, 1);
    ensure!(waiting.last_error.is_some_and(|error| error.contains("did not acknowledge")));
    Ok(())
}

#[tokio::test]
async fn a_row_that_cannot_be_read_waits_and_is_in_nobodys_way() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    write(pool, &tenant, &bell(&tenant)?).await?;
    sqlx::query("update outbox set headers = '{}'").execute(pool).await?;
    write(pool, &tenant, &bell(&tenant)?).await?;
    assert_eq!(relay::relay_once(pool, &nats.wire, &CancellationToken::new()).await?, 1);
    let waiting = outbox::waiting(pool).await?;
    ensure!(waiting.events == 1 && waiting.last_error.is_some_and(|error| error.contains("no list of pairs")));
    Ok(())
}
