//! A server that will not start says why, and soon: nobody waits for one that has ended already.

use std::time::Duration;

use anyhow::{Context, Result};
use embedded::{Error, Options, Servers, running};

use crate::folder::postgres;

async fn refusal(options: Options) -> Result<String> {
    let folder = options.data_dir.clone();
    let started = Servers::start(options);
    let outcome =
        tokio::time::timeout(Duration::from_secs(30), started).await.context("a server that ended is waited for")?;
    let error = outcome.err().context("it must not start")?;
    assert!(matches!(error, Error::Start { .. }), "{error:?}");
    assert!(running(&folder).is_none(), "the folder is free again");
    Ok(error.to_string())
}

#[tokio::test]
async fn nats_server_with_a_broken_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nats_config = "no_such_option: 7".to_owned();
    let text = refusal(Options { nats: true, nats_config, ..testkit::options(folder.path()) }).await?;
    assert!(text.contains("nats-server") && text.contains("no_such_option"), "{text}");
    Ok(())
}

#[tokio::test]
async fn postgres_with_a_setting_that_is_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let postgres_settings = vec![("no_such_setting".to_owned(), "7".to_owned())];
    let text = refusal(Options { postgres_settings, ..postgres(folder.path()) }).await?;
    assert!(text.contains("PostgreSQL") && text.contains("no_such_setting"), "{text}");
    Servers::start(postgres(folder.path())).await?.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder")?;
    let error = Servers::start(postgres(&file.join("data"))).await.err().context("a file is no folder")?;
    assert!(matches!(error, Error::Folder { .. }) && error.to_string().contains("file/data"), "{error}");
    Ok(())
}
