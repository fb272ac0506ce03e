//! How far a consumer is behind: counted by the server, and timed by its oldest message that is not settled.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jetstream::{Disposition, LogRoom, META_INSIGHTS, Which, WireError};
use testkit::wait::until;

use crate::event::{day, publish};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_oldest_message_that_is_not_settled_counts() -> Result<()> {
    let nats = testkit::nats().await?;
    let wire = &nats.wire;
    let none = wire.lag(META_INSIGHTS, "raw").await?;
    assert_eq!((none.gap, none.in_flight, none.oldest_age), (0, 0, Some(Duration::ZERO)));
    let mut published_at = Vec::new();
    for id in 1..=4 {
        publish(wire, id, &day(1)?, "x").await?;
        published_at.push(Instant::now());
    }
    let published_at = &published_at;
    let check = async |gap, in_flight, oldest: usize| {
        let asked_at = Instant::now();
        let lag = wire.lag(META_INSIGHTS, "raw").await?;
        assert_eq!((lag.gap, lag.in_flight), (gap, in_flight));
        // It was stored before its publisher heard of it, and after the one before. Two clocks differ by little.
        let air = Duration::from_millis(1);
        let oldest_age = lag.oldest_age.context("the message can be read")?;
        assert!(oldest_age + air >= asked_at - published_at[oldest], "{oldest}: {lag:?}");
        let before = oldest.checked_sub(1).map(|before| published_at[before].elapsed());
        assert!(before.is_none_or(|before| oldest_age <= before + air), "{oldest}: {lag:?}");
        anyhow::Ok(())
    };
    check(4, 0, 0).await?;

    let puller = wire.puller(META_INSIGHTS, "raw").await?;
    let taken = puller.next_batch(3, jetstream::BATCH_BYTES, Duration::from_secs(5)).await?;
    assert_eq!(taken.len(), 3);
    // The first is settled last, and then the fourth, which nobody took yet, is the oldest.
    for (settled, in_flight, oldest) in [(1, 2, 0), (2, 1, 0), (0, 0, 3)] {
        puller.settle(&taken[settled], Disposition::Ack).await;
        until("it is settled", DEADLINE, async || Ok(wire.lag(META_INSIGHTS, "raw").await?.in_flight == in_flight))
            .await?;
        check(1, in_flight, oldest).await?;
    }
    for delivery in puller.next_batch(3, jetstream::BATCH_BYTES, Duration::from_secs(5)).await? {
        puller.settle(&delivery, Disposition::Park { reason: "it is the fourth".into() }).await;
    }
    let settled = async || Ok(wire.lag(META_INSIGHTS, "raw").await?.oldest_age == Some(Duration::ZERO));
    until("all are settled", DEADLINE, settled).await?;
    assert_eq!(wire.dead_letters().await?.count(&Which::default()).await?, 1);
    Ok(())
}

#[tokio::test]
async fn who_is_not_there_has_no_lag() -> Result<()> {
    let nats = testkit::nats().await?;
    let nobody = nats.wire.lag(META_INSIGHTS, "nobody").await;
    assert!(matches!(nobody, Err(WireError::NoConsumer { .. })), "{nobody:?}");
    let nothing = nats.wire.lag("NOTHING", "raw").await;
    assert!(matches!(nothing, Err(WireError::NoStream { .. })), "{nothing:?}");
    assert_eq!(
        LogRoom::ask(&nats.wire).await?.max_bytes,
        None,
        "neither the log of a test has a limit nor its account"
    );
    Ok(())
}
