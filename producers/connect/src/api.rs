//! What programs call: a file a resource. The handlers describe themselves, and [`document`] is made of what they say.

mod daily_summary;
mod document;
mod events;
mod integrations;
mod progress;
mod scheduler;
mod sync;
mod sync_runs;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Web;

/// Answered within a limit of time.
fn bounded() -> OpenApiRouter<Web> {
    OpenApiRouter::default()
        .routes(routes!(document::openapi))
        .routes(routes!(integrations::list))
        .routes(routes!(sync::sync))
        .routes(routes!(sync_runs::list))
        .routes(routes!(sync_runs::one))
}

fn endless() -> OpenApiRouter<Web> {
    OpenApiRouter::default().routes(routes!(events::events))
}

fn scheduler() -> OpenApiRouter<Web> {
    OpenApiRouter::default().routes(routes!(scheduler::scheduler))
}

/// The past is folded before it is answered, which takes longer.
fn summary() -> OpenApiRouter<Web> {
    OpenApiRouter::default().routes(routes!(daily_summary::daily_summary))
}

pub(crate) fn summary_route() -> Router<Web> {
    summary().into()
}

pub(crate) fn routes() -> Router<Web> {
    bounded().into()
}

/// Streams of events, which no limit of time fits.
pub(crate) fn endless_routes() -> Router<Web> {
    endless().into()
}

pub(crate) fn scheduler_route() -> Router<Web> {
    scheduler().into()
}
