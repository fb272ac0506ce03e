//! How fast a replay is, held against what PostgreSQL can do at best: COPY of the same rows, encoded beforehand, into a
//! table with the same columns and keys. `cargo bench -p projector --bench replay`
//!
//! Real PostgreSQL, a fresh database a run, five runs of each phase in turns, so that what disturbs the machine disturbs
//! them alike. Every run is checked: all rows, and the exact sum of spend, in each table. No time is asserted.

mod phase;
mod workload;

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, Table, presets};
use phase::{Figures, Phase};
use projections::{AdAccounts, Folds};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::io::AsyncWriteExt;
use workload::{AD_ACCOUNTS, ADS, Generation, Weight, days, events, rows};

const RUNS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().context("a number is needed");
    let mut runs = RUNS;
    match arguments[..] {
        ["measure", phase, days] => {
            workload::set_days(number(days)?);
            return child(phase).await;
        }
        [] => {}
        ["--days", days] => workload::set_days(number(days)?),
        ["--days", days, "--runs", wanted] => {
            workload::set_days(number(days)?);
            runs = usize::try_from(number(wanted)?)?;
        }
        _ => bail!("arguments are --days N, or --days N --runs N"),
    }
    let server = Server::start().await?;
    let weight = server.prepare().await?;
    let mut all: Vec<(Phase, Vec<Figures>)> = Phase::ALL.map(|phase| (phase, Vec::new())).into();
    for run in 1..=runs {
        for (phase, figures) in &mut all {
            eprintln!("run {run} of {runs}: {}", phase.name());
            figures.push(server.run(*phase, weight.spend_cents).await?);
        }
    }
    report(&server, &weight, &all).await
}

/// The other side of [`Server::run`]: the database's URL comes on standard input, the figures go to standard output.
async fn child(name: &str) -> Result<()> {
    let phase = Phase::ALL.into_iter().find(|phase| phase.name() == name).context("no such phase")?;
    let url = std::io::read_to_string(std::io::stdin())?;
    println!("{}", serde_json::to_string(&phase::measure(phase, url.trim()).await?)?);
    Ok(())
}

/// The PostgreSQL of this benchmark, and the databases from which each run's own is made.
struct Server {
    /// Without a database's name.
    url: String,
}

impl Server {
    async fn start() -> Result<Self> {
        let database = testkit::database().await?;
        database.pool.close().await;
        let (url, name) = database.url.rsplit_once('/').context("the URL names a database")?;
        let server = Server { url: url.to_owned() };
        server.sql(&format!("alter database {name} rename to {}", template(Phase::ReplayEmpty))).await?;
        Ok(server)
    }

    fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }

    async fn sql(&self, statement: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Makes a database a phase. The raw log of each holds the newer answers.
    async fn prepare(&self) -> Result<Weight> {
        eprintln!("preparing {} rows", rows());
        let empty = PgPool::connect(&self.url(template(Phase::ReplayEmpty))).await?;
        workload::insert_tenant(&empty).await?;
        let mut all = Weight::default();
        for number in 0..events() {
            let (event, weight) = workload::event(number, Generation::Newer, Generation::Newer)?;
            workload::append(&empty, number + 1, &event).await?;
            all.spend_cents += weight.spend_cents;
            all.row_bytes += weight.row_bytes;
            all.payload_bytes += weight.payload_bytes;
        }
        self.settle(empty).await?;
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::ReplayEmpty) {
            self.clone_database(template(Phase::ReplayEmpty), template(phase)).await?;
            let pool = PgPool::connect(&self.url(template(phase))).await?;
            match phase {
                Phase::Copy => {
                    phase::replay(&pool).await?;
                    let table = "create table copy_baseline (like fact_meta_daily including all)";
                    sqlx::query(table).execute(&pool).await?;
                }
                // Other numbers under the ids of the log's own events: what a wrong fold of the same log would leave.
                Phase::ReplayFilled => fill(&pool, Generation::Newer).await?,
                Phase::LiveFilled => fill(&pool, Generation::Older).await?,
                Phase::ReplayUnchanged | Phase::Rebuild | Phase::AsOf => {
                    phase::replay(&pool).await?;
                }
                Phase::ReplayEmpty => {}
            }
            self.settle(pool).await?;
        }
        Ok(all)
    }

    /// Leaves a database as one is that has been there for a while.
    async fn settle(&self, pool: PgPool) -> Result<()> {
        sqlx::query("vacuum analyze").execute(&pool).await?;
        pool.close().await;
        Ok(())
    }

    async fn clone_database(&self, from: &str, to: &str) -> Result<()> {
        self.sql(&format!("drop database if exists {to} with (force)")).await?;
        self.sql(&format!("create database {to} template {from}")).await?;
        self.sql("checkpoint").await
    }

    /// Runs a phase once, on a database of its own and in a process of its own, and checks what it wrote.
    async fn run(&self, phase: Phase, spend_cents: i64) -> Result<Figures> {
        self.clone_database(template(phase), "run").await?;
        let mut process = tokio::process::Command::new(std::env::current_exe()?)
            .args(["measure", phase.name(), &days().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = process.stdin.take().context("its standard input is piped")?;
        stdin.write_all(self.url("run").as_bytes()).await?;
        drop(stdin);
        let output = process.wait_with_output().await?;
        if !output.status.success() {
            bail!("{}: {}", phase.name(), output.status);
        }
        let pool = PgPool::connect(&self.url("run")).await?;
        check(&pool, phase, spend_cents).await?;
        pool.close().await;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The database that a phase's runs are cloned from.
fn template(phase: Phase) -> &'static str {
    match phase {
        Phase::Copy => "for_copy",
        Phase::ReplayEmpty => "for_replay_empty",
        Phase::ReplayFilled => "for_replay_filled",
        Phase::ReplayUnchanged => "for_replay_unchanged",
        Phase::LiveFilled => "for_live_filled",
        Phase::Rebuild => "for_rebuild",
        Phase::AsOf => "for_as_of",
    }
}

/// Folds the older answers' numbers.
async fn fill(pool: &PgPool, identity: Generation) -> Result<()> {
    let (folds, ad_accounts) = (Folds::default(), AdAccounts::load(pool, None).await?);
    for number in 0..events() {
        let (event, _) = workload::event(number, Generation::Older, identity)?;
        let logged = logs::Logged {
            day: event.day,
            stored_at: event.circumstances.fetched_at,
            circumstances: event.circumstances,
            payload: event.payload.into(),
        };
        let (folded, refused) =
            projector::fold_events(pool, &folds, vec![projector::decode(&logged, &ad_accounts, u64::MAX)?]).await?;
        ensure!(refused.is_empty() && folded.rows == ADS, "{folded:?} {refused:?}");
    }
    Ok(())
}

/// A run that wrote anything else than all rows with all of the newer answers' spend has measured nothing.
async fn check(pool: &PgPool, phase: Phase, spend_cents: i64) -> Result<()> {
    let observed = if phase == Phase::LiveFilled { 2 * events() } else { events() };
    let tables: &[(&str, &str, u64)] = match phase {
        Phase::Copy => &[("copy_baseline", "spend", rows())],
        Phase::Rebuild => &[
            ("rebuild.fact_meta_daily", "spend", rows()),
            ("rebuild.daily_meta_metrics", "spend", events()),
            ("rebuild.daily_summary", "meta_spend", days()),
            ("rebuild.observations", "spend", observed),
        ],
        _ => &[
            ("fact_meta_daily", "spend", rows()),
            ("daily_meta_metrics", "spend", events()),
            ("daily_summary", "meta_spend", days()),
            ("observations", "spend", observed),
        ],
    };
    for (table, column, rows) in tables {
        // Observations stay: those of the older answers too.
        let newer = if table.ends_with("observations") { "where fetched_at = $1" } else { "where $1 is not null" };
        let counted = format!("select count(*), (100 * sum({column}) filter ({newer}))::bigint from {table}");
        let (count, cents): (i64, Option<i64>) = sqlx::query_as(AssertSqlSafe(counted))
            .bind(workload::fetched_at(Generation::Newer))
            .fetch_one(pool)
            .await?;
        ensure!(
            count == i64::try_from(*rows)? && cents == Some(spend_cents),
            "{}: {table} holds {count} rows and {cents:?} cents, not {rows} and {spend_cents}",
            phase.name()
        );
    }
    Ok(())
}

async fn report(server: &Server, weight: &Weight, all: &[(Phase, Vec<Figures>)]) -> Result<()> {
    let mut connection = PgConnection::connect(&server.url("postgres")).await?;
    let (version, fsync, full_page_writes): (String, String, String) = sqlx::query_as(
        "select current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes')",
    )
    .fetch_one(&mut connection)
    .await?;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "",
        "rows/s",
        "slowest - fastest",
        "ratio to COPY",
        "CPU s",
        "CPU s of PostgreSQL",
        "peak RSS, MB",
    ]);
    let rate = |seconds: f64| rows() as f64 / seconds;
    let copy = median(&all[0].1, |figures| figures.seconds);
    for (phase, runs) in all {
        let seconds = median(runs, |figures| figures.seconds);
        let extreme =
            |pick: fn(f64, f64) -> f64| runs.iter().map(|figures| figures.seconds).reduce(pick).unwrap_or(seconds);
        table.add_row([
            phase.name().to_owned(),
            format!("{:.0}", rate(seconds)),
            format!("{:.0} - {:.0}", rate(extreme(f64::max)), rate(extreme(f64::min))),
            format!("{:.2}", copy / seconds),
            format!("{:.2}", median(runs, |figures| figures.cpu_seconds)),
            format!("{:.2}", median(runs, |figures| figures.server_cpu_seconds)),
            format!("{:.1}", median(runs, |figures| figures.peak_rss_bytes as f64) / 1e6),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!(
        "\ncargo bench -p projector --bench replay\n\n\
         {} rows ({AD_ACCOUNTS} ad accounts x {} days x {ADS} ads) in {} events; {} bytes of JSON a row, {} as it travels.\n\
         PostgreSQL {version}, fsync {fsync}, full_page_writes {full_page_writes}; {} processors for both sides. Medians of {} runs.\n\n\
         {table}\n\n\
         COPY alone: the same columns into a table with the same keys; its rows, encoded beforehand, are in its memory.\n\
         Replay: from meta_insights_raw into all four tables; unchanged: every row made anew and compared,
         none written. Live fold: a newer answer for each day, every row another. Rebuild: everything folded into the schema\n\
         rebuild, compared with equal live tables, nothing applied, not verified. As-of: the past of now, one tenant.\n\
         Wanted: a ratio of 0.45 or more into empty tables, 1.0 unchanged and 0.6 for the rebuild, and a peak RSS below 96 MB.",
        rows(),
        days(),
        events(),
        weight.row_bytes as u64 / rows(),
        weight.payload_bytes as u64 / rows(),
        std::thread::available_parallelism()?,
        all[0].1.len(),
    );
    Ok(())
}

fn median(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
