//! PostgreSQL as every command has it: connected to, with this version's tables or refused.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

/// Connections of one process; a fold holds one, a fetcher one, and so on.
const MAX_CONNECTIONS: u32 = 16;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take to show that it is alive.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// A pool on the database of that URL, once one connection has come about.
pub(super) async fn connect(url: &SecretString) -> Result<PgPool> {
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
    Ok(pool_options(port).connect_lazy_with(options))
}

/// A pool that outlives every misfortune of its connections.
///
/// A connection that is half open never says that it is: it is asked, with a deadline, before it is used and after. On
/// the server's side, a session whose process is stopped in the middle of a transaction is ended, so that its locks are
/// free, and one whose client is gone does not work on. `port` is the server's, as it is connected to.
pub fn pool_options(port: u16) -> PgPoolOptions {
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
        .after_connect(move |connection, _| {
            Box::pin(async move {
                projector::send_at_once(port);
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
