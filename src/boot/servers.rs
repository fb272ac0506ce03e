use std::time::Duration;

use anyhow::{Context, Result, bail};
use embedded::Options;
use jetstream::{Wire, topology};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use super::{Boot, Manner, Place};

/// Connections of one process; a fold holds one, a fetcher one, and so on.
const MAX_CONNECTIONS: u32 = 16;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take to show that it is alive.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// How long the end of a process waits for its connections.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The servers a command works with.
pub struct Servers {
    database_url: SecretString,
    nats_url: String,
    pub pool: PgPool,
    pub wire: Wire,
    /// Those that were started here; they end when they are dropped.
    embedded: Option<embedded::Servers>,
}

/// The servers that could be reached, or why not.
pub struct Reached {
    database_url: SecretString,
    nats_url: String,
    pub pool: Result<PgPool>,
    pub wire: Result<Wire>,
    embedded: Option<embedded::Servers>,
}

impl Reached {
    /// Ends the connections and, if they are our own, the servers.
    pub async fn close(self) {
        if let Ok(pool) = self.pool {
            let _ = tokio::time::timeout(CLOSE_WITHIN, pool.close()).await;
        }
        if let Some(servers) = self.embedded {
            servers.stop().await;
        }
    }
}

/// Which servers a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Both,
    Postgres,
    Nats,
}

/// URLs, and what was started to have them.
struct Found {
    database_url: Option<SecretString>,
    nats_url: Option<String>,
    embedded: Option<embedded::Servers>,
}

impl Boot {
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// PostgreSQL and NATS, with this version's tables.
    pub async fn servers(&self) -> Result<Servers> {
        let servers = self.servers_as_they_are().await?;
        check_tables(&servers.pool).await?;
        Ok(servers)
    }

    /// PostgreSQL and NATS as they are. Those started here have their tables and streams.
    async fn servers_as_they_are(&self) -> Result<Servers> {
        let Reached { database_url, nats_url, pool, wire, embedded } = self.reach().await?;
        Ok(Servers { database_url, nats_url, pool: pool?, wire: wire?, embedded })
    }

    /// What of the two can be reached, for whoever wants to look at them: that one is away says nothing about the other.
    pub async fn reach(&self) -> Result<Reached> {
        let found = self.find(Needs::Both).await?;
        let database_url = found.database_url.context("PostgreSQL was asked for")?;
        let nats_url = found.nats_url.context("NATS was asked for")?;
        let (pool, wire) = (self.connect(&database_url).await, self.wire(&nats_url).await);
        if let Some(embedded) = &found.embedded {
            if let (Some(_), Ok(pool)) = (embedded.database_url(), &pool) {
                migrate(pool).await?;
            }
            if let (Some(_), Ok(wire)) = (embedded.nats_url(), &wire) {
                self.make_streams(wire).await?;
            }
        }
        Ok(Reached { database_url, nats_url, pool, wire, embedded: found.embedded })
    }

    /// A command makes what is missing, and leaves alone what a service has set: its own settings may be none.
    async fn make_streams(&self, wire: &Wire) -> Result<()> {
        let limits = &self.settings.limits;
        let is_missing = topology::check(wire, limits).await?.iter().any(topology::Difference::is_missing);
        if is_missing || self.manner != Manner::Command {
            topology::apply(wire, limits).await?;
        }
        Ok(())
    }

    /// PostgreSQL alone, as it is; with what was started to have it.
    pub async fn database(&self) -> Result<(PgPool, Option<embedded::Servers>)> {
        let found = self.find(Needs::Postgres).await?;
        let pool = self.connect(&found.database_url.context("PostgreSQL was asked for")?).await?;
        Ok((pool, found.embedded))
    }

    /// PostgreSQL alone, with this version's tables.
    pub async fn tables(&self) -> Result<(PgPool, Option<embedded::Servers>)> {
        let (pool, guard) = self.database().await?;
        if guard.is_some() {
            migrate(&pool).await?;
        }
        check_tables(&pool).await?;
        Ok((pool, guard))
    }

    /// NATS alone, as it is.
    pub async fn nats(&self) -> Result<(Wire, Option<embedded::Servers>)> {
        let found = self.find(Needs::Nats).await?;
        let wire = self.wire(&found.nats_url.context("NATS was asked for")?).await?;
        Ok((wire, found.embedded))
    }

    /// Explicit URLs first, then those of a process that runs in the data folder, then servers started here.
    async fn find(&self, needs: Needs) -> Result<Found> {
        let settings = &self.settings;
        let (database_url, nats_url) = match self.manner {
            // What it makes up must not land in tables that somebody means.
            Manner::Demo => {
                if settings.database_url.is_some() || settings.nats_url.is_some() {
                    eprintln!("DATABASE_URL and NATS_URL are not used: the demo has servers of its own.");
                }
                (None, None)
            }
            _ => (settings.database_url.clone(), settings.nats_url.clone()),
        };
        let mut found = Found { database_url, nats_url, embedded: None };
        let postgres = found.database_url.is_none() && needs != Needs::Nats;
        let nats = found.nats_url.is_none() && needs != Needs::Postgres;
        if !postgres && !nats {
            return Ok(found);
        }
        let data_dir = self.place.data_dir();
        let joins = self.manner == Manner::Command;
        if let Some(running) = embedded::running(&data_dir).filter(|_| joins) {
            let mine = |name: &str, url: Option<String>| {
                url.with_context(|| format!("process {} runs in {} without {name}", running.pid, data_dir.display()))
            };
            if postgres {
                found.database_url = Some(mine("PostgreSQL", running.database_url.clone())?.into());
            }
            if nats {
                found.nats_url = Some(mine("NATS", running.nats_url.clone())?);
            }
            return Ok(found);
        }
        let servers = self.start(postgres, nats).await?;
        found.database_url = found.database_url.or_else(|| servers.database_url().map(|url| url.to_owned().into()));
        found.nats_url = found.nats_url.or_else(|| servers.nats_url().map(str::to_owned));
        found.embedded = Some(servers);
        Ok(found)
    }

