//! What is measured: each phase in a process of its own, so that its peak memory is its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use events::subject::AccountDay;
use futures_util::TryStreamExt;
use logs::{Logged, Range, Source};
use nix::sys::resource::{UsageWho, getrusage};
use projections::{AdAccounts, Folds, Snapshot};
use projector::replay::Replay;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use testkit::history::first_day;

use crate::workload::{self, rows};

/// As `adledger replay` has it by default.
const ROWS_A_TRANSACTION: usize = 10_000;
/// As in the binary.
const MAX_EVENT_BYTES: u64 = 160 << 20;
/// As the fold hands its rows to the server.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// PostgreSQL alone: the fold's columns into a table like the fold's, from memory.
    Copy,
    /// `adledger replay --from raw` into empty tables.
    ReplayEmpty,
    /// The same into tables that hold other numbers in every row, as after a bug or a change of rules.
    ReplayFilled,
    /// The same into tables that hold what the log says: every row is made anew and compared, and none is written.
    ReplayUnchanged,
    /// A newer answer for every day, folded as live traffic is: one batch after the other.
    LiveFilled,
    /// `adledger rebuild --from raw` beside equal live tables, but for its verification.
    Rebuild,
    /// `adledger as-of now --from raw` of the whole range.
    AsOf,
}

impl Phase {
    pub const ALL: [Phase; 7] = [
        Phase::Copy,
        Phase::ReplayEmpty,
        Phase::ReplayFilled,
        Phase::ReplayUnchanged,
        Phase::LiveFilled,
        Phase::Rebuild,
        Phase::AsOf,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Copy => "COPY alone",
            Phase::ReplayEmpty => "replay, empty tables",
            Phase::ReplayFilled => "replay, filled tables",
            Phase::ReplayUnchanged => "replay, unchanged",
            Phase::LiveFilled => "live fold, filled tables",
            Phase::Rebuild => "rebuild, equal tables",
            Phase::AsOf => "as-of now",
        }
    }
}

/// One run's figures.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Figures {
    pub seconds: f64,
    /// Of the phase's own process.
    pub cpu_seconds: f64,
    /// Of its PostgreSQL sessions.
    pub server_cpu_seconds: f64,
    pub peak_rss_bytes: u64,
}

