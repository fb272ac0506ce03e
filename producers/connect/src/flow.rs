//! The connect flow: a token is brought, ad accounts are chosen, each is checked and connected; and its end, a
//! disconnection.
//!
//! A token comes by hand or from Meta's dialog (`oauth`), and is kept sealed as a [`draft`] of one session and one
//! tenant while somebody chooses. Nothing of it is in a page, an address or a log: pages name the draft by being of its
//! session.

mod accounts_page;
mod connecting;
mod disconnecting;
mod draft;
mod listings;
mod oauth;
mod recheck;
mod start;
mod trip;

use std::sync::Arc;

use accounts::Tenant;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

pub use self::disconnecting::end as disconnect;
use crate::access::session::{Chosen, Session};
use crate::access::tenant::Scope;
use crate::checks::day_to_ask_of;
use crate::directory::Directory;
use crate::problem::Problem;
use crate::web::Web;

pub(crate) fn routes() -> Router<Web> {
    Router::new()
        .route("/connect/meta", get(start::start))
        .route("/connect/meta/token", post(start::token))
        .route("/connect/meta/accounts", get(accounts_page::choose).post(connecting::connect))
        .route("/connect/meta/checks", post(recheck::recheck))
        .route("/integrations/{id}/disconnect", get(disconnecting::ask).post(disconnecting::disconnect))
        .layer(Extension(Arc::<listings::Listings>::default()))
}

/// To Meta's dialog, and where it sends people back to. Both find their session themselves. Who has none must not be
/// sent to log in with the code in the address; nor from there on to the dialog, because no form of ours may end on
/// another site.
pub(crate) fn callback_route() -> Router<Web> {
    Router::new()
        .route("/connect/meta/oauth/start", get(oauth::start))
        .route("/connect/meta/oauth/callback", get(oauth::callback))
}

impl Web {
    fn directory(&self) -> Directory<'_> {
        Directory::of(self.meta.as_ref(), self.settings.app.as_ref())
    }
}

/// What every page of the flow stands on.
struct Ground {
    tenant: Tenant,
    /// That the checks ask results of.
    date: NaiveDate,
    /// PostgreSQL's time.
    now: DateTime<Utc>,
}

impl Ground {
    async fn of(web: &Web, session: &Session, account_id: Uuid) -> Result<Ground, Problem> {
        let mut tx = scope(session, account_id).begin(&web.pool).await?;
        let tenant = accounts::tenant(&mut *tx, account_id).await?;
        let date = day_to_ask_of(&mut *tx).await?;
        let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut *tx).await?;
        Ok(Ground { tenant, date, now })
    }
}

/// The rows of one tenant that a session of it may see, whatever tenant it has chosen since.
fn scope(session: &Session, account_id: Uuid) -> Scope {
    Scope { account_id: Some(account_id), ..session.scope() }
}

/// Refuses a form that was shown for another tenant than the one that is looked at now.
fn check_tenant(chosen: &Chosen, shown_for: Uuid) -> Result<(), Problem> {
    if chosen.account_id == shown_for {
        return Ok(());
    }
    Err(Problem::conflict(
        "another tenant was chosen since this page was opened, and nothing was done: choose the one that you mean at \
         /tenants, and open the page again",
    ))
}

/// Back to the flow's first page, with the reason in words of its own.
fn back_to_start(ending: start::Ending) -> Response {
    Redirect::to(&format!("/connect/meta?ended={}", ending.as_str())).into_response()
}
