//! As root, PostgreSQL runs under another user: also where that user cannot reach the data folder.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use embedded::{Error, Servers, running};

use crate::folder::{ask, postgres, tell};

/// Whether this process is root; else says that a test is passed over.
fn root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("{test} is passed over: it is about running as root");
    }
    root
}

/// Where the cluster went, if not into the data folder. Removed at the end, for no data folder's end removes it.
struct Elsewhere(PathBuf);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let Ok(name) = std::fs::read_to_string(self.0.join("postgres.location")) else { return };
        for base in ["/var/lib/adledger", "/var/tmp/adledger"] {
            let _ = std::fs::remove_dir_all(Path::new(base).join(name.trim()));
        }
    }
}

#[tokio::test]
async fn a_data_folder_that_only_root_can_reach_works_or_is_refused_in_a_sentence() -> Result<()> {
    if !root("a data folder that only root can reach") {
        return Ok(());
    }
    let private = tempfile::tempdir()?;
    std::fs::set_permissions(private.path(), std::fs::Permissions::from_mode(0o700))?;
    let data_dir = private.path().join("data");
    let _elsewhere = Elsewhere(data_dir.clone());
    let servers = match Servers::start(postgres(&data_dir)).await {
        Ok(servers) => servers,
        Err(error) => {
            assert!(matches!(error, Error::Start { .. }) && error.to_string().contains("ordinary user"), "{error}");
            return Ok(());
        }
    };
    tell(servers.database_url().context("it runs")?, "create table kept as select 1 as n").await?;
    servers.stop().await;
    // The second start finds the cluster where the first one put it.
    let servers = Servers::start(postgres(&data_dir)).await?;
    assert_eq!(ask(servers.database_url().context("it runs")?, "select n::text from kept").await?, "1");
    servers.stop().await;
    let mode = std::fs::metadata(private.path())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "a folder that is not ours keeps its mode");
    Ok(())
}

#[tokio::test]
async fn postgres_is_not_root_and_its_secrets_are() -> Result<()> {
    if !root("PostgreSQL's user") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let servers = Servers::start(postgres(folder.path())).await?;
    assert!(running(folder.path()).is_some());
    let cluster = std::fs::metadata(folder.path().join("postgres/cluster"))?;
    assert_ne!(cluster.uid(), 0);
    assert_eq!(cluster.mode() & 0o077, 0);
    let password = std::fs::metadata(folder.path().join("postgres.password"))?;
    assert_eq!((password.uid(), password.mode() & 0o077), (0, 0));
    servers.stop().await;
    Ok(())
}
