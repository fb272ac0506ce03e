//! One integration: its runs, its days, its numbers.

use accounts::{Integration, Tenant};
use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use uuid::Uuid;

use super::{Page, page};
use crate::access::session::Chosen;
use crate::problem::Problem;
use crate::web::Web;

#[derive(Template)]
#[template(path = "integration.html")]
struct IntegrationPage {
    page: Page,
    tenant: Tenant,
    integration: Integration,
}

pub(crate) async fn integration(
    State(web): State<Web>,
    chosen: Chosen,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let mut tx = chosen.session.scope().begin(&web.pool).await?;
    let tenant = accounts::tenant(&mut *tx, chosen.account_id).await?;
    let found = accounts::integration(&mut *tx, id).await?;
    let integration = found.ok_or_else(|| Problem::not_found("this tenant has no such integration"))?;
    let page_of = Page::of_tenant(&web, &chosen, &tenant, &integration.ad_account_name);
    page(&IntegrationPage { page: page_of, tenant, integration })
}
