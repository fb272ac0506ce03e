//! Whose data is looked at: an administrator chooses, or makes a tenant.

use accounts::{Tenant, TenantError};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::{Page, page};
use crate::access::posted::Posted;
use crate::access::session::Session;
use crate::access::tenant::Scope;
use crate::problem::Problem;
use crate::web::Web;

#[derive(Template)]
#[template(path = "tenants.html")]
struct TenantsPage {
    page: Page,
    tenants: Vec<Tenant>,
    /// The one that is looked at; nil where none is.
    chosen: Uuid,
    /// What was typed, and why it was not taken.
    new: New,
    refused: Option<String>,
}

#[derive(Deserialize, Default)]
pub(crate) struct New {
    name: String,
    currency: String,
    timezone: String,
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    account_id: Uuid,
}

/// Every tenant, for an administrator's session to choose from.
pub(crate) async fn tenants(web: &Web, session: &Session) -> Result<Vec<Tenant>, Problem> {
    let mut tx = session.scope().begin(&web.pool).await?;
    let rows = sqlx::query_as!(
        Tenant,
        r#"select id as "id!", name as "name!", currency as "currency!", timezone as "timezone!" from web_tenants()"#
    );
    Ok(rows.fetch_all(&mut *tx).await?)
}

pub(crate) async fn list(State(web): State<Web>, session: Session) -> Result<Response, Problem> {
    show(&web, &session, New::default(), None).await
}

async fn show(web: &Web, session: &Session, new: New, refused: Option<String>) -> Result<Response, Problem> {
    let tenants = tenants(web, session).await?;
    page(&TenantsPage {
        page: Page::of(web, session, "Tenants"),
        tenants,
        chosen: session.account_id.unwrap_or_default(),
        new,
        refused,
    })
}

pub(crate) async fn choose(State(web): State<Web>, posted: Posted<Choice>) -> Result<Response, Problem> {
    let (mut session, wanted) = (posted.session, posted.form.account_id);
    if !tenants(&web, &session).await?.iter().any(|tenant| tenant.id == wanted) {
        return Err(Problem::not_found("there is no such tenant: choose one of the list at /tenants"));
    }
    session.choose(&web, wanted).await?;
    Ok(Redirect::to("/").into_response())
}

pub(crate) async fn create(State(web): State<Web>, posted: Posted<New>) -> Result<Response, Problem> {
    let (mut session, new) = (posted.session, posted.form);
    let id = Uuid::now_v7();
    let mut tx = Scope { account_id: Some(id), ..session.scope() }.begin(&web.pool).await?;
    match accounts::create_account(&mut *tx, id, &new.name, &new.currency, &new.timezone).await {
        Ok(()) => tx.commit().await?,
        Err(TenantError::Database(error)) => return Err(error.into()),
        Err(error) => {
            let shown = show(&web, &session, new, Some(error.to_string())).await?;
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, shown).into_response());
        }
    }
    session.choose(&web, id).await?;
    Ok(Redirect::to("/").into_response())
}
