//! The trial of manners: how politely, and how completely, many ad accounts are fetched from a Meta at its worst.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use testkit::graph::Faults;
use testkit::manners::{self, Plan};

/// Backfills many ad accounts of a fake Meta that throttles and fails, with several processes at once, and prints what it
/// took.
///
/// The exit code is 0 when every day is complete to the cent with at most 1.15 calls for each one that was needed and none
/// during a block whose end was told; otherwise it is 1.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many ad accounts: mostly small ones, a sixth with 1,500 to 4,000 ads, one whose pages must be small, and one whose
    /// days must be reports.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=500))]
    ad_accounts: u64,
    /// How many days of each.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    days: u64,
    /// Nothing goes wrong: the shares below are 0, and no process is ended.
    #[arg(long)]
    no_faults: bool,
    /// The same seed and the same number of a call have the same misfortune.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of calls that are throttled: every kind, with each hint of its end, or none.
    #[arg(long, default_value_t = 0.10, value_parser = share)]
    throttles: f64,
    /// How long a throttle blocks its ad account or its app.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    block_seconds: u32,
    /// Share of answers with HTTP 5xx.
    #[arg(long, default_value_t = 0.02, value_parser = share)]
    server_errors: f64,
    /// Share of answers whose connection ends in their middle.
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    cut_bodies: f64,
    /// Share of reports that fail, are skipped, get stuck, expire, or are called completed too early.
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    bad_reports: f64,
    /// How many `adledger serve` share the work.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
    processes: u64,
    /// How often one of them is ended outright (SIGKILL) and started again.
    #[arg(long, default_value_t = 1)]
    kills: usize,
    /// `META_MAX_BACKOFF_SECONDS` of the processes.
    #[arg(long, default_value_t = 5)]
    max_backoff_seconds: u64,
    /// How long it may take.
    #[arg(long, default_value_t = 30)]
    within_minutes: u64,
    /// The adledger to try; built from this tree unless given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Prints what `adledger runs` said in the middle.
    #[arg(long)]
    meanwhile: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("find {}", binary.display()))?,
        None => testkit::build_adledger()?,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/manners");
    testkit::faults::remove_abandoned(&root);
    let folder = root.join(std::process::id().to_string());
    let plan = arguments.plan();
    println!("{} ad accounts with ads: {}", plan.ad_accounts, plan.sizes());
    println!("META_MAX_BACKOFF_SECONDS={}, blocks of {} s\n", plan.max_backoff_seconds, plan.faults.block_seconds);
    let told = manners::happen(&plan, &binary, &folder).await?;
    println!("{told}");
    if arguments.meanwhile {
        println!("In the middle, `adledger runs` said:\n\n{}", told.meanwhile);
    }
    if told.findings.is_empty() {
        std::fs::remove_dir_all(&folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    for finding in &told.findings {
        println!("FINDING {finding}");
    }
    println!("logs are in {}", folder.display());
    Ok(ExitCode::FAILURE)
}

impl Arguments {
    fn plan(&self) -> Plan {
        let of = |share: f64| if self.no_faults { 0.0 } else { share };
        Plan {
            ad_accounts: self.ad_accounts,
            days: self.days,
            faults: Faults {
                seed: self.seed,
                throttles: of(self.throttles),
                server_errors: of(self.server_errors),
                cut_bodies: of(self.cut_bodies),
                reports: of(self.bad_reports),
                block_seconds: self.block_seconds,
                ..Faults::default()
            },
            processes: usize::try_from(self.processes).unwrap_or(1),
            kills: if self.no_faults { 0 } else { self.kills },
            max_backoff_seconds: self.max_backoff_seconds,
            report_stuck_seconds: 10,
            lease_seconds: 5,
            within: Duration::from_secs(self.within_minutes * 60),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a share is from 0 to 1".to_owned())
}
