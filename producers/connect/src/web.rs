use std::sync::Arc;
use std::time::Duration;

use accounts::KeyRing;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use meta_api::MetaApi;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::access::rate::{Limit, limit};
use crate::access::{guard, login, session};
use crate::past::Past;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::{api, assets, flow, pages, problem};

/// The largest form or document that is taken.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 10;
/// How long an answer may take, from the end of the request's head on: a body that does not come is waited for no
/// longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Where Meta is asked first, or every tenant is gone through.
const LONG_ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often an address may try what is worth guessing at.
const LOGINS_A_MINUTE: u32 = 10;
const CALLBACKS_A_MINUTE: u32 = 30;
const SCHEDULER_CALLS_A_MINUTE: u32 = 60;

/// What the web side works with.
pub struct Connect {
    /// Connections of its own: visitors take none from the work.
    pub pool: PgPool,
    pub keys: Arc<KeyRing>,
    /// `None` in stub mode: then the stub answers for what is connected, and no request leaves this process.
    pub meta: Option<MetaApi>,
    pub settings: Settings,
    /// Answers what was known at an earlier time, where somebody does.
    pub past: Option<Arc<dyn Past>>,
    /// Ends what would go on answering for ever.
    pub cancel: CancellationToken,
}

/// [`Connect`], as every handler has it.
#[derive(Clone)]
pub(crate) struct Web(Arc<Connect>);

impl std::ops::Deref for Web {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.0
    }
}

/// Every route of the web side with the layers around it, and what is said of every other path.
pub fn router(connect: Connect) -> Router {
    let web = Web(Arc::new(connect));
    let rated = |requests: u32| from_fn_with_state((web.clone(), Limit::a_minute(requests)), limit);
    let timed = |limit: Duration| from_fn_with_state(limit, within_time);
    // The session comes first: who has none is told so, whatever else they bring.
    let people = |routes: Router<Web>| routes.layer(from_fn_with_state(web.clone(), session::require));
    let scheduler = api::scheduler_route().layer(rated(SCHEDULER_CALLS_A_MINUTE));
    let login = Router::new()
        .route("/login", post(login::login))
        .layer(rated(LOGINS_A_MINUTE))
        .route("/login", get(login::form));
    let asks_meta = people(flow::routes()).merge(flow::callback_route().layer(rated(CALLBACKS_A_MINUTE)));
    people(pages::routes().route("/logout", post(login::logout)))
        .merge(login)
        .merge(api::routes())
        .layer(timed(ANSWER_WITHIN))
        .merge(asks_meta.merge(scheduler).merge(api::summary_route()).layer(timed(LONG_ANSWER_WITHIN)))
        // A stream of events goes on for as long as its run.
        .merge(api::endless_routes())
        .route("/assets/{name}", get(assets::asset))
        .fallback(Problem::nothing_there)
        .method_not_allowed_fallback(Problem::other_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(web.clone(), guard::same_site))
        .layer(from_fn(problem::in_place_of_text))
        .layer(from_fn(problems_as_pages))
        .layer(from_fn_with_state(web.clone(), guard::headers))
        .with_state(web)
}

async fn within_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("there was no answer within {} s: try again", limit.as_secs());
            Problem::new(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
        }
    }
}

/// To a browser that asks for a page, an error is one.
async fn problems_as_pages(request: Request, next: Next) -> Response {
    let wants_page = prefers_page(request.headers());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>().filter(|_| wants_page) else { return response };
    let Ok(page) = pages::problem(&problem) else { return response };
    // The headers stay: how long to wait, for one.
    let (page, body) = page.into_parts();
    response.headers_mut().extend(page.headers);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = body;
    response
}

fn prefers_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).is_some_and(|kinds| kinds.contains("text/html"))
}
