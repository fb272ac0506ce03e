//! A nats-server with a user a role, each with what `nats/topology/permissions` gives it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jetstream::Wire;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::servers::{Nats, nats_configured};
use crate::wait;

/// Every user's password: one that has to be percent-encoded in a URL.
const PASSWORD: &str = "p/ä:ß@%41";
const PASSWORD_IN_A_URL: &str = "p%2F%C3%A4%3A%C3%9F%40%2541";
const ADMITTED_WITHIN: Duration = Duration::from_secs(20);

/// The permission files, by role, in the order of their names.
pub fn permission_files() -> Result<Vec<(String, PathBuf)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats/topology/permissions");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        let role = name.strip_suffix(".conf").with_context(|| format!("{name} is no .conf file"))?;
        files.push((role.to_owned(), path.clone()));
    }
    files.sort();
    Ok(files)
}

/// Starts a nats-server without any stream, on which each role has a user of its name. The URL and the connection of what is
/// returned are those of a user who may do everything. `config` is added to the server's.
pub async fn nats_with_roles(config: &str) -> Result<Nats> {
    let nats = nats_configured(config).await?;
    let folder = nats.folder().join("nats");
    let mut users = String::new();
    for (role, path) in permission_files()? {
        std::fs::copy(path, folder.join(format!("{role}.conf")))?;
        users += &format!("    {{ user: {role}, password: {PASSWORD:?}, include \"{role}.conf\" }}\n");
    }
    let file = folder.join("nats.conf");
    let text = std::fs::read_to_string(&file)?;
    let all = text.lines().find_map(|line| line.strip_prefix("authorization ")).context("the user of everything")?;
    let authorization = format!("{{ users: [\n    {all}\n{users}] }}");
    std::fs::write(&file, text.replace(all, &authorization))?;
    let pid: i32 = std::fs::read_to_string(folder.join("nats.pid"))?.trim().parse()?;
    kill(Pid::from_raw(pid), Signal::SIGHUP)?;
    for (role, _) in permission_files()? {
        let url = nats.url_of(&role)?;
        let admitted = wait::until("the role's user is admitted", ADMITTED_WITHIN, async || {
            Ok(Wire::connect(&url, None, &role).await.is_ok())
        });
        let log = || std::fs::read_to_string(folder.join("nats.log")).unwrap_or_default();
        admitted.await.with_context(|| format!("{role}: {}", log()))?;
    }
    // The user of everything was disconnected when users changed.
    nats.wire.flush().await?;
    Ok(nats)
}

impl Nats {
    /// The URL of a role's user, on a server that has them.
    pub fn url_of(&self, role: &str) -> Result<String> {
        let (address, _) = self.login()?;
        Ok(format!("nats://{role}:{PASSWORD_IN_A_URL}@{address}"))
    }

    /// Where it listens and the password of every role's user, for who speaks the protocol by himself.
    pub fn login(&self) -> Result<(&str, &'static str)> {
        let (_, address) = self.url.rsplit_once('@').context("a URL with a password")?;
        Ok((address, PASSWORD))
    }
}
