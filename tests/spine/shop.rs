//! A tenant with one connected ad account, on servers of its own.

use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use chrono::{Days, NaiveDate};
use insights::Clock;
use testkit::graph::{Graph, World};
use testkit::{Database, Nats};
use tokio::process::Command;
use uuid::Uuid;

pub const AD_ACCOUNT: &str = "act_1234567890";
pub const TOKEN: &str = "EAABcanary/0123456789+canary=";
pub const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// The statuses that are asked for unless a setting says otherwise.
pub const DEFAULT_STATUSES: [&str; 2] = ["ACTIVE", "PAUSED"];
const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tokyo;

/// The servers, the fake Graph API, and the ids that the commands printed.
pub struct Shop {
    pub database: Database,
    pub nats: Nats,
    pub graph: Graph,
    pub account_id: Uuid,
    pub integration_id: Uuid,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Shop {
    /// A shop whose ad account has delivered for 40 days, connected and empty.
    pub async fn open() -> Result<Shop> {
        Shop::open_on(testkit::nats().await?).await
    }

    /// On a nats-server of the test's choice.
    pub async fn open_on(nats: Nats) -> Result<Shop> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut world = World::demo(TOKEN, AD_ACCOUNT, ZONE.name(), "EUR", days_ago(40)..=days_ago(1), 20);
        world.today = Some(today());
        let (database, graph) = (testkit::database().await?, Graph::start(world).await?);
        let mut shop = Shop { database, nats, graph, account_id: Uuid::nil(), integration_id: Uuid::nil() };
        let created = shop
            .done(&["account", "create", "--name", "Shop", "--currency", "EUR", "--timezone", "Europe/Berlin"])
            .await?;
        shop.account_id = created.stdout.trim().parse()?;
        shop.integration_id = shop.connect(TOKEN).await?.stdout.trim().parse()?;
        Ok(shop)
    }

    pub async fn connect(&self, token: &str) -> Result<Ran> {
        let account = self.account_id.to_string();
        let arguments = ["connect", "--account", &account, "--ad-account", AD_ACCOUNT, "--token-stdin"];
        let ran = run(self.command(&arguments), Some(token)).await?;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(ran)
    }

    /// The binary with this shop's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = adledger(arguments);
        command
            .env("DATABASE_URL", &self.database.url)
            .env("NATS_URL", &self.nats.url)
            .env("META_API_BASE_URL", self.graph.url())
            .env("ADLEDGER_SECRET_KEYS", KEYS)
            .env("META_MAX_BACKOFF_SECONDS", "1")
            .env("HTTP_ADDR", "127.0.0.1:0");
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        run(self.command(arguments), None).await
    }

    /// Runs a command that must go well.
    pub async fn done(&self, arguments: &[&str]) -> Result<Ran> {
        let ran = self.run(arguments).await?;
        ensure!(ran.code == 0, "adledger {arguments:?}: {ran:?}");
        Ok(ran)
    }

    /// Fetches with `--wait`.
    pub async fn sync(&self, job: &str) -> Result<Ran> {
        let integration = self.integration_id.to_string();
        self.run(&["sync", "--integration", &integration, "--job", job, "--wait", "--deadline-seconds", "60"]).await
    }

    /// Meta has a row for this day that cannot be read.
    pub fn spoil(&self, date: NaiveDate) {
        let row = format!(
            r#"{{"ad_id":"1","spend":"12,34","account_currency":"EUR","date_start":"{date}","date_stop":"{date}"}}"#
        );
        self.graph.edit(|world| world.raw_row(AD_ACCOUNT, "1", date, row));
    }

    /// And has it no more.
    pub fn mend(&self) {
        self.graph.edit(|world| world.raw_rows.clear());
    }

    pub async fn cursor(&self) -> Result<Option<NaiveDate>> {
        Ok(runs::sync_cursor(&self.database.pool, self.account_id, self.integration_id).await?)
    }

    /// The ad account's days in `daily_meta_metrics` equal the server's sums, over this range.
    pub async fn check_sums(&self, since: NaiveDate, until: NaiveDate) -> Result<()> {
        crate::tables::check_sums(self, since, until).await
    }
}

/// The binary in an environment of nothing but where servers are cached.
#[expect(clippy::disallowed_methods, reason = "tests have no boot.rs: the cache and the PATH are the user's")]
pub fn adledger(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adledger"));
    command.args(arguments).env_clear().kill_on_drop(true).current_dir(env!("CARGO_TARGET_TMPDIR"));
    for name in ["PATH", "HOME", "XDG_CACHE_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

pub async fn run(mut command: Command, stdin: Option<&str>) -> Result<Ran> {
    use tokio::io::AsyncWriteExt;
    let input = if stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child =
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("the binary starts")?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        // A command that refuses its arguments does not read.
        let _ = pipe.write_all(text.as_bytes()).await;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().await?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { code: status.code().unwrap_or(-1), stdout: text(&stdout), stderr: text(&stderr) })
}

/// Today in the ad account's zone.
pub fn today() -> NaiveDate {
    Clock::System.today(ZONE)
}

pub fn days_ago(days: u64) -> NaiveDate {
    today() - Days::new(days)
}
