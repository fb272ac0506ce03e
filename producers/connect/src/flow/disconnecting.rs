//! Ends a connection, once somebody has read what that means.

use accounts::{Integration, Status, Tenant};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::{check_tenant, scope};
use crate::access::posted::Posted;
use crate::access::session::Chosen;
use crate::asked::Id;
use crate::pages::{Page, page};
use crate::problem::Problem;
use crate::web::Web;

/// What a run says that was ended so.
pub const RUN_ENDED: &str = "the integration was disconnected while this run was not done: connect it again to go on";
pub const RUN_ENDED_CODE: &str = "disconnected";

#[derive(Template)]
#[template(path = "connect_disconnect.html")]
struct DisconnectPage {
    page: Page,
    tenant: Tenant,
    integration: Integration,
    is_disconnected: bool,
}

#[derive(Deserialize)]
pub(super) struct Sure {
    account_id: Uuid,
}

pub(super) async fn ask(State(web): State<Web>, chosen: Chosen, Id(id): Id) -> Result<Response, Problem> {
    let mut tx = scope(&chosen.session, chosen.account_id).begin(&web.pool).await?;
    let tenant = accounts::tenant(&mut *tx, chosen.account_id).await?;
    let integration = accounts::integration(&mut *tx, id).await?.ok_or_else(nothing_there)?;
    page(&DisconnectPage {
        page: Page::of_tenant(&web, &chosen, &tenant, "Disconnect"),
        tenant,
        is_disconnected: integration.status == Status::Disconnected,
        integration,
    })
}

pub(super) async fn disconnect(
    State(web): State<Web>,
    chosen: Chosen,
    Id(id): Id,
    posted: Posted<Sure>,
) -> Result<Response, Problem> {
    check_tenant(&chosen, posted.form.account_id)?;
    let mut tx = scope(&chosen.session, chosen.account_id).begin(&web.pool).await?;
    accounts::integration(&mut *tx, id).await?.ok_or_else(nothing_there)?;
    end(&mut tx, chosen.account_id, id).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/integrations/{id}")).into_response())
}

/// Ends a connection and its runs, in the caller's transaction. `false` where there was no connection to end.
pub async fn end(conn: &mut sqlx::PgConnection, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<bool> {
    let ended = accounts::disconnect(&mut *conn, account_id, integration_id).await?;
    runs::end_unfinished(conn, account_id, integration_id, RUN_ENDED_CODE, RUN_ENDED).await?;
    Ok(ended)
}

fn nothing_there() -> Problem {
    Problem::not_found("this tenant has no such integration: see the list at /")
}
