use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A file system of its own for one folder, small enough to be filled. It needs the right to mount.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

/// Where one nats-server of a history keeps its streams, seen from the history's folder.
pub const STORE: &str = "nats/nats/jetstream";
const BALLAST: &str = "ballast";

impl SmallDisk {
    /// `Ok(None)` where mounting is not permitted.
    pub fn mount(folder: &Path, megabytes: u32) -> Result<Option<SmallDisk>> {
        std::fs::create_dir_all(folder)?;
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        let size = format!("size={megabytes}m,mode=755");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "adledger-faults"])
            .arg(folder)
            .stderr(std::process::Stdio::null())
            .status();
        Ok(mounted.is_ok_and(|status| status.success()).then(|| SmallDisk { folder: folder.to_owned() }))
    }

    /// Takes what room there is.
    pub fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.folder.join(BALLAST))?;
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![b'x'; size];
            while file.write_all(&block).is_ok() {}
        }
        let refused = std::fs::write(self.folder.join("one-more"), vec![b'x'; 1 << 16]);
        ensure!(refused.is_err(), "the disk is not full");
        let _ = std::fs::remove_file(self.folder.join("one-more"));
        Ok(())
    }

    /// Gives the room back.
    pub fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.folder.join(BALLAST)).context("the ballast is there")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.folder);
    }
}

/// Takes a file system away, though somebody may be in it.
pub fn unmount(folder: &Path) {
    let _ = std::process::Command::new("umount").arg("-l").arg(folder).stderr(std::process::Stdio::null()).status();
}
