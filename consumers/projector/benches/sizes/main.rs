//! How much memory a process needs that publishes, appends and folds account-days of 20,000 ads with long names: the peak of
//! its resident set, as the kernel keeps it. `cargo bench -p projector --bench sizes`
//!
//! Real servers, and a process of its own for each line, so that none inherits another's heap. Each run is checked: all rows,
//! and the exact sum of spend. Exit code 1 where a peak is above [`MOST_MB`], or above the one day's by more than a tenth.

mod workload;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use jetstream::{BatchLimits, META_INSIGHTS, Wire};
use projections::Folds;
use projector::Projector;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use testkit::Nats;
use tokio_util::sync::CancellationToken;
use workload::{Load, Script};

/// What publishing, appending and folding may take together.
const MOST_MB: u64 = 150;
/// How long a run may take.
const WITHIN: Duration = Duration::from_secs(1800);

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    database_url: String,
    nats_url: String,
    roles: Vec<String>,
    ad_accounts: u64,
    days: u64,
    ads: u64,
    escaped: bool,
}

/// What it took.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    before_mb: u64,
    peak_mb: u64,
    seconds: f64,
    data_mb: u64,
    payload_mb: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().map(String::as_str) == Some("measure") {
        let task = serde_json::from_str(&std::io::read_to_string(std::io::stdin())?)?;
        println!("{}", serde_json::to_string(&measure(task).await?)?);
        return Ok(());
    }
    // cargo bench … -- ADS DAYS AD_ACCOUNTS ROLES latin|escaped
    if let [ads, days, ad_accounts, roles, script] = &arguments[..] {
        let load = Load {
            ad_accounts: ad_accounts.parse()?,
            days: days.parse()?,
            ads: ads.parse()?,
            script: if script == "escaped" { Script::Escaped } else { Script::Latin },
        };
        println!("{:?}", run(&testkit::nats_by_default().await?, load, &roles.split(',').collect::<Vec<_>>()).await?);
        return Ok(());
    }
    let all = ["publish", "raw", "project"];
    let day = Load { ad_accounts: 1, days: 1, ads: 20_000, script: Script::Latin };
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>9}",
        "20,000 ads a day, names of 400 characters", "JSON", "payload", "peak", "time"
    );
    let mut peaks = Vec::new();
    for (what, limit, load) in [
        ("one day, max_payload 8 MB", "8MB", day),
        ("one day, max_payload 1 MiB", "1MiB", day),
        ("ten days", "1MiB", Load { days: 10, ..day }),
        ("ten ad accounts", "1MiB", Load { ad_accounts: 10, ..day }),
        ("one day, names in escapes", "1MiB", Load { script: Script::Escaped, ..day }),
        ("one day of 1,000 ads", "1MiB", Load { ads: 1000, ..day }),
        ("a hundred days of 1,000 ads", "1MiB", Load { days: 100, ads: 1000, ..day }),
    ] {
        let nats = if limit == "8MB" { testkit::nats().await? } else { testkit::nats_by_default().await? };
        let figures = run(&nats, load, &all).await?;
        println!(
            "{what:<44} {:>6} MB {:>6.1} MB {:>6} MB {:>7.1} s",
            figures.data_mb, figures.payload_mb, figures.peak_mb, figures.seconds
        );
        peaks.push(figures.peak_mb);
    }
    ensure!(peaks.iter().all(|peak| *peak <= MOST_MB), "a peak is above {MOST_MB} MB");
    let tenth = |one: u64, ten: u64| ten * 10 <= one * 11;
    ensure!(tenth(peaks[1], peaks[2]) && tenth(peaks[1], peaks[3]), "ten times the days or ad accounts need more");
    Ok(())
}

