//! HTTP: what a service says about itself to whoever watches it. Each route is a file of `web/`; pages and the API of a
//! room of their own are merged into [`router`].

mod exposition;
mod health;
mod listener;
mod metrics;
mod problem;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use jetstream::Wire;
use sqlx::PgPool;

use crate::boot::{self, Servers};
pub use listener::Listener;

/// Connections to PostgreSQL for those who watch.
const MAX_CONNECTIONS: u32 = 2;

/// What every handler works with.
#[derive(Clone)]
struct Watched {
    /// Apart from the pool that the work is done with: a busy service still says how it is, and a scrape takes no
    /// connection from the work.
    pool: PgPool,
    wire: Wire,
    scrapes: Arc<metrics::Scrapes>,
}

/// Everything that is served.
pub fn router(servers: &Servers) -> Router {
    // Longer than any deadline of those who ask, which say in their own words that nobody answered.
    let options = boot::pool_options().max_connections(MAX_CONNECTIONS).acquire_timeout(Duration::from_secs(10));
    let watched = Watched {
        pool: options.connect_lazy_with(servers.pool.connect_options().as_ref().clone()),
        wire: servers.wire.clone(),
        scrapes: Arc::default(),
    };
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(watched)
}
