//! The only reader of the environment: settings, the data folder, the pool, the NATS client, tracing.
//!
//! A server that a URL names is used as it is and never changed. One that no URL names is embedded, and its tables and
//! streams are brought up to date. A command joins the process that runs in the data folder already; a service and the
//! demo want the folder for themselves.

mod heap;
mod otlp;
mod place;
mod postgres;
mod servers;
mod settings;
mod tracing_setup;

use anyhow::{Context, Result};

pub use heap::give_large_blocks_back;
pub use otlp::Traces;
pub use place::Place;
pub use postgres::{check_tables, migrate, pool_options};
pub use servers::Servers;
pub use settings::Settings;

use crate::exit::usage;

/// What every command begins with.
pub struct Boot {
    pub settings: Settings,
    /// Where spans go; to be flushed before the process ends.
    pub traces: Traces,
    place: Place,
    manner: Manner,
    nats_role: String,
}

/// In what manner the process works.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It does one thing and ends.
    Command,
    /// It stays, and says in its log what it does.
    Service,
    /// It is the demo: the stub, and a key of its own.
    Demo,
}

impl Boot {
    /// Reads the settings and starts tracing. `nats_role` is who this process is on NATS.
    pub fn new(place: Place, manner: Manner, nats_role: String) -> Result<Boot> {
        let settings = Settings::read(&place, manner == Manner::Demo).map_err(usage)?;
        // async-nats, sqlx and reqwest share one TLS provider.
        rustls::crypto::ring::default_provider()
            .install_default()
            .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))
            .context("a bug of adledger's")?;
        let traces = settings.otlp_endpoint.as_ref().map(Traces::to_collector).transpose()?.unwrap_or_default();
        tracing_setup::start(&settings, manner == Manner::Service, &traces).map_err(usage)?;
        Ok(Boot { settings, traces, place, manner, nats_role })
    }
}
