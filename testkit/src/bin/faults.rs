//! The trial by faults, for as long as wanted: seeded histories of real processes under misfortunes, each judged.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::future::try_join_all;
use testkit::faults::{self, Figures, Kind, Plan, Postgres, Told};

/// Lets histories happen one after the other, and says what was lost, doubled, wrong or stuck.
///
/// The exit code is 0 without a finding and 3 with one.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of the first history; the next ones count on from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many histories.
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    histories: Option<u64>,
    /// For so long; the last history is finished.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// These kinds of misfortune only; may be repeated.
    #[arg(long, value_enum)]
    kind: Vec<Kind>,
    /// The adledger to try; built from this tree unless given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// So many histories at a time, each on servers of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Go on after a finding.
    #[arg(long)]
    keep_going: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("find {}", binary.display()))?,
        None => testkit::build_adledger()?,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/faults");
    faults::remove_abandoned(&root);
    let folder = root.join(std::process::id().to_string());
    std::fs::create_dir_all(&folder)?;
    let trial = Trial {
        until: Instant::now() + Duration::from_secs(arguments.minutes * 60),
        next: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        figures: Mutex::default(),
        arguments,
        binary,
        folder,
    };
    try_join_all((0..trial.arguments.jobs).map(|job| trial.work(job))).await?;
    let figures = trial.figures.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\n{figures}");
    if figures.findings() > 0 {
        return Ok(ExitCode::from(3));
    }
    std::fs::remove_dir_all(&trial.folder)?;
    Ok(ExitCode::SUCCESS)
}

/// What is tried, and what came of it so far.
struct Trial {
    arguments: Arguments,
    binary: PathBuf,
    folder: PathBuf,
    until: Instant,
    next: AtomicU64,
    is_over: AtomicBool,
    figures: Mutex<Figures>,
}

impl Trial {
    /// Takes one seed after the other, until it is over.
    async fn work(&self, job: u64) -> Result<()> {
        let mut postgres = Postgres::start(&self.folder.join(format!("postgres-{job}"))).await?;
        while let Some(seed) = self.next_seed() {
            let kinds = &self.arguments.kind;
            let folder = self.folder.join(format!("h{seed}"));
            let happening =
                faults::happen(Plan::of(seed, kinds), &self.binary, &folder, &mut postgres, async |_, _| Ok(()));
            let told = happening.await.with_context(|| format!("the history of seed {seed}"))?;
            say(&told, kinds);
            self.figures.lock().unwrap_or_else(PoisonError::into_inner).add(&told);
            if !told.findings.is_empty() && !self.arguments.keep_going {
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
        postgres.end().await;
        Ok(())
    }

    fn next_seed(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let wanted =
            self.arguments.histories.map_or_else(|| Instant::now() < self.until, |histories| number < histories);
        (wanted && !self.is_over.load(Ordering::Relaxed)).then(|| self.arguments.seed + number)
    }
}

fn say(told: &Told, kinds: &[Kind]) {
    let plan = &told.plan;
    let topology = match (plan.nodes, plan.small_disk) {
        (1, false) => "1 server",
        (1, true) => "1 server, small disk",
        _ => "cluster of 3",
    };
    let patient = if plan.is_patient { ", patient" } else { "" };
    println!(
        "seed {}: {topology}, {} processes{patient}; {} faults, {} events; {:.1} s, at rest after {:.1} s: {}",
        plan.seed,
        plan.roles.len(),
        told.injected.len(),
        told.events,
        told.lasted.as_secs_f64(),
        told.rested_after.as_secs_f64(),
        if told.is_void { "void, the day changed".to_owned() } else { format!("{} findings", told.findings.len()) },
    );
    if told.findings.is_empty() {
        return;
    }
    for injected in &told.injected {
        println!("    {}: {}", injected.kind.as_str(), injected.what);
    }
    for finding in &told.findings {
        println!("    FINDING {finding}");
    }
    if let Some(folder) = &told.folder {
        println!("    logs are in {}", folder.display());
    }
    let kinds: String = kinds.iter().map(|kind| format!(" --kind {}", kind.name())).collect();
    println!("    again: cargo run -p testkit --bin faults -- --seed {} --histories 1{kinds}", plan.seed);
}
