//! What a start that was broken off leaves behind does not stop the next one.

use std::path::Path;

use anyhow::{Context, Result};
use embedded::Servers;
use nix::sys::signal::Signal;
use testkit::wait::until;

use crate::folder::{DEADLINE, ask, both, postgres};
use crate::parent::Parent;

async fn works(folder: &Path) -> Result<()> {
    let servers = Servers::start(postgres(folder)).await?;
    let url = servers.database_url().context("PostgreSQL runs")?;
    assert_eq!(ask(url, "select 'yes'").await?, "yes");
    servers.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_cluster_left_half_made_is_made_anew() -> Result<()> {
    for left in ["postgres/cluster.new", "postgres/cluster"] {
        let folder = tempfile::tempdir()?;
        let half = folder.path().join(left);
        std::fs::create_dir_all(half.join("base/1"))?;
        std::fs::write(half.join("postgresql.conf"), "half a li")?;
        works(folder.path()).await.with_context(|| left.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_start_right_after_a_kill_during_initdb_makes_the_cluster() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let parent = Parent::begin("postgres", folder.path()).await?;
    let place = folder.path().join("postgres");
    until("the cluster is being made", DEADLINE, || async {
        let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
        Ok(entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("cluster")))
    })
    .await?;
    parent.end_by(Signal::SIGKILL).await?;
    works(folder.path()).await?;
    let left = std::fs::read_dir(&place)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let left: Vec<String> = left.collect::<Result<_>>()?;
    assert!(!left.iter().any(|name| name.contains("new")), "scraps are left: {left:?}");
    Ok(())
}

#[tokio::test]
async fn stale_notes_of_servers_that_are_gone_are_no_obstacle() -> Result<()> {
    let folder = tempfile::tempdir()?;
    Servers::start(both(folder.path())).await?.stop().await;
    // Process ids that others have by now: this very test's, and the first process's.
    for stranger in [std::process::id(), 1] {
        let started_at = 1_700_000_000;
        let cluster = folder.path().join("postgres/cluster");
        let note = format!("{stranger}\n{}\n{started_at}\n5432\n\n127.0.0.1\n", cluster.display());
        std::fs::write(cluster.join("postmaster.pid"), note)?;
        std::fs::write(folder.path().join("nats/nats.pid"), stranger.to_string())?;
        std::fs::write(folder.path().join("servers.json"), "{\"pid\":")?;
        Servers::start(both(folder.path())).await?.stop().await;
    }
    Ok(())
}
