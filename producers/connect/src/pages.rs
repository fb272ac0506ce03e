//! What people see. Each page is a file here and a template of the same name; a page needs no script to work.

mod amount;
mod card;
#[cfg(test)]
mod contrast;
mod days;
mod freshness;
mod heat;
mod home;
mod integration;
mod needs;
mod plot;
mod settlement;
mod sync;
mod tenants;
mod timeline;
mod words;

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use crate::access::session::{Chosen, Session};
use crate::assets;
use crate::problem::Problem;
use crate::web::Web;
pub(crate) use tenants::tenants;

/// What the frame around every page shows.
pub(crate) struct Page {
    pub(crate) title: String,
    /// What every form brings along; empty where there is no session.
    pub(crate) csrf: String,
    pub(crate) assets: &'static str,
    /// The tenant that is looked at.
    pub(crate) tenant: Option<String>,
    pub(crate) can_log_out: bool,
}

impl Page {
    pub(crate) fn without_session(title: &str) -> Page {
        let (title, csrf) = (title.to_owned(), String::new());
        Page { title, csrf, assets: assets::VERSION, tenant: None, can_log_out: false }
    }

    pub(crate) fn of(web: &Web, session: &Session, title: &str) -> Page {
        Page {
            csrf: session.csrf_token.clone(),
            can_log_out: web.settings.admin_password_hash.is_some(),
            ..Page::without_session(title)
        }
    }

    /// A page about the tenant that was chosen.
    pub(crate) fn of_tenant(web: &Web, chosen: &Chosen, tenant: &accounts::Tenant, title: &str) -> Page {
        Page { tenant: Some(tenant.name.clone()), ..Page::of(web, &chosen.session, title) }
    }
}

/// The template, written.
pub(crate) fn page(template: &impl Template) -> Result<Response, Problem> {
    Ok(Html(template.render()?).into_response())
}

pub(crate) fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(home::home))
        .route("/integrations/{id}", get(integration::integration))
        .route("/integrations/{id}/sync", post(sync::sync))
        .route("/tenants", get(tenants::list).post(tenants::create))
        .route("/tenants/choose", post(tenants::choose))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    page: Page,
    problem: &'a Problem,
    detail: String,
}

/// An error as a page.
pub(crate) fn problem(problem: &Problem) -> Result<Response, Problem> {
    let (frame, detail) = (Page::without_session(&problem.title), card::sentence(&problem.detail));
    page(&ProblemPage { page: frame, problem, detail })
}