/// Runs a phase once, in this process.
pub async fn measure(phase: Phase, url: &str) -> Result<Figures> {
    let options: PgConnectOptions = url.parse()?;
    let port = options.get_port();
    // As the binary's pool has it.
    let pool = PgPoolOptions::new().max_connections(12).after_connect(move |_, _| {
        Box::pin(async move {
            projector::send_at_once(port);
            Ok(())
        })
    });
    let pool = pool.connect_with(options).await?;
    // What is encoded before the clock starts.
    let encoded = match phase {
        Phase::Copy => Some(encoded_facts(&pool).await?),
        _ => None,
    };
    let (cpu_before, server_cpu_before) = (cpu()?, server_cpu(&pool).await?);
    let started = Instant::now();
    match encoded {
        Some(rows) => copy(&pool, &rows).await?,
        None if phase == Phase::LiveFilled => live(&pool).await?,
        None if phase == Phase::Rebuild => rebuild(&pool).await?,
        None if phase == Phase::AsOf => as_of(&pool).await?,
        None => {
            let changed = replay(&pool).await?;
            ensure!((changed == 0) == (phase == Phase::ReplayUnchanged), "{changed} days changed");
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Figures {
        seconds,
        cpu_seconds: (cpu()? - cpu_before).as_secs_f64(),
        server_cpu_seconds: (server_cpu(&pool).await? - server_cpu_before).as_secs_f64(),
        peak_rss_bytes: peak_rss_bytes()?,
    })
}

fn folds_of(pool: &PgPool) -> Replay {
    Replay {
        rows_a_transaction: ROWS_A_TRANSACTION,
        max_event_bytes: MAX_EVENT_BYTES,
        ..Replay::new(pool.clone(), Source::Raw(pool.clone()))
    }
}

/// The product's replay of the whole range from the raw log: read, decompress, decode, compare, fold, commit. How many
/// days it changed.
pub async fn replay(pool: &PgPool) -> Result<usize> {
    let range = Range { account_id: None, ad_account_id: None, since: first_day(), until: workload::last_day() };
    let report = folds_of(pool).run(&range, |_| {}).await?;
    ensure!(report.left.is_empty() && report.not_folded.is_empty() && report.rows == rows(), "{report:?}");
    Ok(report.days_changed)
}

async fn rebuild(pool: &PgPool) -> Result<()> {
    let rebuild = projector::rebuild::Rebuild {
        pool: pool.clone(),
        logs: Source::Raw(pool.clone()).into(),
        workers: 2,
        rows_a_transaction: ROWS_A_TRANSACTION,
        max_event_bytes: MAX_EVENT_BYTES,
    };
    let mut rebuilt = rebuild.load(|_| {}).await?;
    rebuilt.catch_up().await?;
    let applied = rebuilt.apply(|_| {}).await?;
    ensure!(rebuilt.loaded.rows == rows() && applied.days == 0, "{:?} {applied:?}", rebuilt.loaded);
    rebuilt.close().await;
    Ok(())
}

async fn as_of(pool: &PgPool) -> Result<()> {
    let as_of = projector::as_of::AsOf {
        at: None,
        rule: projector::as_of::Rule::Today,
        range: Range { account_id: None, ad_account_id: None, since: first_day(), until: workload::last_day() },
        logs: Source::Raw(pool.clone()).into(),
        session: (*pool.connect_options()).clone(),
        max_event_bytes: MAX_EVENT_BYTES,
    };
    let mut past = as_of.fold(|_, _| {}).await?;
    let days = past.summary().await?;
    let same = "select count(*) from public.daily_summary s join pg_temp.daily_summary p using (account_id, date)
                where s.meta_spend = p.meta_spend and s.meta_purchase_value = p.meta_purchase_value";
    let same: i64 = sqlx::query_scalar(same).fetch_one(past.session()).await?;
    ensure!(
        days.len() as u64 == workload::days() && same.cast_unsigned() == workload::days(),
        "{same} days are the same"
    );
    Ok(())
}

/// The raw log's events of the newer answer, through the fold of live traffic. The log stands in for the stream here.
async fn live(pool: &PgPool) -> Result<()> {
    let (folds, ad_accounts) = (Folds::default(), AdAccounts::load(pool, None).await?);
    let mut days = raw::days(
        pool,
        &raw::Range { since: Some(first_day()), until: Some(workload::last_day()), ..raw::Range::default() },
    )
    .await?;
    days.sort();
    let (mut batch, mut rows) = (Vec::new(), 0);
    for (at, day) in days.iter().enumerate() {
        let mut events = std::pin::pin!(raw::entries_of_day(pool, *day));
        while let Some((_, recorded)) = events.try_next().await? {
            let snapshot = decode(*day, recorded?, &ad_accounts)?;
            rows += snapshot.rows.len();
            batch.push(snapshot);
        }
        if rows >= ROWS_A_TRANSACTION || at + 1 == days.len() {
            let (_, refused) = projector::fold_events(pool, &folds, std::mem::take(&mut batch)).await?;
            ensure!(refused.is_empty(), "{refused:?}");
            rows = 0;
        }
    }
    Ok(())
}

fn decode(day: AccountDay, recorded: raw::Recorded, ad_accounts: &AdAccounts) -> Result<Snapshot> {
    let raw::Recorded { circumstances, stored_at, payload } = recorded;
    let logged = Logged { day, circumstances, stored_at, payload };
    Ok(projector::decode(&logged, ad_accounts, MAX_EVENT_BYTES)?)
}

/// The folded rows as COPY text: what the fold sends, its columns and its order.
async fn encoded_facts(pool: &PgPool) -> Result<Vec<u8>> {
    let mut connection = pool.acquire().await?;
    let mut rows = Vec::new();
    let mut out = connection.copy_out_raw("copy fact_meta_daily to stdout").await?;
    while let Some(chunk) = out.try_next().await? {
        rows.extend_from_slice(&chunk);
    }
    Ok(rows)
}

/// One COPY in one transaction.
async fn copy(pool: &PgPool, rows: &[u8]) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let mut copy = connection.copy_in_raw("copy copy_baseline from stdin").await?;
    for chunk in rows.chunks(CHUNK_BYTES) {
        copy.send(chunk).await?;
    }
    ensure!(copy.finish().await? == workload::rows(), "COPY wrote another number of rows");
    Ok(())
}

fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    Ok(Duration::from_micros((micros(usage.user_time()) + micros(usage.system_time())).try_into()?))
}

/// Of all sessions of this database: they end with this process, so none is missed.
async fn server_cpu(pool: &PgPool) -> Result<Duration> {
    let sessions: Vec<i32> = sqlx::query_scalar("select pid from pg_stat_activity where datname = current_database()")
        .fetch_all(pool)
        .await?;
    let mut ticks = 0;
    for pid in sessions {
        // A worker of the server's own may have ended since.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // Past the name in brackets, utime and stime are the 12th and 13th field.
        let fields = stat.rsplit_once(')').context("/proc/PID/stat has no name")?.1.split_whitespace();
        ticks += fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    }
    // Linux counts these in hundredths of a second on every architecture.
    Ok(Duration::from_millis(ticks * 10))
}

fn peak_rss_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
