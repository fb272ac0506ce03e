//! The roles that a process can play, each assembled from its parts.

use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use insights::{Fetcher, Scheduler, Shared, TokenWatch};
use jetstream::BatchLimits;
use projections::Folds;
use projector::Projector;

use crate::boot::{Boot, Servers};
use crate::exit::{Outcome, usage};
use crate::shutdown::Tasks;
use crate::web::{self, Listener, WhenTaken};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Works on sync runs: asks Meta, and publishes events
    Fetch,
    /// Appends every event to meta_insights_raw
    Raw,
    /// Folds events into the tables
    Project,
    /// Asks for the first days of each ad account that is connected
    Fill,
    /// Brings events that were written with their state to their streams
    Relay,
    /// Asks for the daily jobs, and about each token once a day; of all processes that may, one does
    Schedule,
    /// Serves HTTP: the pages, the connect flow, the API, and how the service is (health, readiness, metrics)
    Web,
    /// All of them
    All,
}

/// Who speaks to NATS where no role is played: a command, and the person behind it.
pub const OPERATOR: &str = "operator";

/// Projectors of one process: one reads the next events while the other's rows are on their way into PostgreSQL.
const PROJECTORS: usize = 2;

impl Role {
    /// Its name on the command line, which is also that of its permission file (`nats/topology/permissions`).
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn plays(self, role: Role) -> bool {
        self == Role::All || self == role
    }
}

/// Starts what the role consists of, but for HTTP, which only a service serves.
pub fn spawn(tasks: &mut Tasks, role: Role, boot: &Boot, servers: &Servers) -> Result<()> {
    if role.plays(Role::Raw) {
        let (pool, wire, cancel) = (servers.pool.clone(), servers.wire.clone(), tasks.cancel().clone());
        tasks.spawn("raw", async move { raw::run(&pool, &wire, BatchLimits::default(), &cancel).await });
    }
    if role.plays(Role::Project) {
        for _ in 0..PROJECTORS {
            let (projector, cancel) = (projector(servers), tasks.cancel().clone());
            tasks.spawn("project", async move { projector.run(&cancel).await });
        }
    }
    if role.plays(Role::Fetch) {
        let fetcher = Arc::new(fetcher(boot, servers)?);
        for _ in 0..boot.settings.fetch_workers {
            let (fetcher, cancel) = (fetcher.clone(), tasks.cancel().clone());
            tasks.spawn("fetch", async move { fetcher.run(&cancel).await });
        }
    }
    if role.plays(Role::Fill) {
        let (pool, wire, cancel) = (servers.pool.clone(), servers.wire.clone(), tasks.cancel().clone());
        tasks.spawn("fill", async move { initial_fill::run(&pool, &wire, &cancel).await });
    }
    if role.plays(Role::Relay) {
        let (pool, wire, cancel) = (servers.pool.clone(), servers.wire.clone(), tasks.cancel().clone());
        tasks.spawn("relay", async move { relay::run(&pool, &wire, &cancel).await });
    }
    if role.plays(Role::Schedule) {
        let (scheduler, cancel) = (scheduler(boot, servers), tasks.cancel().clone());
        tasks.spawn("schedule", async move { scheduler.run(&cancel).await });
        if let Some(watch) = token_watch(boot, servers)? {
            let cancel = tasks.cancel().clone();
            tasks.spawn("tokens", async move { watch.run(&cancel).await });
        }
    }
    Ok(())
}

/// Refuses to begin with settings that the role cannot be played with, before anything is started.
pub fn check_settings(role: Role, boot: &Boot) -> Result<()> {
    // Also where the role needs no key: a service that lacks one is misconfigured.
    boot.settings.own_key_ring(boot.place()).map_err(usage)?;
    if role.plays(Role::Web) {
        boot.settings.web.check().map_err(usage)?;
    }
    Ok(())
}

/// Takes the address of a role that serves HTTP.
pub async fn listen(role: Role, boot: &Boot, when_taken: WhenTaken) -> Result<Option<Listener>> {
    if !role.plays(Role::Web) {
        return Ok(None);
    }
    let settings = &boot.settings;
    Listener::open(settings.http_addr, when_taken, &settings.web.trusted_proxies).await.map(Some)
}

/// Plays the role until a signal, or until a server of this process's own is gone; then ends in order.
pub async fn serve(role: Role, boot: &Boot, servers: Servers, listener: Option<Listener>) -> Result<Outcome> {
    let mut tasks = Tasks::new();
    if let Some(listener) = listener {
        let router = web::router(boot, &servers, listener.address(), tasks.cancel())?;
        let cancel = tasks.cancel().clone();
        tasks.spawn("web", async move { listener.serve(router, &cancel).await });
    }
    spawn(&mut tasks, role, boot, &servers)?;
    tracing::info!("serving");
    let ended = tasks.until_signal(servers.ended()).await;
    servers.close().await;
    ended.map(|()| Outcome::Done)
}

pub fn fetcher(boot: &Boot, servers: &Servers) -> Result<Fetcher> {
    let settings = &boot.settings;
    Ok(Fetcher {
        pool: servers.pool.clone(),
        wire: servers.wire.clone(),
        sources: settings.sources().map_err(usage)?,
        keys: settings.key_ring(boot.place()).map_err(usage)?,
        app: settings.web.app.clone(),
        clock: settings.clock(),
        asked: settings.asked.clone(),
        lease: settings.lease,
        max_backoff: settings.max_backoff(),
        shared: Shared::default(),
        observe: Arc::new(|_| {}),
    })
}

fn scheduler(boot: &Boot, servers: &Servers) -> Scheduler {
    let settings = &boot.settings;
    Scheduler {
        pool: servers.pool.clone(),
        clock: settings.clock(),
        stub_only: settings.is_stub(),
        fresh_every: settings.schedule_fresh,
    }
}

/// In stub mode there is no token to ask about.
fn token_watch(boot: &Boot, servers: &Servers) -> Result<Option<TokenWatch>> {
    let settings = &boot.settings;
    let Some(api) = settings.directory().map_err(usage)? else { return Ok(None) };
    Ok(Some(TokenWatch {
        pool: servers.pool.clone(),
        api,
        keys: settings.key_ring(boot.place()).map_err(usage)?,
        app: settings.web.app.clone(),
        clock: settings.clock(),
    }))
}

fn projector(servers: &Servers) -> Projector {
    Projector {
        pool: servers.pool.clone(),
        wire: servers.wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits::default(),
        max_event_bytes: projector::MAX_EVENT_BYTES,
        observe: Arc::new(|_| {}),
    }
}
