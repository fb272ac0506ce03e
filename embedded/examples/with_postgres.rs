//! `cargo run -p embedded --example with_postgres -- FOLDER COMMAND…`: runs a command with `DATABASE_URL` naming an
//! embedded PostgreSQL in that folder, and ends as the command did. `.ci/prepare` checks the queries with it.

use std::path::PathBuf;
use std::process::ExitCode;

use embedded::{Options, Servers};

#[tokio::main]
#[expect(
    clippy::disallowed_methods,
    reason = "a program of the development's own: the cache and the PATH are the user's"
)]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(command)) = (arguments.next(), arguments.next()) else {
        return Err("usage: with_postgres FOLDER COMMAND [ARGUMENT…]".into());
    };
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let servers = Servers::start(Options {
        data_dir: folder.into(),
        nats: false,
        postgres: true,
        nats_config: String::new(),
        postgres_settings: vec![("fsync".into(), "off".into())],
        cache_dir: cache.join("adledger").join("servers"),
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        progress: |line| eprintln!("{line}"),
    })
    .await?;
    let url = servers.database_url().ok_or("PostgreSQL was asked for")?;
    let status = tokio::process::Command::new(command).args(arguments).env("DATABASE_URL", url).status().await?;
    servers.stop().await;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
