//! The roles that a process can play, each assembled from its parts.

use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use insights::Fetcher;
use jetstream::BatchLimits;
use projections::Folds;
use projector::Projector;

use crate::boot::{Boot, House};
use crate::shutdown::Tasks;

/// Decompressed size up to which an event is read: 50,000 ads of 2 kB, and some air.
pub const MAX_EVENT_BYTES: u64 = 160 << 20;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Works on sync runs: asks Meta, and publishes events
    Fetch,
    /// Appends every event to meta_insights_raw
    Raw,
    /// Folds events into the tables
    Project,
    /// All of them
    All,
}

impl Role {
    fn plays(self, role: Role) -> bool {
        self == Role::All || self == role
    }
}

/// Starts what the role consists of.
pub fn spawn(tasks: &mut Tasks, role: Role, boot: &Boot, house: &House) -> Result<()> {
    if role.plays(Role::Raw) {
        let (pool, wire, cancel) = (house.pool.clone(), house.wire.clone(), tasks.cancel().clone());
        tasks.spawn("raw", async move { raw::run(&pool, &wire, BatchLimits::default(), &cancel).await });
    }
    if role.plays(Role::Project) {
        let (projector, cancel) = (projector(house), tasks.cancel().clone());
        tasks.spawn("project", async move { projector.run(&cancel).await });
    }
    if role.plays(Role::Fetch) {
        let (fetcher, cancel) = (fetcher(boot, house)?, tasks.cancel().clone());
        tasks.spawn("fetch", async move { fetcher.run(&cancel).await });
    }
    Ok(())
}

pub fn fetcher(boot: &Boot, house: &House) -> Result<Fetcher> {
    let settings = &boot.settings;
    Ok(Fetcher {
        pool: house.pool.clone(),
        wire: house.wire.clone(),
        source: settings.source().map_err(crate::exit::usage)?,
        keys: settings.key_ring(boot.place()).map_err(crate::exit::usage)?,
        clock: settings.clock(),
        asked: settings.asked.clone(),
        lease: settings.lease,
        observe: Arc::new(|_| {}),
    })
}

fn projector(house: &House) -> Projector {
    Projector {
        pool: house.pool.clone(),
        wire: house.wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits::default(),
        max_event_bytes: MAX_EVENT_BYTES,
        observe: Arc::new(|_| {}),
    }
}
