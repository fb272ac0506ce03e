//! The servers, and databases in which everything is connected and nothing fetched yet.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use embedded::Servers;
use insights::Clock;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::fake::{CURRENCY, Fake, TOKEN, ZONE};
use crate::run::Job;
use crate::usage;

const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TEMPLATE: &str = "connected";

pub struct Stage {
    postgres: Servers,
    pub postgres_pid: u32,
    folder: TempDir,
    /// Of each job's ad accounts, in their order.
    integrations: Vec<(Job, Vec<String>)>,
    graph_url: String,
    binary: PathBuf,
}

/// What one run has for itself.
pub struct Scene {
    pub pool: PgPool,
    pub database_url: String,
    nats: Servers,
    pub nats_url: String,
    pub nats_pid: u32,
    folder: TempDir,
}

impl Stage {
    /// Starts PostgreSQL and connects the ad accounts of all jobs, each job's to a tenant of its own.
    pub async fn set(fake: &Fake, binary: PathBuf) -> Result<Stage> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut options = testkit::options(folder.path());
        options.postgres = true;
        let postgres = Servers::start(options).await?;
        let postgres_pid = usage::child_named("postgres", &[])?;
        let graph_url = fake.url.clone();
        let mut stage = Stage { postgres, postgres_pid, folder, integrations: Vec::new(), graph_url, binary };
        stage.sql(&format!("create database {TEMPLATE}")).await?;
        let url = stage.url(TEMPLATE)?;
        stage.adledger(&url, None, &["migrate"], None).await?;
        for job in Job::ALL {
            let tenant = ["account", "create", "--name", job.name(), "--currency", CURRENCY, "--timezone", ZONE.name()];
            let account = stage.adledger(&url, None, &tenant, None).await?;
            let mut integrations = Vec::new();
            for id in job.ad_accounts() {
                let connect = ["connect", "--account", &account, "--ad-account", &id, "--token-stdin"];
                integrations.push(stage.adledger(&url, None, &connect, Some(TOKEN)).await?);
            }
            stage.integrations.push((job, integrations));
        }
        let pool = PgPool::connect(&url).await?;
        // What follows from a connection and from a new day would be further runs: it is as if they had been.
        sqlx::query("delete from outbox").execute(&pool).await?;
        sqlx::query(
            "insert into daily_jobs (account_id, integration_id, job_type, last_date)
             select account_id, id, 'meta_settle', $1 from integrations",
        )
        .bind(Clock::System.today(ZONE) + chrono::Days::new(1))
        .execute(&pool)
        .await?;
        sqlx::query("vacuum analyze").execute(&pool).await?;
        pool.close().await;
        Ok(stage)
    }

    pub fn integrations(&self, job: Job) -> &[String] {
        self.integrations.iter().find(|(of, _)| *of == job).map_or(&[], |(_, ids)| ids)
    }

    /// A fresh database and a fresh nats-server.
    pub async fn scene(&self) -> Result<Scene> {
        self.sql("drop database if exists run with (force)").await?;
        self.sql(&format!("create database run template {TEMPLATE}")).await?;
        // What the runs before have left to be written is not this one's.
        self.sql("checkpoint").await?;
        let database_url = self.url("run")?;
        let folder = tempfile::tempdir_in(self.folder.path())?;
        let mut options = testkit::options(folder.path());
        options.nats = true;
        let nats = Servers::start(options).await?;
        let nats_pid = usage::child_named("nats-server", &[])?;
        let nats_url = nats.nats_url().context("nats-server was asked for")?.to_owned();
        self.adledger(&database_url, Some(&nats_url), &["streams", "apply"], None).await?;
        let pool = PgPool::connect(&database_url).await?;
        Ok(Scene { pool, database_url, nats, nats_url, nats_pid, folder })
    }

    /// The binary, in an environment of nothing but these settings.
    pub fn command(&self, database_url: &str, nats_url: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().kill_on_drop(true).current_dir(self.folder.path());
        command
            .env("DATABASE_URL", database_url)
            .env("META_API_BASE_URL", &self.graph_url)
            .env("ADLEDGER_SECRET_KEYS", KEYS)
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("HOME", self.folder.path())
            .envs(nats_url.map(|url| ("NATS_URL", url)));
        command
    }

    /// Runs a command of the binary that must go well, and returns what it printed.
    pub async fn adledger(
        &self,
        database_url: &str,
        nats_url: Option<&str>,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Result<String> {
        let mut command = self.command(database_url, nats_url, arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = process.stdin.take().context("its standard input is piped")?;
        stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
        drop(stdin);
        let output = process.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "adledger {arguments:?}: {}: {errors}", output.status);
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Of PostgreSQL, everything that it logs.
    pub async fn postgres_log(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.url("postgres")?).await?;
        let cluster: String = sqlx::query_scalar("show data_directory").fetch_one(&mut connection).await?;
        let log: PathBuf = Path::new(&cluster).with_file_name("postgres.log");
        Ok(String::from_utf8_lossy(&std::fs::read(&log)?).into_owned())
    }

    pub async fn sql(&self, statement: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url("postgres")?).await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    fn url(&self, database: &str) -> Result<String> {
        let url = self.postgres.database_url().context("PostgreSQL was asked for")?;
        let (server, _) = url.rsplit_once('/').context("the URL names a database")?;
        Ok(format!("{server}/{database}"))
    }

    /// What the figures depend on, in words.
    pub async fn settings(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.url("postgres")?).await?;
        let asked = ["server_version", "fsync", "synchronous_commit", "full_page_writes"];
        let (version, fsync, synchronous_commit, full_page_writes): (String, String, String, String) =
            sqlx::query_as("select current_setting($1), current_setting($2), current_setting($3), current_setting($4)")
                .bind(asked[0])
                .bind(asked[1])
                .bind(asked[2])
                .bind(asked[3])
                .fetch_one(&mut connection)
                .await?;
        Ok(format!(
            "PostgreSQL {version} with fsync {fsync}, synchronous_commit {synchronous_commit}, full_page_writes \
             {full_page_writes}; nats-server with sync_interval always; {} processors for all. Medians.",
            std::thread::available_parallelism()?
        ))
    }

    pub async fn strike(self) {
        self.postgres.stop().await;
    }
}

impl Scene {
    pub async fn end(self) {
        self.pool.close().await;
        self.nats.stop().await;
        drop(self.folder);
    }
}
