//! An event whose clock is ahead is parked; once its time has come it is as good as any.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use insights::Clock;
use jetstream::Which;
use testkit::history::{History, Random};
use testkit::wait;

use crate::service::{DEADLINE, Service};
use crate::shop::{KEYS, Ran, adledger, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_from_the_future_is_folded_when_its_time_has_come() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let mut history = History::random(&mut Random::new(5));
    history.insert_tenants(&database.pool).await?;
    let answer = &mut history.answers[0];
    // Two minutes ahead are allowed; these are some seconds more.
    answer.fetched_at = Clock::System.now() + Duration::from_secs(124);
    answer.publish(&nats.wire).await?;
    let command = |arguments: &[&str]| {
        let mut command = adledger(arguments);
        command.env("DATABASE_URL", &database.url).env("NATS_URL", &nats.url).env("ADLEDGER_SECRET_KEYS", KEYS);
        command
    };
    let mut raw = Service::start(command(&["serve", "--role", "raw"]))?;
    let mut project = Service::start(command(&["serve", "--role", "project"]))?;
    let letters = nats.wire.dead_letters().await?;
    wait::until("it is parked", DEADLINE, async || Ok(letters.count(&Which::default()).await? == 1)).await?;
    let letter = letters.next(&Which::default(), 1).await?.context("it is parked")?;
    let reason = letter.reason.context("it says why")?;
    assert!(letter.consumer == projector::DURABLE && reason.contains("more than 2 minutes after"), "{reason}");

    let folded = async || -> Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from observations").fetch_one(&database.pool).await?)
    };
    let retries = AtomicU32::new(0);
    wait::until("its time has come", DEADLINE, async || {
        let ran = run(command(&["dead-letters", "retry", "--all"]), None).await?;
        ensure!(ran.code == 0, "{ran:?}");
        retries.fetch_add(1, Ordering::Relaxed);
        // Until then, it is parked anew.
        wait::until("it is folded or parked", DEADLINE, async || {
            Ok(folded().await? == 1 || letters.count(&Which::default()).await? == 1)
        })
        .await?;
        Ok(folded().await? == 1)
    })
    .await?;
    ensure!(retries.into_inner() > 1, "it was too early once more");
    assert_eq!(letters.count(&Which::default()).await?, 0);

    // Both logs still hold the copy that was too early, and a replay knows better.
    let date = history.answers[0].date.to_string();
    for from in ["stream", "raw"] {
        let Ran { code, stdout, stderr } =
            run(command(&["replay", "--since", &date, "--until", &date, "--from", from]), None).await?;
        assert!(
            code == 0 && stdout.contains("Folded 1 event ") && !stderr.contains("cannot be folded"),
            "{from}: {stdout} {stderr}"
        );
        assert_eq!(folded().await?, 1);
    }
    raw.end().await?;
    project.end().await
}
