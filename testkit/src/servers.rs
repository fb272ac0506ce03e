//! A fresh database and a fresh nats-server a test, on one real PostgreSQL a test process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use embedded::{Options, Servers};
use jetstream::{Wire, topology};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

/// A fresh, migrated database.
pub struct Database {
    pub pool: PgPool,
    pub url: String,
}

/// A nats-server of one test's own, with the streams of the topology.
pub struct Nats {
    pub wire: Wire,
    pub url: String,
    _servers: Servers,
    folder: tempfile::TempDir,
}

/// The streams' limits in tests: as the defaults, on one server.
pub const LIMITS: topology::Limits = topology::Limits {
    log_max_bytes: Some(-1),
    replicas: Some(1),
    warehouse_max_age: Some(std::time::Duration::from_secs(30 * 86_400)),
};

/// The databases of this process. The server ends with the process, by the parent-death signal.
static SERVERS: OnceCell<(Servers, String)> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Makes a database from the migrated template.
pub async fn database() -> Result<Database> {
    let (_, url) = SERVERS.get_or_try_init(start).await?;
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(url).await?;
    // A test process of an earlier run cannot have left one: each has a cluster of its own.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name} template migrated")))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let url = url.replace("/adledger", &format!("/{name}")).replace(&format!("//{name}:"), "//adledger:");
    let options: PgConnectOptions = url.parse()?;
    let pool = PgPoolOptions::new().max_connections(12).connect_with(options).await?;
    Ok(Database { pool, url })
}

async fn start() -> Result<(Servers, String)> {
    let root = scratch();
    remove_abandoned(&root);
    let data_dir = root.join(std::process::id().to_string());
    let mut options = options(&data_dir);
    options.postgres = true;
    // These tests end processes of ours, never the machine: what PostgreSQL acknowledged survives without fsync.
    options.postgres_settings = vec![("fsync".into(), "off".into()), ("full_page_writes".into(), "off".into())];
    let servers = Servers::start(options).await?;
    let url = servers.database_url().context("PostgreSQL was asked for")?.to_owned();
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::raw_sql("create database migrated").execute(&mut connection).await?;
    connection.close().await?;
    let mut template =
        PgConnection::connect(&url.replace("/adledger", "/migrated").replace("//migrated:", "//adledger:")).await?;
    migrations::MIGRATOR.run_direct(None, &mut template, false).await?;
    template.close().await?;
    Ok((servers, url))
}

impl Nats {
    /// Whether a durable consumer of everything in a stream has settled all of it. Where the stream ends it is asked
    /// itself: a consumer that has not heard of a message yet is behind by none.
    pub async fn is_settled(&self, stream: &str, durable: &str) -> Result<bool> {
        let last = self.wire.log(stream).await?.level().await?.last_sequence;
        Ok(self.wire.ack_floor(stream, durable).await? >= last)
    }

    /// Has what a dead consumer holds delivered again now, instead of when its time to acknowledge is over: that time is
    /// made short, which the server applies to what is out already.
    pub async fn redeliver(&self, stream: &str, durable: &str) -> Result<()> {
        use async_nats::jetstream;
        use async_nats::jetstream::consumer::FromConsumer;
        let context = jetstream::new(self.client().await?);
        let stream = context.get_stream(stream).await?;
        let consumer: jetstream::consumer::PullConsumer =
            stream.get_consumer(durable).await.map_err(|error| anyhow::anyhow!(error))?;
        let mut config = consumer.cached_info().config.clone();
        config.ack_wait = std::time::Duration::from_millis(200);
        let config = jetstream::consumer::pull::Config::try_from_consumer_config(config)
            .map_err(|error| anyhow::anyhow!(error))?;
        stream.update_consumer(config).await?;
        Ok(())
    }
}

impl Nats {
    /// Publishes a message as no program of ours would, and waits until the stream has it.
    pub async fn publish_foreign(&self, subject: &str, headers: &[(String, String)], payload: &[u8]) -> Result<()> {
        let context = async_nats::jetstream::new(self.client().await?);
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.as_str(), value.as_str());
        }
        context.publish_with_headers(subject.to_owned(), map, payload.to_vec().into()).await?.await?;
        Ok(())
    }

    /// The program that runs, for a test that wants another one with a configuration of its own.
    pub fn program(&self) -> Result<PathBuf> {
        let pid = std::fs::read_to_string(self.folder.path().join("nats/nats.pid"))?;
        Ok(std::fs::read_link(Path::new("/proc").join(pid.trim()).join("exe"))?)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Deletes a stream with all that is in it, as no program of ours would.
    pub async fn delete_stream(&self, stream: &str) -> Result<()> {
        async_nats::jetstream::new(self.client().await?).delete_stream(stream).await?;
        Ok(())
    }

    async fn client(&self) -> Result<async_nats::Client> {
        let address: async_nats::ServerAddr = self.url.parse()?;
        let (user, password) = (address.username().unwrap_or_default(), address.password().unwrap_or_default());
        let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        Ok(options.connect(address).await?)
    }
}

/// Starts a nats-server and makes the streams.
pub async fn nats() -> Result<Nats> {
    let nats = nats_without_streams().await?;
    topology::apply(&nats.wire, &LIMITS).await?;
    Ok(nats)
}

/// Starts a nats-server without any stream.
pub async fn nats_without_streams() -> Result<Nats> {
    nats_configured("").await
}

/// Like [`nats`], on a server that nobody has configured: its `max_payload` is 1 MiB.
pub async fn nats_by_default() -> Result<Nats> {
    let nats = start_nats(String::new()).await?;
    topology::apply(&nats.wire, &LIMITS).await?;
    Ok(nats)
}

/// Like [`nats_without_streams`], with something added to the server's configuration.
pub(crate) async fn nats_configured(config: &str) -> Result<Nats> {
    start_nats(format!("{}\n{config}", topology::SERVER_CONF)).await
}

async fn start_nats(config: String) -> Result<Nats> {
    let folder = tempfile::tempdir()?;
    let mut options = options(folder.path());
    options.nats = true;
    options.nats_config = config;
    let servers = Servers::start(options).await?;
    let url = servers.nats_url().context("nats-server was asked for")?.to_owned();
    let wire = Wire::connect(&url, None, "test").await?;
    Ok(Nats { wire, url, _servers: servers, folder })
}

/// Options of embedded servers in `data_dir`, with the user's own cache.
#[expect(clippy::disallowed_methods, reason = "tests have no boot.rs: the cache and the PATH are the user's")]
pub fn options(data_dir: &Path) -> Options {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    Options {
        data_dir: data_dir.to_owned(),
        nats: false,
        postgres: false,
        nats_config: topology::SERVER_CONF.to_owned(),
        postgres_settings: Vec::new(),
        cache_dir: cache.join("adledger").join("servers"),
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        progress: |_| {},
    }
}

/// Where test processes keep their clusters: in the build's folder, so that they go with it.
fn scratch() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/testkit")
}

/// Clusters of test processes that are gone.
fn remove_abandoned(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if embedded::running(&entry.path()).is_none() && !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