    async fn start(&self, postgres: bool, nats: bool) -> Result<embedded::Servers> {
        let options = Options {
            data_dir: self.place.data_dir(),
            nats,
            postgres,
            nats_config: topology::SERVER_CONF.to_owned(),
            postgres_settings: Vec::new(),
            cache_dir: self.settings.cache_dir.clone(),
            search_path: self.settings.search_path.clone(),
            progress: |line| eprintln!("{line}"),
        };
        Ok(embedded::Servers::start(options).await?)
    }

    async fn connect(&self, url: &SecretString) -> Result<PgPool> {
        let options: PgConnectOptions = url
            .expose_secret()
            .parse()
            // The parser's words repeat parts of the URL.
            .map_err(|_| {
                crate::exit::usage(
                    "DATABASE_URL is no PostgreSQL URL: write it like postgres://user:password@host:5432/name",
                )
            })?;
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        let name = options.get_database().unwrap_or_default().to_owned();
        // A pool asks again until it runs out of patience, and then knows only that; one connection says why at once.
        let first = tokio::time::timeout(CONNECT_WITHIN, PgConnection::connect_with(&options));
        let first = first.await.map_err(anyhow::Error::from).and_then(|connected| Ok(connected?));
        let first = first.with_context(|| {
            format!("cannot connect to PostgreSQL at {host}:{port}, database {name:?}: check DATABASE_URL and that the server runs")
        })?;
        first.close().await?;
        Ok(pool_options().connect_lazy_with(options))
    }

    async fn wire(&self, url: &str) -> Result<Wire> {
        let credentials = self.settings.nats_creds.as_ref().map(|text| text.expose_secret());
        let wire = Wire::connect(url, credentials, "adledger").await;
        let wire = wire.map_err(|error| anyhow::anyhow!("{error}: check NATS_URL and that the server runs"))?;
        topology::check_server(&wire)?;
        Ok(wire)
    }
}

impl Servers {
    pub fn database_url(&self) -> &SecretString {
        &self.database_url
    }

    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// Whether the servers are this process's own.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Waits until a server that was started here ends by itself; for ever where none was.
    pub async fn ended(&self) -> String {
        loop {
            if let Some(ended) = self.embedded.as_ref().and_then(embedded::Servers::ended) {
                return ended;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends the connections and, if they are our own, the servers.
    pub async fn close(self) {
        // A connection that does not answer is not waited for.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.pool.close()).await;
        if let Some(servers) = self.embedded {
            servers.stop().await;
        }
    }
}

/// A pool that outlives every misfortune of its connections.
///
/// A connection that is half open never says that it is: it is asked, with a deadline, before it is used and after. On the
/// server's side, a session whose process is stopped in the middle of a transaction is ended, so that its locks are free, and
/// one whose client is gone does not work on.
pub fn pool_options() -> PgPoolOptions {
    async fn is_alive(connection: &mut PgConnection) -> sqlx::Result<bool> {
        let answered = tokio::time::timeout(ANSWERS_WITHIN, connection.ping()).await;
        answered.map_err(|_| sqlx::Error::PoolTimedOut)?.map(|()| true)
    }
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(CONNECT_WITHIN)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(is_alive(connection)))
        .after_release(|connection, _| Box::pin(is_alive(connection)))
        .after_connect(|connection, _| {
            Box::pin(async move {
                let settings =
                    "set idle_in_transaction_session_timeout = '30s'; set client_connection_check_interval = '5s'";
                sqlx::raw_sql(settings).execute(connection).await.map(drop)
            })
        })
}

/// Refuses a database whose tables are not those this program was built with.
pub async fn check_tables(pool: &PgPool) -> Result<()> {
    let known: Option<bool> =
        sqlx::query_scalar("select to_regclass('public._sqlx_migrations') is not null").fetch_one(pool).await?;
    if known != Some(true) {
        bail!("the database has no tables of adledger's: run `adledger migrate`");
    }
    let applied: Vec<i64> =
        sqlx::query_scalar("select version from public._sqlx_migrations where success order by version")
            .fetch_all(pool)
            .await?;
    let wanted: Vec<i64> = migrations::MIGRATOR.iter().map(|migration| migration.version).collect();
    if let Some(missing) = wanted.iter().find(|version| !applied.contains(version)) {
        bail!("the database lacks migration {missing:04}: run `adledger migrate`");
    }
    if let Some(newer) = applied.iter().find(|version| !wanted.contains(version)) {
        bail!("the database has migration {newer:04}, which this program does not know: use the newer adledger");
    }
    Ok(())
}

/// Applies the migrations; many at once take turns.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    migrations::MIGRATOR.run(pool).await.context("the migrations cannot be applied")
}
