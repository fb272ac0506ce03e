//! The demo on embedded servers: today, again, and on a later day.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Days, NaiveDate, Utc};
use embedded::{Options, Servers};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rust_decimal::Decimal;
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::shop::{adledger, run};
use crate::tables;

/// Runs the demo in a folder, its clock at an instant, and looks into its database with `look`.
async fn demo<T>(data_dir: &Path, now: DateTime<Utc>, look: impl AsyncFn(&PgPool) -> Result<T>) -> Result<T> {
    let mut command = adledger(&["demo", "--exit", "--data-dir", &data_dir.to_string_lossy()]);
    command.env("ADLEDGER_STUB_NOW", now.to_rfc3339());
    let ran = run(command, None).await?;
    ensure!(ran.code == 0 && ran.stdout.contains("35 days"), "{ran:?}");
    let servers = Servers::start(Options { postgres: true, ..testkit::options(data_dir) }).await?;
    let pool = PgPool::connect(servers.database_url().context("PostgreSQL was asked for")?).await?;
    let found = look(&pool).await;
    pool.close().await;
    servers.stop().await;
    found
}

struct Day {
    date: NaiveDate,
    spend: Decimal,
    purchases: Decimal,
    coverage: Decimal,
}

async fn days(pool: &PgPool) -> Result<Vec<Day>> {
    let rows: Vec<(NaiveDate, Decimal, Option<Decimal>, Decimal)> =
        sqlx::query_as("select date, spend, purchases, coverage from daily_meta_metrics order by date")
            .fetch_all(pool)
            .await?;
    let day = |(date, spend, purchases, coverage): (_, _, Option<Decimal>, _)| Day {
        date,
        spend,
        purchases: purchases.unwrap_or_default(),
        coverage,
    };
    Ok(rows.into_iter().map(day).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_later_day_the_demo_changes_what_the_stubs_curve_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("ledger");
    let now: DateTime<Utc> = "2026-11-12T15:00:00Z".parse()?;
    let both = async |pool: &PgPool| Ok((days(pool).await?, tables::numbers(pool).await?));
    let (first, numbers) = demo(&data_dir, now, both).await?;
    assert_eq!(first.len(), 35);
    // What was archived before it was fetched is not counted; the last days still have everything.
    assert!(first[0].coverage < Decimal::ONE && first[34].coverage == Decimal::ONE);

    let (_, again) = demo(&data_dir, now + chrono::Duration::hours(3), both).await?;
    assert_eq!(again, numbers, "the same local date");

    let (later, _) = demo(&data_dir, now + chrono::Duration::days(3), both).await?;
    assert_eq!(later.len(), 38);
    let refilled = first[34].date - Days::new(3);
    let (mut matured, mut grown) = (0, Decimal::ZERO);
    for (before, after) in first.iter().zip(&later) {
        assert_eq!((before.date, before.spend), (after.date, after.spend), "spend is final");
        if before.date < refilled {
            assert_eq!(before.purchases, after.purchases, "{} was not asked for again", before.date);
        } else {
            matured += 1;
            grown += after.purchases - before.purchases;
            assert!(after.purchases >= before.purchases, "{}: conversions only arrive", before.date);
        }
    }
    assert!(matured == 4 && grown > Decimal::ZERO, "{matured} days, {grown} purchases more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_starts_its_own_servers_and_others_find_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("ledger").to_string_lossy().into_owned();
    let ran = run(adledger(&["demo", "--exit", "--data-dir", &data_dir]), None).await?;
    ensure!(ran.code == 0, "{ran:?}");
    assert!(
        ran.stdout.contains("meta_insights_raw 35 events") && ran.stdout.contains("daily_summary 35 rows"),
        "{}",
        ran.stdout
    );
    // A command on the folder afterwards starts the servers again and finds what was left.
    let runs = run(adledger(&["runs", "--json", "--data-dir", &data_dir]), None).await?;
    let runs: serde_json::Value = serde_json::from_str(&runs.stdout)?;
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs}");
    let doctor = run(adledger(&["doctor", "--data-dir", &data_dir]), None).await?;
    assert_eq!(doctor.code, 0, "{doctor:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serving_demo_owns_its_folder_and_commands_join_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().to_string_lossy().into_owned();
    let mut first = adledger(&["demo", "--data-dir", &data_dir])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = first.id().context("it runs")?;
    let mut lines = BufReader::new(first.stdout.take().context("a pipe was asked for")?).lines();
    let serving = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("Serving until Ctrl-C") {
                return Ok(());
            }
        }
        anyhow::bail!("it ended before it served")
    };
    tokio::time::timeout(Duration::from_secs(120), serving).await??;

    let second = run(adledger(&["demo", "--exit", "--data-dir", &data_dir]), None).await?;
    assert!(second.code == 1 && second.stderr.contains(&format!("in use by process {pid}")), "{second:?}");
    let status = run(adledger(&["status", "--json", "--data-dir", &data_dir]), None).await?;
    let status: serde_json::Value = serde_json::from_str(&status.stdout)?;
    let integration = status["integrations"][0]["integration_id"].as_str().context("the demo's")?.to_owned();
    // The serving process works on it, or this one does: in both cases the stub answers, with the folder's own key.
    let sync = ["sync", "--integration", &integration, "--job", "meta_fresh", "--wait", "--data-dir", &data_dir];
    let synced = run(adledger(&sync), None).await?;
    assert_eq!(synced.code, 0, "{synced:?}");

    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let status = tokio::time::timeout(Duration::from_secs(60), first.wait()).await??;
    assert!(status.success(), "{status}");
    assert!(embedded::running(folder.path()).is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_server_dies_ends_and_says_which() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().to_string_lossy().into_owned();
    let mut command = adledger(&["serve", "--data-dir", &data_dir]);
    command.env("ADLEDGER_SECRET_KEYS", crate::shop::KEYS).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut serving = command.spawn()?;
    let mut lines = BufReader::new(serving.stderr.take().context("a pipe was asked for")?).lines();
    let (mut said, deadline) = (String::new(), tokio::time::Instant::now() + Duration::from_secs(120));
    while let Some(line) = tokio::time::timeout_at(deadline, lines.next_line()).await?? {
        if line.ends_with(": serving") {
            let pid: i32 = std::fs::read_to_string(folder.path().join("nats").join("nats.pid"))?.trim().parse()?;
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        }
        said = format!("{said}{line}\n");
    }
    let status = serving.wait().await?;
    assert!(
        status.code() == Some(1) && said.contains("nats-server has ended, and nobody stopped it"),
        "{status} {said}"
    );
    Ok(())
}
