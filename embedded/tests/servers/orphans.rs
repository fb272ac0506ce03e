//! No server outlives its parent, however the parent ends; and the next start finds what was written.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use embedded::{Servers, running};
use nix::sys::signal::Signal;
use testkit::wait::until;

use crate::folder::{DEADLINE, ask, both, greeting, tell};
use crate::parent::Parent;

/// The command lines of processes that name the folder or work in it. A zombie has neither.
pub fn processes_of(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.canonicalize()?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let process = entry?.path();
        // A process may end while it is looked at.
        let Ok(line) = std::fs::read(process.join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let works_in = std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
        if works_in || line.contains(&*folder.to_string_lossy()) {
            found.push(line);
        }
    }
    Ok(found)
}

async fn nothing_left(folder: &Path) -> Result<()> {
    let gone = until("no process is left", DEADLINE, || async { Ok(processes_of(folder)?.is_empty()) }).await;
    gone.with_context(|| format!("left behind: {:?}", processes_of(folder)))
}

#[tokio::test]
async fn children_end_with_a_parent_that_is_killed() -> Result<()> {
    // Not by SIGHUP, which whoever started the tests may have told all his children to ignore.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let folder = tempfile::tempdir()?;
        let parent = Parent::start("both", folder.path()).await?;
        let processes = processes_of(folder.path())?;
        for server in ["nats-server", "postgres"] {
            assert!(processes.iter().any(|line| line.contains(server)), "{server} is not among {processes:?}");
        }
        parent.end_by(signal).await?;
        nothing_left(folder.path()).await.with_context(|| format!("after {signal}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn children_end_with_a_parent_that_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let parent = Parent::start("both", folder.path()).await?;
    parent.stop_politely().await?;
    assert_eq!(processes_of(folder.path())?, Vec::<String>::new(), "stopping waits for the servers");
    let log = std::fs::read_to_string(folder.path().join("postgres/postgres.log"))?;
    assert!(log.contains("database system is shut down"), "PostgreSQL was not stopped in order: {log}");
    Ok(())
}

#[tokio::test]
async fn a_parent_killed_while_it_starts_leaves_nothing_either() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let parent = Parent::begin("both", folder.path()).await?;
    let making = || async { Ok(processes_of(folder.path())?.iter().any(|line| line.contains("initdb"))) };
    until("the cluster is being made", DEADLINE, making).await?;
    parent.end_by(Signal::SIGKILL).await?;
    nothing_left(folder.path()).await
}

#[tokio::test]
async fn a_start_right_after_a_kill_recovers_what_was_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let parent = Parent::start("both", folder.path()).await?;
    let before = running(folder.path()).context("it runs")?;
    let url = before.database_url.context("PostgreSQL runs")?;
    tell(&url, "create table kept (n int); insert into kept select generate_series(1, 10000)").await?;
    parent.end_by(Signal::SIGKILL).await?;
    // The old servers may be on their way out still.
    let started = tokio::time::Instant::now();
    let servers = Servers::start(both(folder.path())).await?;
    assert!(started.elapsed() < Duration::from_secs(40), "recovery took {:?}", started.elapsed());
    let url = servers.database_url().context("PostgreSQL runs")?;
    assert_eq!(ask(url, "select sum(n)::text from kept").await?, "50005000");
    assert!(greeting(servers.nats_url().context("nats-server runs")?).await?.starts_with("INFO"));
    assert_eq!(running(folder.path()).map(|running| running.pid), Some(std::process::id()));
    servers.stop().await;
    nothing_left(folder.path()).await
}

#[tokio::test]
async fn killing_again_and_again_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for round in 0..4 {
        let parent = Parent::start("postgres", folder.path()).await?;
        let url = running(folder.path()).and_then(|running| running.database_url).context("PostgreSQL runs")?;
        tell(&url, "create table if not exists kept (n int); insert into kept values (1)").await?;
        assert_eq!(ask(&url, "select count(*)::text from kept").await?, (round + 1).to_string());
        parent.end_by(Signal::SIGKILL).await?;
    }
    nothing_left(folder.path()).await
}
