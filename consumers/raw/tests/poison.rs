//! One message that PostgreSQL refuses is parked by itself: the log goes on with its neighbours.

use std::time::Duration;

use anyhow::{Context, Result};
use jetstream::{BatchLimits, DEAD_LETTERS, Which};
use testkit::history::{History, Random};
use testkit::wait;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_postgres_refuses_stops_nothing() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let history = History::random(&mut Random::new(3));
    history.insert_tenants(&database.pool).await?;
    let (poison, good) = history.answers.split_first().context("a history has answers")?;
    good[0].publish(&nats.wire).await?;
    // A NATS header may hold a NUL, and `jsonb` refuses it.
    let event = poison.event()?;
    let mut headers = events::headers::to_pairs(&event.attributes()?);
    headers.push(("x-note".to_owned(), "a\0b".to_owned()));
    nats.publish_foreign(&event.day.subject(), &headers, &event.payload).await?;
    // And this one is no event at all.
    nats.publish_foreign(&event.day.subject(), &[], b"hello").await?;
    good[1].publish(&nats.wire).await?;

    let cancel = CancellationToken::new();
    let (pool, wire, stop) = (database.pool.clone(), nats.wire.clone(), cancel.clone());
    let appending = tokio::spawn(async move { raw::run(&pool, &wire, BatchLimits::default(), &stop).await });
    wait::until("two are in the log and two are parked", Duration::from_secs(30), async || {
        let kept: i64 = sqlx::query_scalar("select count(*) from meta_insights_raw").fetch_one(&database.pool).await?;
        let parked = nats.wire.log(DEAD_LETTERS).await?.level().await?.messages;
        Ok((kept, parked) == (2, 2))
    })
    .await?;
    cancel.cancel();
    appending.await?;
    let letter = nats.wire.dead_letters().await?.next(&Which::default(), 1).await?.context("it is there")?;
    assert_eq!((letter.consumer.as_str(), letter.origin.is_some()), (raw::DURABLE, true));
    let reason = letter.reason.context("it says why")?;
    assert!(reason.contains("PostgreSQL refuses it"), "{reason}");
    Ok(())
}
