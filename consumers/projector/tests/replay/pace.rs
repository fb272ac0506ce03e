//! A replay that gives live traffic its turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jetstream::BatchLimits;
use projections::Folds;
use projector::Projector;
use projector::replay::{Lag, Pace, Replay};
use testkit::wait;
use tokio_util::sync::CancellationToken;

use crate::house::{House, MAX_EVENT_BYTES, everything};

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_while_live_traffic_is_behind() -> Result<()> {
    let (house, nats) = (House::open(7).await?, testkit::nats().await?);
    let mut later = house.history.answers.first().context("an answer")?.clone();
    later.event_id = uuid::Uuid::from_u128(0xe4d);
    later.fetched_at += chrono::Duration::days(1);
    later.publish(&nats.wire).await?;
    let lag = Some(Lag { wire: nats.wire.clone(), most: Duration::from_millis(200) });
    wait::until("the event is old", DEADLINE, async || {
        let lag = nats.wire.lag(jetstream::META_INSIGHTS, projector::DURABLE).await?;
        Ok(lag.oldest_age.is_some_and(|age| age > Duration::from_millis(300)))
    })
    .await?;
    let replay = Replay { pace: Pace { lag, ..Pace::default() }, ..house.replay() };
    let said: Mutex<Option<String>> = Mutex::default();
    let ended = AtomicBool::new(false);
    let cancel = CancellationToken::new();
    let replaying = async {
        let report = replay
            .run(&everything(), |report| {
                if let Some(waiting) = &report.waiting {
                    *said.lock().expect("no panic") = Some(waiting.clone());
                }
            })
            .await;
        ended.store(true, Ordering::SeqCst);
        report
    };
    let folding = async {
        wait::until("it says what it waits for", DEADLINE, async || Ok(said.lock().expect("no panic").is_some()))
            .await?;
        ensure!(!ended.load(Ordering::SeqCst), "it did not wait");
        let projector = Projector {
            pool: house.pool().clone(),
            wire: nats.wire.clone(),
            folds: Folds::default(),
            limits: BatchLimits::default(),
            max_event_bytes: MAX_EVENT_BYTES,
            observe: Arc::new(|_| {}),
        };
        tokio::spawn({
            let cancel = cancel.clone();
            async move { projector.run(&cancel).await }
        });
        Ok(())
    };
    let (report, folding) = tokio::join!(replaying, folding);
    folding?;
    cancel.cancel();
    let report = report?;
    ensure!(report.days == report.days_total && report.waiting.is_none(), "{report:?}");
    let said = said.lock().expect("no panic").clone().context("it said so")?;
    ensure!(said.starts_with("waiting: live traffic is "), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_makes_no_more_rows_a_second_than_it_may() -> Result<()> {
    let house = House::open(7).await?;
    let rows = house.replay().run(&everything(), |_| {}).await?.rows;
    let pace = Pace { rows_a_second: Some(rows), ..Pace::default() };
    let begun = Instant::now();
    let report = Replay { pace, rows_a_transaction: 1, ..house.replay() }.run(&everything(), |_| {}).await?;
    // All but the last transaction are paid for with time.
    let (took, least) = (begun.elapsed(), Duration::from_millis(600));
    ensure!(report.rows == rows && took >= least, "{rows} rows in {took:?}");
    Ok(())
}
