//! The connect flow: a token is brought, ad accounts are chosen, each is checked and connected.

use axum::Router;

use crate::web::Web;

pub(crate) fn routes() -> Router<Web> {
    Router::new()
}

/// Where Meta's dialog sends people back to.
pub(crate) fn callback_route() -> Router<Web> {
    Router::new()
}
