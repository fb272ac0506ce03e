//! The trial by faults in short: a few seeds that have every kind of misfortune in them, and the judge put to the test.
//!
//! For as long as wanted: `cargo run -p testkit --bin faults -- --seed N --minutes M`.

mod damage;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use testkit::faults::{self, Kind, Plan, Postgres, Told};

const BINARY: &str = env!("CARGO_BIN_EXE_adledger");

/// Where a test's histories live while they happen. PostgreSQL's user must be able to reach it.
fn folder(test: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    faults::remove_abandoned(&root);
    root.join(std::process::id().to_string()).join(test)
}

/// Lets the plan happen; a finding fails the test, and says the seed.
async fn check(test: &str, plan: Plan) -> Result<Told> {
    let folder = folder(test);
    let mut postgres = Postgres::start(&folder.join("postgres")).await?;
    let seed = plan.seed;
    let history = folder.join("history");
    let told = faults::happen(plan, Path::new(BINARY), &history, &mut postgres, async |_, _| Ok(()));
    let told = told.await?;
    postgres.end().await;
    println!(
        "seed {seed}: {} faults, {} events, at rest after {:?}",
        told.injected.len(),
        told.events,
        told.rested_after
    );
    ensure!(told.findings.is_empty(), "seed {seed}, {:?}: {:#?}", told.injected, told.findings);
    std::fs::remove_dir_all(&folder)?;
    Ok(told)
}

/// A history in which each of these kinds really befell, or was left out because this machine does not permit it.
async fn check_kinds(test: &str, kinds: &[Kind]) -> Result<()> {
    let told = check(test, Plan::with(kinds)).await?;
    for kind in kinds {
        let befell = told.injected.iter().any(|injected| injected.kind == *kind);
        ensure!(befell, "seed {} has no {}", told.plan.seed, kind.as_str());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_and_stopped_at_their_steps() -> Result<()> {
    check_kinds("processes", &[Kind::Kill, Kind::Stop]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_quits_and_connections_are_half_open() -> Result<()> {
    check_kinds("postgres", &[Kind::Postgres, Kind::HalfOpen]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_server_is_killed_and_connections_are_cut() -> Result<()> {
    check_kinds("nats", &[Kind::Nats, Kind::Cut]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() -> Result<()> {
    check_kinds("disk", &[Kind::DiskFull]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_of_a_cluster_is_killed() -> Result<()> {
    check_kinds("leader", &[Kind::Leader]).await
}
