//! Data folders: one owner each, as many folders as one likes. Here stand the folders and queries of the other tests,
//! too.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use embedded::{Error, Options, Servers, running};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::parent::Parent;

/// How long anything may take that ends by itself.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Options of both servers in that folder.
pub fn both(folder: &Path) -> Options {
    Options { nats: true, ..postgres(folder) }
}

/// Options of PostgreSQL in that folder.
pub fn postgres(folder: &Path) -> Options {
    // The machine does not go down in these tests: what PostgreSQL acknowledged survives its processes without fsync.
    let postgres_settings = vec![("fsync".to_owned(), "off".to_owned())];
    Options { postgres: true, postgres_settings, ..testkit::options(folder) }
}

/// The first column of the only row, as text.
pub async fn ask(database_url: &str, query: &'static str) -> Result<String> {
    let mut connection = PgConnection::connect(database_url).await?;
    let answer: String = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(answer)
}

/// Runs statements.
pub async fn tell(database_url: &str, statements: &'static str) -> Result<()> {
    let mut connection = PgConnection::connect(database_url).await?;
    sqlx::raw_sql(statements).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// What a nats-server says first.
pub async fn greeting(nats_url: &str) -> Result<String> {
    let (_, address) = nats_url.rsplit_once('@').context("a URL with a password")?;
    let mut line = String::new();
    BufReader::new(TcpStream::connect(address).await?).read_line(&mut line).await?;
    Ok(line)
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_the_pid_of_its_owner() -> Result<()> {
    let folder = tempfile::tempdir()?;
    assert!(running(folder.path()).is_none(), "an empty folder runs nothing");
    let parent = Parent::start("nats", folder.path()).await?;
    let error = Servers::start(both(folder.path())).await.err().context("the folder is in use")?;
    assert!(matches!(error, Error::InUse { pid, .. } if pid == parent.pid()), "{error}");
    assert!(error.to_string().contains(&format!("process {}", parent.pid())), "{error}");

    // Whoever only looks is told where the servers are, and does not take the folder.
    for _ in 0..2 {
        let running = running(folder.path()).context("it runs")?;
        assert_eq!((running.pid, running.database_url), (parent.pid(), None));
        assert!(greeting(&running.nats_url.context("nats-server runs")?).await?.starts_with("INFO"));
    }
    parent.stop_politely().await?;
    assert!(running(folder.path()).is_none());
    Servers::start(Options { postgres: false, ..both(folder.path()) }).await?.stop().await;
    assert!(running(folder.path()).is_none());
    Ok(())
}

#[tokio::test]
async fn looking_at_a_folder_never_keeps_its_owner_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Neither server: only the lock is taken and given back.
    let nothing = || testkit::options(folder.path());
    Servers::start(nothing()).await?.stop().await;
    let path = folder.path().to_owned();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let looking = std::thread::spawn(move || {
        let mut looks = 0;
        while let Err(std::sync::mpsc::TryRecvError::Empty) = ended.try_recv() {
            let _ = running(&path);
            looks += 1;
        }
        looks
    });
    let mut outcome = Ok(());
    for _ in 0..300 {
        match Servers::start(nothing()).await {
            Ok(servers) => servers.stop().await,
            Err(error) => outcome = Err(error),
        }
    }
    drop(end);
    let looks = looking.join().map_err(|_| anyhow::anyhow!("looking failed"))?;
    assert!(looks > 100, "the test looked {looks} times only");
    Ok(outcome?)
}

#[tokio::test]
async fn two_folders_run_side_by_side() -> Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (first, second) = tokio::try_join!(Servers::start(both(one.path())), Servers::start(both(two.path())))?;
    for servers in [&first, &second] {
        let database = servers.database_url().context("PostgreSQL runs")?;
        tell(database, "create table only_here (n int)").await?;
        assert!(greeting(servers.nats_url().context("nats-server runs")?).await?.starts_with("INFO"));
    }
    assert_ne!(first.database_url(), second.database_url());
    assert_ne!(first.nats_url(), second.nats_url());
    let looked = running(two.path()).context("the second runs")?;
    assert_eq!(looked.database_url.as_deref(), second.database_url());
    first.stop().await;
    let database = second.database_url().context("PostgreSQL runs")?;
    assert_eq!(ask(database, "select count(*)::text from only_here").await?, "0", "the other one goes on");
    second.stop().await;
    Ok(())
}

#[tokio::test]
async fn credentials_guard_both_servers_and_stay_private() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let servers = Servers::start(both(folder.path())).await?;
    let url = servers.database_url().context("PostgreSQL runs")?;
    let (start, address) = url.split_once('@').context("a URL with a password")?;
    let password = start.rsplit(':').next().context("a password")?;
    let wrong = format!("postgres://adledger:wrong@{address}");
    assert!(PgConnection::connect(&wrong).await.is_err(), "a wrong password is let in");
    assert!(password.len() >= 32);
    for file in ["servers.json", "postgres.password", "nats/password", "nats/nats.conf"] {
        let mode = std::fs::metadata(folder.path().join(file))?.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} can be read by others");
    }
    servers.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_folder_that_holds_something_else_keeps_its_mode() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("somebody's"), "file")?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    for _ in 0..2 {
        Servers::start(testkit::options(folder.path())).await?.stop().await;
        assert_eq!(std::fs::metadata(folder.path())?.permissions().mode() & 0o777, 0o755);
    }
    Ok(())
}
