//! How fast answers of Meta's become tables: HTTP, stream, raw log and three folded tables, by the binary as it is shipped.
//! `cargo bench --bench ingest`
//!
//! The servers are the embedded ones with the settings they always have: what PostgreSQL and the stream acknowledge is on
//! the disk. The fake Graph API is a process of its own whose pages are rendered before the clock starts. Every run has a
//! fresh database and a fresh nats-server, and is checked: rows, days, and the exact sums of each table, against what the
//! fake says they are. No time is asserted.
//!
//! - *large*: 5 ad accounts x 30 days x 1,000 ads. The five backfills wait in `sync_runs`; the clock runs from the start of
//!   one `adledger serve` until every day is in the raw log and in all tables.
//! - *small*: 1 x 7 x 200, from the start of `adledger sync --job meta_7d_fill --wait` to its end.
//!
//! `-- --runs N` repeats N times, `-- --large` and `-- --small` leave the other out, `-- --explain` adds a run of each of
//! which it prints where its time went, and `-- --binary PATH` measures another build than this one.

mod explain;
mod fake;
mod report;
mod run;
mod stage;
mod usage;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fake::Fake;
use run::{Figures, Job};
use stage::Stage;

const RUNS: usize = 3;

/// What the command line says.
struct Arguments {
    runs: usize,
    jobs: Vec<Job>,
    explains: bool,
    binary: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some(fake::ARGUMENT) {
        return fake::serve().await;
    }
    let arguments = Arguments::read()?;
    let fake = Fake::start().await?;
    let stage = Stage::set(&fake, arguments.binary).await?;
    let mut all: Vec<(Job, Vec<Figures>)> = arguments.jobs.iter().map(|job| (*job, Vec::new())).collect();
    // The first of each renders the fake's pages and counts for nothing.
    for run in 0..=arguments.runs {
        for (job, figures) in &mut all {
            let measured = run::measure(*job, &stage, &fake, None).await?;
            eprintln!("{} {run} of {}: {measured}", job.name(), arguments.runs);
            if run > 0 {
                figures.push(measured);
            }
        }
    }
    report::print(&stage, &all).await?;
    if arguments.explains {
        for job in &arguments.jobs {
            explain::explain(*job, &stage, &fake).await?;
        }
    }
    stage.strike().await;
    Ok(())
}

impl Arguments {
    fn read() -> Result<Self> {
        let binary = env!("CARGO_BIN_EXE_adledger").into();
        let mut arguments = Arguments { runs: RUNS, jobs: Job::ALL.to_vec(), explains: false, binary };
        let mut given = std::env::args().skip(1);
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--runs" => {
                    let number = given.next().context("--runs needs a number")?;
                    arguments.runs = number.parse().context("--runs needs a number")?;
                }
                "--large" => arguments.jobs = vec![Job::Large],
                "--small" => arguments.jobs = vec![Job::Small],
                "--binary" => arguments.binary = given.next().context("--binary needs a path")?.into(),
                "--explain" => arguments.explains = true,
                // Cargo says that this is a benchmark.
                "--bench" => {}
                other => anyhow::bail!("{other} is not known: --runs N, --large, --small, --explain, --binary PATH"),
            }
        }
        ensure!(arguments.runs > 0, "--runs must be 1 or more");
        Ok(arguments)
    }
}
