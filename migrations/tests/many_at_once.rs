//! The migrations, by many at once, on a server that has never seen them, and by users that may little.

use anyhow::{Context, Result};
use embedded::Servers;
use migrations::MIGRATOR;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A PostgreSQL without a trace of adledger.
struct Fresh {
    _servers: Servers,
    _folder: tempfile::TempDir,
    url: String,
}

impl Fresh {
    async fn start() -> Result<Fresh> {
        let folder = tempfile::tempdir()?;
        let mut options = testkit::options(folder.path());
        options.postgres = true;
        options.postgres_settings = vec![("fsync".into(), "off".into())];
        let servers = Servers::start(options).await?;
        let url = servers.database_url().context("PostgreSQL was asked for")?.to_owned();
        Ok(Fresh { _servers: servers, _folder: folder, url })
    }

    /// The URL of a database, for the superuser or for `user` (whose password is its name).
    fn url(&self, database: &str, user: Option<&str>) -> Result<String> {
        let (start, _) = self.url.rsplit_once('/').context("a URL ends in its database")?;
        let host = start.rsplit_once('@').context("a URL has a user")?.1;
        Ok(match user {
            Some(user) => format!("postgres://{user}:{user}@{host}/{database}"),
            None => format!("{start}/{database}"),
        })
    }

    async fn run(&self, sql: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}

async fn migrate(url: String) -> Result<()> {
    let mut connection = PgConnection::connect(&url).await?;
    MIGRATOR.run_direct(None, &mut connection, false).await?;
    Ok(connection.close().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_databases_of_one_server_are_migrated_at_once_by_several_each() -> Result<()> {
    let fresh = Fresh::start().await?;
    let mut all = Vec::new();
    for number in 0..8 {
        fresh.run(&format!("create database d{number}")).await?;
        let url = fresh.url(&format!("d{number}"), None)?;
        all.extend([url.clone(), url.clone(), url].map(|url| tokio::spawn(migrate(url))));
    }
    for migration in all {
        migration.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_no_superuser_migrates_and_can_become_the_webs_role() -> Result<()> {
    let fresh = Fresh::start().await?;
    fresh.run("create role app login createrole password 'app'").await?;
    fresh.run("create database app owner app").await?;
    migrate(fresh.url("app", Some("app"))?).await?;
    let mut connection = PgConnection::connect(&fresh.url("app", Some("app"))?).await?;
    sqlx::raw_sql("insert into accounts values (gen_random_uuid(), 'A', 'EUR', 'UTC')")
        .execute(&mut connection)
        .await?;
    let count = "select count(*) from accounts";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await?, 1, "its owner sees all");
    sqlx::raw_sql("begin; set local role adledger_web").execute(&mut connection).await?;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await?,
        0,
        "the web, without a tenant, nothing"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_make_the_role_learns_what_an_administrator_has_to_do() -> Result<()> {
    let fresh = Fresh::start().await?;
    fresh.run("create role app login password 'app'").await?;
    fresh.run("create database app owner app").await?;
    let refused = migrate(fresh.url("app", Some("app"))?).await.err().context("it is refused")?;
    let said = format!("{refused:#}");
    assert!(said.contains("create role adledger_web nologin; grant adledger_web to app"), "{said}");
    // And after that, it works.
    fresh.run("create role adledger_web nologin; grant adledger_web to app").await?;
    migrate(fresh.url("app", Some("app"))?).await
}
