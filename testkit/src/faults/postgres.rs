use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use embedded::Servers;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::proxy::{Proxy, port_of, with_port};
use crate::servers::options;
use crate::wait;

/// A PostgreSQL of the histories' own, one after the other, behind a proxy whose port stays when the server is restarted.
pub struct Postgres {
    pub proxy: Proxy,
    data_dir: PathBuf,
    servers: Option<Servers>,
    /// The server itself, past the proxy.
    url: String,
    template: Option<String>,
}

const ENDS_WITHIN: Duration = Duration::from_secs(20);

impl Postgres {
    pub async fn start(data_dir: &Path) -> Result<Postgres> {
        let proxy = Proxy::to(0).await?;
        let mut postgres =
            Postgres { proxy, data_dir: data_dir.to_owned(), servers: None, url: String::new(), template: None };
        postgres.come_up().await?;
        let mut connection = PgConnection::connect(&postgres.url).await?;
        sqlx::raw_sql("create database migrated").execute(&mut connection).await?;
        let mut template = PgConnection::connect(&postgres.direct("migrated")).await?;
        migrations::MIGRATOR.run_direct(None, &mut template, false).await?;
        super::steps::install(&mut template).await?;
        template.close().await?;
        postgres.template = Some("migrated".to_owned());
        Ok(postgres)
    }

    async fn come_up(&mut self) -> Result<()> {
        let mut options = options(&self.data_dir);
        options.postgres = true;
        // These histories end processes, never the machine: what PostgreSQL acknowledged survives without fsync.
        let settings = [("fsync", "off"), ("full_page_writes", "off"), ("shared_buffers", "32MB")];
        options.postgres_settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let servers = Servers::start(options).await?;
        self.url = servers.database_url().context("PostgreSQL was asked for")?.to_owned();
        self.proxy.aim(port_of(&self.url)?);
        self.servers = Some(servers);
        Ok(())
    }

    /// A fresh database with the tables and the gates.
    pub async fn database(&self, name: &str) -> Result<()> {
        let template = self.template.as_deref().context("the template was made")?;
        let mut connection = PgConnection::connect(&self.url).await?;
        let create = format!("create database {name} template {template}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// The URL of a database past the proxy; another one after each restart.
    pub fn direct(&self, name: &str) -> String {
        self.url.replace("/adledger", &format!("/{name}")).replace(&format!("//{name}:"), "//adledger:")
    }

    /// The URL of a database through the proxy.
    pub fn proxied(&self, name: &str) -> String {
        with_port(&self.direct(name), self.proxy.port)
    }

    pub async fn end(self) {
        if let Some(servers) = self.servers {
            servers.stop().await;
        }
    }

    /// `pg_ctl stop -m immediate` and a start: the server's processes quit where they are, and the next ones recover.
    pub async fn restart(&mut self, down_for: Duration) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let folder: String =
            sqlx::query_scalar("select current_setting('data_directory')").fetch_one(&mut connection).await?;
        let lock = std::fs::read_to_string(Path::new(&folder).join("postmaster.pid"))?;
        let pid: i32 = lock.lines().next().context("the file names the process")?.trim().parse()?;
        kill(Pid::from_raw(pid), Signal::SIGQUIT)?;
        drop(connection);
        let servers = self.servers.take().context("it ran")?;
        wait::until("PostgreSQL has ended", ENDS_WITHIN, async || Ok(servers.ended().is_some())).await?;
        servers.stop().await;
        tokio::time::sleep(down_for).await;
        self.come_up().await
    }
}
