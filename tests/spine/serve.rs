//! The service: it works on what is queued, and ends in order when it is told to.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::wait;

use crate::shop::{Shop, days_ago};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_runs_are_worked_on_by_roles_in_processes_of_their_own() -> Result<()> {
    let shop = Shop::open().await?;
    let mut roles = Vec::new();
    for role in ["fetch", "raw", "project", "project"] {
        let mut command = shop.command(&["serve", "--role", role]);
        roles.push(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    }
    let integration = shop.integration_id.to_string();
    let queued = shop.done(&["sync", "--integration", &integration, "--job", "meta_7d_fill"]).await?;
    assert!(queued.stdout.contains("is queued"), "{queued:?}");
    wait::until("the fill is in the tables", Duration::from_secs(60), async || {
        Ok(shop.check_sums(days_ago(7), days_ago(1)).await.is_ok())
    })
    .await?;
    for role in &mut roles {
        let pid = i32::try_from(role.id().context("it runs")?)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let status = tokio::time::timeout(Duration::from_secs(30), role.wait()).await??;
        assert!(status.success(), "{status}");
    }
    Ok(())
}
