//! `kill -9` where it hurts most: a projector between commit and ack, a fetcher between publish and cursor.
//!
//! The process that dies is this test binary, run again for one ignored test; it kills itself at the very step.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use accounts::KeyRing;
use anyhow::{Context, Result, ensure};
use insights::source::Asked;
use insights::{Clock, Fetcher, Shared, Sources};
use jetstream::{BatchLimits, META_INSIGHTS, Wire};
use meta_api::{ClientConfig, MetaApi};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use projections::Folds;
use projector::Projector;
use sqlx::PgPool;
use testkit::wait;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::shop::{KEYS, Shop, days_ago};
use crate::tables;

const DEADLINE: Duration = Duration::from_secs(60);

fn die() {
    // The kernel ends this process here; nothing after this line runs.
    let _ = kill(Pid::this(), Signal::SIGKILL);
}

fn projector(pool: PgPool, wire: Wire, dies: bool) -> Projector {
    Projector {
        pool,
        wire,
        folds: Folds::default(),
        limits: BatchLimits { max_messages: 3, ..BatchLimits::default() },
        max_event_bytes: 1 << 24,
        observe: Arc::new(move |_| {
            if dies {
                die()
            }
        }),
    }
}

fn fetcher(pool: PgPool, wire: Wire, graph_url: &str, dies: bool) -> Result<Fetcher> {
    rustls::crypto::ring::default_provider().install_default().ok();
    Ok(Fetcher {
        pool,
        wire,
        sources: Sources {
            meta: Some(MetaApi::new(ClientConfig { base_url: graph_url.into(), ..ClientConfig::default() })?),
        },
        keys: KeyRing::parse(&KEYS.to_owned().into())?,
        app: None,
        clock: Clock::System,
        asked: Asked::default(),
        lease: Duration::from_secs(1),
        max_backoff: Duration::from_secs(1),
        shared: Shared::default(),
        observe: Arc::new(move |_| {
            if dies {
                die()
            }
        }),
    })
}

/// Runs one of the ignored tests below in a process of its own, and sees it killed.
async fn see_killed(role: &str, shop: &Shop) -> Result<()> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--exact", &format!("crash::dying_{role}"), "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let urls = format!("{}\n{}\n{}\n", shop.database.url, shop.nats.url, shop.graph.url());
    child.stdin.take().context("a pipe was asked for")?.write_all(urls.as_bytes()).await?;
    let status = tokio::time::timeout(DEADLINE, child.wait()).await??;
    ensure!(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "it was to be killed: {status}");
    Ok(())
}

/// The URLs that the parent wrote.
async fn urls() -> Result<(PgPool, Wire, String)> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let mut lines = text.lines();
    let mut next = || lines.next().context("the parent writes three URLs");
    let (database, nats, graph) = (next()?, next()?, next()?);
    Ok((PgPool::connect(database).await?, Wire::connect(nats, None, "dying").await?, graph.to_owned()))
}

#[tokio::test]
#[ignore = "run by the tests below, in a process that dies"]
async fn dying_projector() -> Result<()> {
    let (pool, wire, _) = urls().await?;
    projector(pool, wire, true).run(&CancellationToken::new()).await;
    Ok(())
}

#[tokio::test]
#[ignore = "run by the tests below, in a process that dies"]
async fn dying_fetcher() -> Result<()> {
    let (pool, wire, graph) = urls().await?;
    fetcher(pool, wire, &graph, true)?.run(&CancellationToken::new()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_killed_between_commit_and_ack_folds_nothing_twice() -> Result<()> {
    let shop = Shop::open().await?;
    let (pool, wire) = (shop.database.pool.clone(), shop.nats.wire.clone());
    let cancel = CancellationToken::new();
    runs::enqueue(&pool, shop.integration_id, runs::JobType::SevenDayFill, "test", None).await?;
    fetcher(pool.clone(), wire.clone(), shop.graph.url(), false)?.run_once(None, &cancel).await?;
    // Twice, each time with the next batch committed.
    see_killed("projector", &shop).await?;
    see_killed("projector", &shop).await?;
    let folded: i64 = sqlx::query_scalar("select count(*) from observations").fetch_one(&pool).await?;
    assert!((1..7).contains(&folded), "{folded} of 7 events were committed before the kills");
    let lag = wire.lag(META_INSIGHTS, projector::DURABLE).await?;
    assert!(lag.in_flight > 0, "what was committed was not acknowledged: {lag:?}");
    let before = tables::numbers(&pool).await?;

    // What the dead held is redelivered when their time to acknowledge is over; a server that is told to gives it back
    // now.
    shop.nats.redeliver(META_INSIGHTS, projector::DURABLE).await?;
    let survivor = projector(pool.clone(), wire.clone(), false);
    let stop = cancel.clone();
    let working = tokio::spawn(async move { survivor.run(&stop).await });
    wait::until("every event is acknowledged", DEADLINE, async || {
        shop.nats.is_settled(META_INSIGHTS, projector::DURABLE).await
    })
    .await?;
    cancel.cancel();
    working.await?;
    let after = tables::numbers(&pool).await?;
    assert!(before.iter().filter(|row| after.contains(row)).count() == before.len(), "folded days stayed as they were");
    let observations: i64 = sqlx::query_scalar("select count(*) from observations").fetch_one(&pool).await?;
    assert_eq!(observations, 7);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetcher_killed_between_publish_and_cursor_loses_and_doubles_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let (pool, wire) = (shop.database.pool.clone(), shop.nats.wire.clone());
    let run = runs::enqueue(&pool, shop.integration_id, runs::JobType::SevenDayFill, "test", None).await?;
    see_killed("fetcher", &shop).await?;
    // It published one day and wrote nothing down.
    assert_eq!(wire.log(META_INSIGHTS).await?.level().await?.messages, 1);
    assert_eq!(runs::run(&pool, run.run_id).await?.context("it is there")?.days_done, 0);
    assert_eq!(shop.cursor().await?, None);
    // The second takes the run over when the lease is out, and dies alike.
    see_killed("fetcher", &shop).await?;
    assert_eq!(wire.log(META_INSIGHTS).await?.level().await?.messages, 2);

    let cancel = CancellationToken::new();
    let survivor = fetcher(pool.clone(), wire.clone(), shop.graph.url(), false)?;
    wait::until("the run is through", DEADLINE, async || {
        survivor.run_once(None, &cancel).await?;
        Ok(runs::run(&pool, run.run_id).await?.is_some_and(|run| run.is_finished()))
    })
    .await?;
    let done = runs::run(&pool, run.run_id).await?.context("it is there")?;
    assert_eq!((done.status.as_str(), done.days_done, done.attempts), ("succeeded", 7, 3), "{done:?}");
    assert_eq!(shop.cursor().await?, Some(days_ago(1)));
    // Nine events, seven days: the two that nobody wrote down are older versions of the same day.
    assert_eq!(wire.log(META_INSIGHTS).await?.level().await?.messages, 9);
    let (stop, projector) = (cancel.clone(), projector(pool.clone(), wire.clone(), false));
    let working = tokio::spawn(async move { projector.run(&stop).await });
    wait::until("every event is folded", DEADLINE, async || {
        let folded: i64 = sqlx::query_scalar("select count(*) from observations").fetch_one(&pool).await?;
        Ok(folded == 9)
    })
    .await?;
    cancel.cancel();
    working.await?;
    shop.check_sums(days_ago(7), days_ago(1)).await
}
