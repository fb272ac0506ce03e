//! PostgreSQL in a cluster of its own, on a loopback port, behind a password.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::child::{Farewell, Keeper, alive, command_line_has, wait_gone};
use crate::unprivileged::Unprivileged;
use crate::{Child, Error, log_tail, make_dir, password, write_private};

const SERVER: &str = "PostgreSQL";
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A port can be taken between the moment it was found free and the moment the server takes it; and the last processes
/// of a server that was killed may take a moment to notice.
const TRIES: usize = 10;
const UNFINISHED: &str = "cluster.new";

/// Starts the server, making its cluster at the first start; returns its URL.
pub(crate) async fn start(
    keeper: &Keeper,
    programs: &Path,
    data_dir: &Path,
    settings: &[(String, String)],
    progress: fn(&str),
) -> Result<Child, Error> {
    let user = Unprivileged::needed();
    let folder = place(data_dir, user)?;
    let password = password(&data_dir.join("postgres.password"))?;
    let cluster = folder.join("cluster");
    remove_unfinished(&folder);
    if !folder.starts_with(data_dir) && !cluster.exists() {
        progress(&format!(
            "PostgreSQL's files are in {}: as root it runs under another user, who cannot reach {}.",
            folder.display(),
            data_dir.display()
        ));
    }
    if !cluster.join("PG_VERSION").exists() {
        set_aside(&cluster, progress)?;
        progress("Making a PostgreSQL cluster …");
        // A name of its own: an initdb whose parent was killed may be cleaning up its folder still.
        let unfinished = folder.join(format!("{UNFINISHED}-{}", uuid::Uuid::new_v4().simple()));
        init(keeper, programs, &folder, &unfinished, &password, user).await?;
        // Renamed when it is whole: a start that was broken off leaves nothing that looks like a cluster.
        std::fs::rename(&unfinished, &cluster).map_err(|source| Error::Folder {
            operation: "move into place",
            path: cluster.clone(),
            source,
        })?;
    }
    await_predecessor(&cluster).await;
    let log = folder.join("postgres.log");
    for _ in 0..TRIES {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map(|a| a.port()).map_err(failed)?;
        let log_file = std::fs::File::create(&log).map_err(|source| Error::Folder {
            operation: "write",
            path: log.clone(),
            source,
        })?;
        let mut command = clean(programs.join("postgres"), user);
        command.arg("-D").arg(&cluster).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"] {
            command.args(["-c", setting]);
        }
        for (name, value) in settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        command.stdin(Stdio::null()).stdout(log_file.try_clone().map_err(failed)?).stderr(log_file);
        let farewell = Farewell { polite: Signal::SIGINT, patience: Duration::from_secs(20) };
        let pid = keeper.spawn(command, farewell).map_err(failed)?;
        if ready(keeper, programs, pid, port).await {
            make_database(programs, port, &password).await?;
            let url = format!("postgres://adledger:{password}@127.0.0.1:{port}/adledger");
            return Ok(Child { server: SERVER, url, pid, log });
        }
        match log_tail(&log) {
            end if end.contains("Address already in use") => {}
            end if end.contains("shared memory block") => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => break,
        }
    }
    Err(Error::Start { server: SERVER, reason: format!("it did not come up; the end of its log: {}", log_tail(&log)) })
}

fn failed(source: std::io::Error) -> Error {
    Error::Start { server: SERVER, reason: source.to_string() }
}

/// The folder of the cluster: in the data folder, or, as root, where the other user can reach it. The place is written
/// down in the data folder, so that a data folder that is deleted and made anew starts with a new cluster.
fn place(data_dir: &Path, user: Option<Unprivileged>) -> Result<PathBuf, Error> {
    let missing = |source| Error::Folder { operation: "find", path: data_dir.to_owned(), source };
    let data_dir = data_dir.canonicalize().map_err(missing)?;
    let mut folder = data_dir.join("postgres");
    if let Some(user) = user.filter(|user| !user.can_reach(&folder)) {
        let note = data_dir.join("postgres.location");
        let name = match std::fs::read_to_string(&note) {
            Ok(known) => known.trim().to_owned(),
            Err(_) => {
                let new = format!("postgres-{}", uuid::Uuid::new_v4().simple());
                write_private(&note, &new)?;
                new
            }
        };
        folder = user.reachable_folder(&name)?;
    }
    make_dir(&folder)?;
    if let Some(user) = user {
        user.own(&folder)?;
    }
    Ok(folder)
}

