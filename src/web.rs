//! HTTP: what a service says about itself to whoever watches it. Each route is a file of `web/`; the pages and the API
//! have a room of their own, `connect`, whose routes are merged into [`router`].

mod exposition;
mod health;
mod listener;
mod metrics;
mod past;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use connect::{Connect, Problem};
use jetstream::Wire;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::boot::{self, Boot, Servers};
use crate::exit::usage;
pub use listener::{Listener, WhenTaken};

/// Connections to PostgreSQL for those who watch.
const MAX_CONNECTIONS: u32 = 2;
/// Those for visitors.
const MAX_VISITORS_CONNECTIONS: u32 = 6;

/// What every handler works with.
#[derive(Clone)]
struct Watched {
    /// Apart from the pool that the work is done with: a busy service still says how it is, and a scrape takes no
    /// connection from the work.
    pool: PgPool,
    wire: Wire,
    scrapes: Arc<metrics::Scrapes>,
}

/// Everything that is served at that address.
pub fn router(boot: &Boot, servers: &Servers, at: SocketAddr, cancel: &CancellationToken) -> Result<Router> {
    let watched = Watched {
        // Longer than any deadline of those who ask, which say in their own words that nobody answered.
        pool: pool(servers, MAX_CONNECTIONS, Duration::from_secs(10)),
        wire: servers.wire.clone(),
        scrapes: Arc::default(),
    };
    let settings = &boot.settings;
    let connect = Connect {
        pool: pool(servers, MAX_VISITORS_CONNECTIONS, Duration::from_secs(5)),
        keys: Arc::new(settings.key_ring(boot.place()).map_err(usage)?),
        meta: settings.directory().map_err(usage)?,
        settings: connect::Settings { listens_at: at, ..settings.web.clone() },
        past: Some(Arc::new(past::Past::new(servers.pool.connect_options().as_ref().clone()))),
        cancel: cancel.clone(),
    };
    Ok(Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape))
        .method_not_allowed_fallback(Problem::other_method)
        .layer(map_response(as_it_is_now))
        .with_state(watched)
        .merge(connect::router(connect)))
}

/// These routes stand outside the layers of `connect`, because probes ask under any name: what they say is nothing to
/// keep, and nothing to take for something else.
async fn as_it_is_now(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A pool apart from the one that the work is done with.
fn pool(servers: &Servers, max_connections: u32, acquire_within: Duration) -> PgPool {
    let connect = servers.pool.connect_options();
    let options = boot::pool_options(connect.get_port()).max_connections(max_connections);
    options.acquire_timeout(acquire_within).connect_lazy_with(connect.as_ref().clone())
}
