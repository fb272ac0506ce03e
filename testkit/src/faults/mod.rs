//! Seeded histories of real processes under misfortunes, each judged at its end.
//!
//! A [`Plan`] is what a seed stands for; [`happen`] lets it happen; a [`Judge`] says what is lost, doubled, wrong or stuck;
//! [`Figures`] count. Processes are hit at their [`steps`], servers behind a [`Proxy`] that stays while they come and go.
//! What must not live here: anything of the product's code, which is a program given by its path.

mod changes;
mod disk;
mod figures;
mod history;
mod inject;
mod judge;
mod log;
mod plan;
mod postgres;
pub(crate) mod process;
mod proxy;
mod reading;
pub mod steps;
mod work;

use std::path::Path;

pub use figures::Figures;
pub use history::{Told, happen};
pub use inject::Injected;
pub use judge::{AdAccount, Judge};
pub use log::Log;
pub use plan::{Kind, Plan};
pub use postgres::Postgres;
pub use proxy::{Proxy, port_of, with_port};
pub use reading::{Event, Streams};

/// Takes away what trials left behind that were ended outright: file systems first, then folders.
pub fn remove_abandoned(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if Path::new("/proc").join(entry.file_name()).exists() {
            continue;
        }
        for history in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            let store = history.path().join(disk::STORE);
            if store.exists() && nix::unistd::geteuid().is_root() {
                disk::unmount(&store);
            }
        }
        let _ = std::fs::remove_dir_all(entry.path());
    }
}