/// What starts that were broken off have left.
fn remove_unfinished(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Puts a folder aside that stands where the cluster belongs and is none. Nothing of it is deleted: we did not make it.
fn set_aside(cluster: &Path, progress: fn(&str)) -> Result<(), Error> {
    if !cluster.exists() {
        return Ok(());
    }
    let aside = cluster.with_file_name(format!("cluster.broken-{}", uuid::Uuid::new_v4().simple()));
    std::fs::rename(cluster, &aside).map_err(|source| Error::Folder {
        operation: "put aside",
        path: cluster.to_owned(),
        source,
    })?;
    progress(&format!("{} is no whole PostgreSQL cluster: it was put aside as {}", cluster.display(), aside.display()));
    Ok(())
}

async fn init(
    keeper: &Keeper,
    programs: &Path,
    folder: &Path,
    unfinished: &Path,
    password: &str,
    user: Option<Unprivileged>,
) -> Result<(), Error> {
    let password_file = folder.join("password.new");
    write_private(&password_file, password)?;
    if let Some(user) = user {
        user.own(&password_file)?;
    }
    let mut command = clean(programs.join("initdb"), user);
    command.arg("-D").arg(unfinished).args(["-U", "adledger", "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8"]);
    command.arg("--pwfile").arg(&password_file).stdin(Stdio::null());
    let log = folder.join("initdb.log");
    let log_file = std::fs::File::create(&log).map_err(|source| Error::Folder {
        operation: "write",
        path: log.clone(),
        source,
    })?;
    command.stdout(log_file.try_clone().map_err(failed)?).stderr(log_file);
    // Spawned like the servers, so that it ends with this process too.
    let farewell = Farewell { polite: Signal::SIGTERM, patience: Duration::from_secs(10) };
    let pid = keeper.spawn(command, farewell).map_err(failed)?;
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    let outcome = loop {
        match keeper.ended(pid) {
            Some(status) if status.success() => break Ok(()),
            Some(_) => break Err(format!("initdb failed: {}", log_tail(&log))),
            None if tokio::time::Instant::now() > deadline => break Err("initdb does not end".to_owned()),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let _ = std::fs::remove_file(&password_file);
    outcome.map_err(|reason| Error::Start { server: SERVER, reason })
}

/// A command in an environment of its own: what a user has set for another PostgreSQL, a locale or a moved clock, is
/// none of this one's.
fn clean(program: PathBuf, user: Option<Unprivileged>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C")]);
    // The working folder may be one that the other user cannot enter.
    command.current_dir("/");
    if let Some(user) = user {
        user.apply(&mut command);
    }
    command
}

/// A server that an earlier owner left on this cluster is on its way out. Its lock file is left to PostgreSQL, which
/// also looks whether a process of that server holds its memory still; but where a stranger has its process id by now,
/// PostgreSQL would take the stranger for the server.
async fn await_predecessor(cluster: &Path) {
    let lock = cluster.join("postmaster.pid");
    let pid = || std::fs::read_to_string(&lock).ok()?.lines().next()?.trim().parse::<u32>().ok();
    if let Some(pid) = pid() {
        let ours = cluster.display().to_string();
        wait_gone(pid, |pid| command_line_has(pid, &ours)).await;
        if alive(pid) && !command_line_has(pid, &ours) {
            let _ = std::fs::remove_file(&lock);
        }
    }
}

async fn ready(keeper: &Keeper, programs: &Path, pid: u32, port: u16) -> bool {
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    while keeper.ended(pid).is_none() && tokio::time::Instant::now() < deadline {
        let mut command = clean(programs.join("pg_isready"), None);
        command.args(["-h", "127.0.0.1", "-q", "-t", "2", "-p", &port.to_string()]);
        // Exit code 0: it accepts connections, which a server in recovery does not.
        if tokio::process::Command::from(command).status().await.is_ok_and(|status| status.success()) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

async fn make_database(programs: &Path, port: u16, password: &str) -> Result<(), Error> {
    let mut command = clean(programs.join("createdb"), None);
    command.env("PGPASSWORD", password).args([
        "-h",
        "127.0.0.1",
        "-U",
        "adledger",
        "-p",
        &port.to_string(),
        "adledger",
    ]);
    let output = tokio::process::Command::from(command).output().await.map_err(failed)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || errors.contains("already exists") {
        return Ok(());
    }
    Err(Error::Start { server: SERVER, reason: format!("its database cannot be made: {}", errors.trim()) })
}
