//! The lock on a data folder, and what its owner has written down for others.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::{Error, make_dir, write_private};

/// How long a lock is tried for: whoever only looks at a folder holds it for a moment, and so does a child between its
/// birth and its own program.
const LOCK_WITHIN: Duration = Duration::from_millis(500);

/// A data folder that this process alone uses. The kernel gives the lock back when the process ends, however it ends.
pub(crate) struct Folder {
    _lock: Flock<File>,
    data_dir: PathBuf,
}

/// What runs in a data folder, as its owner wrote it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub nats_url: Option<String>,
    pub database_url: Option<String>,
}

impl Folder {
    pub async fn lock(data_dir: &Path) -> Result<Self, Error> {
        // A folder that holds something was not made for us alone: it keeps its mode.
        if std::fs::read_dir(data_dir).map_or(true, |mut entries| entries.next().is_none()) {
            make_dir(data_dir)?;
        }
        let path = data_dir.join("lock");
        let failed = |source| Error::Folder { operation: "open", path: path.clone(), source };
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let deadline = tokio::time::Instant::now() + LOCK_WITHIN;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    lock.set_len(0).map_err(failed)?;
                    lock.rewind().map_err(failed)?;
                    write!(lock, "{}", std::process::id()).map_err(failed)?;
                    return Ok(Folder { _lock: lock, data_dir: data_dir.to_owned() });
                }
                Err((file, nix::errno::Errno::EWOULDBLOCK)) if tokio::time::Instant::now() < deadline => file,
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                    return Err(Error::InUse { path: data_dir.to_owned(), pid: owner(file) });
                }
                Err((_, error)) => {
                    return Err(Error::Folder { operation: "lock", path, source: error.into() });
                }
            };
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.data_dir.join("servers.json"));
    }
}

fn owner(mut file: File) -> u32 {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    text.trim().parse().unwrap_or(0)
}

pub(crate) fn write_running(data_dir: &Path, nats_url: Option<&str>, database_url: Option<&str>) -> Result<(), Error> {
    let running = Running {
        pid: std::process::id(),
        nats_url: nats_url.map(str::to_owned),
        database_url: database_url.map(str::to_owned),
    };
    let text = serde_json::to_string(&running).unwrap_or_default();
    write_private(&data_dir.join("servers.json"), &text)
}

/// What runs in this folder now; `None` when nothing does. A command that only looks, or adds to the work, uses the
/// servers of the process that owns the folder.
pub fn running(data_dir: &Path) -> Option<Running> {
    let file = File::options().read(true).write(true).open(data_dir.join("lock")).ok()?;
    // Who can take the lock knows that nobody has it.
    let Err((file, _)) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return None };
    let pid = owner(file);
    let text = std::fs::read_to_string(data_dir.join("servers.json")).ok()?;
    serde_json::from_str::<Running>(&text).ok().filter(|running| running.pid == pid)
}