/// Runs a load in a process of its own, and checks what is in the tables then.
async fn run(nats: &Nats, load: Load, roles: &[&str]) -> Result<Figures> {
    let database = testkit::database().await?;
    workload::insert_tenant(&database.pool, load.ad_accounts).await?;
    let task = Task {
        database_url: database.url.clone(),
        nats_url: nats.url.clone(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ad_accounts: load.ad_accounts,
        days: load.days,
        ads: load.ads,
        escaped: load.script == Script::Escaped,
    };
    let figures = in_a_process(&task).await?;
    if roles.contains(&"project") {
        let (rows, spend): (i64, String) =
            sqlx::query_as("select count(*), coalesce(sum(spend), 0)::text from fact_meta_daily")
                .fetch_one(&database.pool)
                .await?;
        let events = load.ad_accounts * load.days;
        ensure!(rows == i64::try_from(events * load.ads)?, "{rows} rows");
        ensure!(spend == format!("{}.00", events * load.ads * 3), "{spend} spent");
    }
    Ok(figures)
}

async fn in_a_process(task: &Task) -> Result<Figures> {
    use tokio::io::AsyncWriteExt;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    // As the program sets it for itself: blocks from 128 kB on go back to the system.
    command.env("MALLOC_MMAP_THRESHOLD_", "131072");
    let mut child = command.arg("measure").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(&serde_json::to_vec(task)?).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "the process ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

async fn measure(task: Task) -> Result<Figures> {
    let pool = PgPoolOptions::new().max_connections(10).connect(&task.database_url).await?;
    let wire = Wire::connect(&task.nats_url, None, "test").await?;
    let (before, started, cancel) = (status_mb("VmRSS")?, tokio::time::Instant::now(), CancellationToken::new());
    let plays = |role: &str| task.roles.iter().any(|played| played == role);
    let mut tasks = tokio::task::JoinSet::new();
    if plays("raw") {
        let (pool, wire, cancel) = (pool.clone(), wire.clone(), cancel.clone());
        tasks.spawn(async move { raw::run(&pool, &wire, BatchLimits::default(), &cancel).await });
    }
    if plays("project") {
        let (projector, cancel) = (projector(&pool, &wire), cancel.clone());
        tasks.spawn(async move { projector.run(&cancel).await });
    }
    let load = Load {
        ad_accounts: task.ad_accounts,
        days: task.days,
        ads: task.ads,
        script: if task.escaped { Script::Escaped } else { Script::Latin },
    };
    let (mut data_bytes, mut payload_bytes) = (0, 0);
    for (ad_account, date) in load.events().filter(|_| plays("publish")) {
        // As a fetcher does while it holds a large day.
        let room = wire.room(load.ads * 600).await;
        let event = tokio::task::spawn_blocking(move || load.event(ad_account, date)).await??;
        data_bytes += event.circumstances.uncompressed_bytes.unwrap_or_default();
        payload_bytes += event.payload.len();
        let attributes = event.attributes()?;
        wire.publish(&event.day.subject(), &attributes, Bytes::from(event.payload)).await?;
        drop(room);
    }
    for (role, durable) in [("raw", raw::DURABLE), ("project", projector::DURABLE)] {
        while plays(role) {
            let lag = wire.lag(META_INSIGHTS, durable).await?;
            if (lag.gap, lag.in_flight) == (0, 0) {
                break;
            }
            ensure!(started.elapsed() < WITHIN, "{role} does not come to an end: {lag:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    cancel.cancel();
    while tasks.join_next().await.is_some() {}
    Ok(Figures {
        before_mb: before,
        peak_mb: status_mb("VmHWM")?,
        seconds,
        data_mb: u64::try_from(data_bytes)? >> 20,
        payload_mb: payload_bytes as f64 / f64::from(1 << 20),
    })
}

fn projector(pool: &PgPool, wire: &Wire) -> Projector {
    Projector {
        pool: pool.clone(),
        wire: wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits::default(),
        max_event_bytes: projector::MAX_EVENT_BYTES,
        observe: Arc::new(|_| {}),
    }
}

/// A line of what the kernel says of this process, in MB.
fn status_mb(line: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    Ok(found.with_context(|| format!("{line} is not said"))?.parse::<u64>()?.div_ceil(1024))
}
