//! What programs call.

use axum::Router;

use crate::web::Web;

pub(crate) fn routes() -> Router<Web> {
    Router::new()
}

/// Streams of events, which no limit of time fits.
pub(crate) fn endless_routes() -> Router<Web> {
    Router::new()
}

pub(crate) fn scheduler_route() -> Router<Web> {
    Router::new()
}
