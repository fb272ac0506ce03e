//! The pull loop: what a handler answers, and what it cannot answer yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use jetstream::{BatchLimits, DEAD_LETTERS, Disposition, META_INSIGHTS};
use testkit::Nats;
use testkit::wait::until;
use tokio_util::sync::CancellationToken;

use crate::event::{day, publish};

const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until raw has settled every message, and ends the loop then, or when it is too late.
async fn settled(nats: &Nats, within: Duration, cancel: &CancellationToken) -> Result<()> {
    let done = until("every message is settled", within, || async { nats.is_settled(META_INSIGHTS, "raw").await });
    let outcome = done.await;
    cancel.cancel();
    outcome
}

#[tokio::test]
async fn every_message_is_settled_though_the_world_was_not_ready() -> Result<()> {
    let nats = testkit::nats().await?;
    for id in 1..=40 {
        publish(&nats.wire, id, &day(1)?, id.to_string()).await?;
    }
    let cancel = CancellationToken::new();
    let (calls, retried) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (calls, retried) = (&calls, &retried);
    let limits = BatchLimits { max_messages: 7, ..BatchLimits::default() };
    let consuming = nats.wire.consume(META_INSIGHTS, "raw", limits, &cancel, |messages| async move {
        assert!(!messages.is_empty() && messages.len() <= 7);
        // The database is away twice; the same batch comes again and nothing counts against it.
        if calls.fetch_add(1, Ordering::Relaxed) < 2 {
            return Err(anyhow!("the database is away"));
        }
        Ok(messages
            .iter()
            .map(|message| match message.sequence {
                5 => Disposition::Park { reason: "it is the fifth".to_owned() },
                6 if retried.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Disposition::Retry { after: Duration::from_millis(50) }
                }
                _ => Disposition::Ack,
            })
            .collect())
    });
    let ((), outcome) = tokio::join!(consuming, settled(&nats, DEADLINE, &cancel));
    outcome?;
    assert_eq!(retried.load(Ordering::Relaxed), 2, "the sixth came a second time");
    assert_eq!(nats.wire.log(DEAD_LETTERS).await?.level().await?.messages, 1);
    Ok(())
}

/// Whoever stops asks for messages until then, and the server hands one out at any moment: it is handled still, and does
/// not lie in the air until its time is over.
#[tokio::test]
async fn what_is_on_its_way_to_a_loop_that_ends_is_handled() -> Result<()> {
    const LIVES: u64 = 40;
    let nats = testkit::nats().await?;
    let wire = &nats.wire;
    let live = |cancel: CancellationToken| async move {
        let acknowledge =
            |messages: Vec<_>| async move { Ok::<_, anyhow::Error>(vec![Disposition::Ack; messages.len()]) };
        wire.consume(META_INSIGHTS, "raw", BatchLimits::default(), &cancel, acknowledge).await;
    };
    let ended = CancellationToken::new();
    let publishing = async {
        let mut id = 0;
        while !ended.is_cancelled() {
            id += 1;
            publish(wire, id, &day(1)?, "x".to_owned()).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    let living = async {
        for life in 1..=LIVES {
            let cancel = CancellationToken::new();
            let ending = async {
                tokio::time::sleep(Duration::from_micros(10_000 + 137 * life)).await;
                cancel.cancel();
            };
            tokio::join!(live(cancel.clone()), ending);
        }
        ended.cancel();
    };
    tokio::join!(publishing, living).0?;
    let cancel = CancellationToken::new();
    // Well below the ack_wait.
    let within = Duration::from_secs(10);
    tokio::join!(live(cancel.clone()), settled(&nats, within, &cancel)).1?;
    assert_eq!(wire.log(DEAD_LETTERS).await?.level().await?.messages, 0);
    Ok(())
}

#[tokio::test]
async fn a_loop_without_a_consumer_waits_for_one_and_ends_when_told() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    let cancel = CancellationToken::new();
    let handled = AtomicUsize::new(0);
    let handled = &handled;
    let consuming = nats.wire.consume(META_INSIGHTS, "raw", BatchLimits::default(), &cancel, |messages| async move {
        handled.fetch_add(messages.len(), Ordering::Relaxed);
        Ok::<_, anyhow::Error>(vec![Disposition::Ack; messages.len()])
    });
    let made_late = async {
        let outcome = async {
            jetstream::topology::apply(&nats.wire, &testkit::LIMITS).await?;
            publish(&nats.wire, 1, &day(1)?, "x").await?;
            until("the message is handled", DEADLINE, || async { Ok(handled.load(Ordering::Relaxed) == 1) }).await
        }
        .await;
        cancel.cancel();
        outcome
    };
    let ((), outcome) = tokio::join!(consuming, made_late);
    outcome
}

#[tokio::test]
async fn a_message_that_nobody_comes_to_an_end_with_is_handled_alone_and_then_parked() -> Result<()> {
    let nats = testkit::nats().await?;
    for id in 1..=4 {
        publish(&nats.wire, id, &day(1)?, id.to_string()).await?;
    }
    let cancel = CancellationToken::new();
    let (together, alone) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (together, alone) = (&together, &alone);
    let limits = BatchLimits { handle_within: Duration::from_millis(30), ..BatchLimits::default() };
    let consuming = nats.wire.consume(META_INSIGHTS, "raw", limits, &cancel, |messages| async move {
        if messages.iter().any(|message| message.sequence == 2) {
            let count = if messages.len() == 1 { alone } else { together };
            count.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        Ok::<_, anyhow::Error>(vec![Disposition::Ack; messages.len()])
    });
    let ((), outcome) = tokio::join!(consuming, settled(&nats, DEADLINE, &cancel));
    outcome?;
    let (together, alone) = (together.load(Ordering::Relaxed), alone.load(Ordering::Relaxed));
    // A redelivery may happen to come alone sooner.
    assert!((1..=3).contains(&together) && together + alone == 20, "{together} and {alone}");
    let letters = nats.wire.log(DEAD_LETTERS).await?;
    assert_eq!(letters.level().await?.messages, 1, "its neighbours are handled");
    Ok(())
}
