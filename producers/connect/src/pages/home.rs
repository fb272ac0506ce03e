//! The status page of a tenant: its integrations, how fresh they are, and what needs a person.

use accounts::{Integration, Tenant};
use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::{Page, page};
use crate::access::session::Chosen;
use crate::problem::Problem;
use crate::web::Web;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    page: Page,
    tenant: Tenant,
    integrations: Vec<Integration>,
}

pub(crate) async fn home(State(web): State<Web>, chosen: Chosen) -> Result<Response, Problem> {
    let mut tx = chosen.session.scope().begin(&web.pool).await?;
    let tenant = accounts::tenant(&mut *tx, chosen.account_id).await?;
    let integrations = accounts::integrations(&mut *tx).await?;
    page(&HomePage { page: Page::of_tenant(&web, &chosen, &tenant, "Status"), tenant, integrations })
}
