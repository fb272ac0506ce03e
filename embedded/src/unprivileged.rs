//! PostgreSQL refuses to run as root. In containers we often are root, so it runs under another uid there; and such a
//! uid cannot enter a home folder of mode 0700, neither for the programs nor for the data.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, User};

use crate::{Error, make_dir};

/// The user PostgreSQL runs as when we are root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unprivileged {
    uid: Uid,
    gid: Gid,
}

impl Unprivileged {
    /// `None` when we are not root: then everything runs as ourselves.
    pub fn needed() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let nobody = User::from_name("nobody").ok().flatten();
        let (uid, gid) = nobody.map_or((Uid::from_raw(65534), Gid::from_raw(65534)), |user| (user.uid, user.gid));
        Some(Unprivileged { uid, gid })
    }

    pub fn apply(self, command: &mut Command) {
        command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
    }

    pub fn own(self, path: &Path) -> Result<(), Error> {
        std::os::unix::fs::chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(|source| Error::Folder { operation: "give to the PostgreSQL user", path: path.to_owned(), source })
    }

    /// Whether this user can reach `path`: every folder above it lets others pass.
    pub fn can_reach(self, path: &Path) -> bool {
        path.ancestors().skip(1).all(|folder| {
            let Ok(meta) = std::fs::metadata(folder) else { return folder.as_os_str().is_empty() };
            let mode = meta.permissions().mode();
            mode & 0o001 != 0
                || (meta.uid() == self.uid.as_raw() && mode & 0o100 != 0)
                || (meta.gid() == self.gid.as_raw() && mode & 0o010 != 0)
        })
    }

    /// A folder of that name which this user can reach, for what `wanted` cannot hold.
    pub fn reachable_folder(self, name: &str) -> Result<PathBuf, Error> {
        for base in ["/var/lib/adledger", "/var/tmp/adledger"] {
            let folder = Path::new(base).join(name);
            if make_dir(Path::new(base)).is_ok() && self.can_reach(&folder) && make_dir(&folder).is_ok() {
                return Ok(folder);
            }
        }
        Err(Error::Start {
            server: "PostgreSQL",
            reason: "as root it runs under another user, who can reach neither /var/lib nor /var/tmp; run adledger as an ordinary user".to_owned(),
        })
    }
}
