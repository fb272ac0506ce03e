use std::time::Duration;

use anyhow::{Context, Result};
use embedded::Options;
use jetstream::{Wire, topology};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

use super::postgres::{check_tables, connect, migrate};
use super::{Boot, Manner, Place};

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
        close(self.pool.ok(), self.embedded).await;
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

    /// What of the two can be reached, for whoever wants to look at them: that one is away says nothing about the
    /// other.
    pub async fn reach(&self) -> Result<Reached> {
        let found = self.find(Needs::Both).await?;
        let database_url = found.database_url.context("PostgreSQL was asked for")?;
        let nats_url = found.nats_url.context("NATS was asked for")?;
        let (pool, wire) = tokio::join!(connect(&database_url), self.wire(&nats_url));
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
        let pool = connect(&found.database_url.context("PostgreSQL was asked for")?).await?;
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

    async fn wire(&self, url: &str) -> Result<Wire> {
        let credentials = self.settings.nats_creds.as_ref().map(|text| text.expose_secret());
        let wire = Wire::connect(url, credentials, &self.nats_role).await;
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
        close(Some(self.pool), self.embedded).await;
    }
}

async fn close(pool: Option<PgPool>, embedded: Option<embedded::Servers>) {
    if let Some(pool) = pool {
        // A connection that does not answer is not waited for.
        let _ = tokio::time::timeout(CLOSE_WITHIN, pool.close()).await;
    }
    if let Some(servers) = embedded {
        servers.stop().await;
    }
}
