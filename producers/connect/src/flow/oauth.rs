//! To Meta's dialog, and back with a code that becomes a token.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use meta_api::{App, Error, MetaApi};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use super::draft::{self, KeptFacts};
use super::start::{Ending, Start};
use super::{back_to_start, trip};
use crate::access::session::Session;
use crate::checks::{CheckState, of_token};
use crate::directory::Directory;
use crate::problem::Problem;
use crate::web::Web;

/// How long the exchange of a code may take in all: less than any answer, so that the browser leaves the address with
/// the code in every case.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(50);

/// A link, never a form: a form would not be let go to another site. But a link of ours: where somebody has granted
/// before, Meta's dialog comes straight back, and a page of another site must not set that off.
pub(super) async fn start(
    State(web): State<Web>,
    jar: CookieJar,
    headers: HeaderMap,
    Query(query): Query<Start>,
) -> Result<Response, Problem> {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Ok(Redirect::to("/connect/meta").into_response());
    }
    let (api, app) = dialog(&web).ok_or_else(|| {
        Problem::not_found(
            "this service has no Meta app (META_APP_ID and META_APP_SECRET), does not know its address (ADLEDGER_PUBLIC_URL), or is \
             in stub mode: paste a token at /connect/meta",
        )
    })?;
    let session = Session::of_cookie(&web, &jar).await?;
    let chosen = session.and_then(|session| session.account_id.map(|account_id| (session, account_id)));
    let Some((session, account_id)) = chosen else {
        return Ok(Redirect::to("/connect/meta").into_response());
    };
    let departure = trip::begin(&web, &session, account_id, query.reconnect()).await?;
    let (state, challenge) = (departure.state.expose_secret(), &departure.code_challenge);
    let address = api.dialog_url(&app.app_id, &web.settings.redirect_uri(), state, challenge);
    Ok(Redirect::to(address.as_str()).into_response())
}

/// Whom to send people to, where there is somebody.
pub(super) fn dialog(web: &Web) -> Option<(&MetaApi, &App)> {
    web.meta.as_ref().zip(web.settings.app.as_ref()).filter(|_| web.settings.knows_its_address())
}

/// What the dialog hangs on the address.
#[derive(Deserialize)]
struct Back {
    state: Option<SecretString>,
    code: Option<SecretString>,
    error: Option<String>,
    error_reason: Option<String>,
    error_description: Option<String>,
}

/// The way back. It always ends in another address: code and state stay in none.
pub(super) async fn callback(State(web): State<Web>, jar: CookieJar, uri: Uri) -> Response {
    let exchange = tokio::time::timeout(EXCHANGE_WITHIN, arrive(&web, &jar, &uri)).await;
    let mut response = match exchange.unwrap_or(Err(Ending::NoAnswer)) {
        Ok(None) => Redirect::to("/connect/meta/accounts").into_response(),
        Ok(Some(integration_id)) => {
            Redirect::to(&format!("/connect/meta/accounts?reconnect={integration_id}")).into_response()
        }
        Err(ending) => back_to_start(ending),
    };
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Keeps the token that the code stands for; returns the integration that is to be connected again.
async fn arrive(web: &Web, jar: &CookieJar, uri: &Uri) -> Result<Option<Uuid>, Ending> {
    let mut session = Session::of_cookie(web, jar).await.map_err(|_| Ending::Database)?.ok_or(Ending::Over)?;
    let Query(back) = Query::<Back>::try_from_uri(uri).map_err(|_| Ending::Over)?;
    let state = back.state.ok_or(Ending::Over)?;
    let trip = trip::end(web, &session, &state).await.map_err(|_| Ending::Database)?.ok_or(Ending::Over)?;
    // The row of one tenant led here: what comes of the trip is that tenant's, whichever was chosen meanwhile.
    if session.account_id != Some(trip.account_id) {
        session.choose(web, trip.account_id).await.map_err(|_| Ending::Database)?;
    }
    if let Some(error) = back.error {
        let (reason, description) = (back.error_reason.as_deref(), back.error_description.as_deref());
        let refusal = meta_api::dialog_refusal(&error, reason, description);
        let is_declined = matches!(refusal, Error::Declined);
        if !is_declined {
            // The words are of whoever made the address: what they are worth is for the one who reads the log to judge.
            tracing::warn!(error = %refusal, "Meta's dialog ended without a grant");
        }
        return Err(if is_declined { Ending::Declined } else { Ending::Dialog });
    }
    let code = back.code.filter(|code| !code.expose_secret().is_empty()).ok_or(Ending::Dialog)?;
    let (api, app) = dialog(web).ok_or(Ending::App)?;
    let granted = api.exchange_code(app, &web.settings.redirect_uri(), &code, &trip.code_verifier).await;
    let short = granted.map_err(|error| failed(&error))?;
    let granted = match api.long_lived(app, &short.token).await {
        Ok(long) => long,
        // Good for an hour or two; the next page says so.
        Err(error) => {
            tracing::warn!(%error, "a token was not exchanged for a long-lived one; the short one is kept");
            short
        }
    };
    let known = Directory::of(Some(api), Some(app)).token(&granted.token).await;
    // What could not be asked now is asked again with each ad account.
    let checks = if known.is_ok() { of_token(&known) } else { Vec::new() };
    if let Some(failed) = checks.iter().find(|check| check.state == CheckState::Failed) {
        return Err(Ending::of_check(failed.name));
    }
    let mut facts = known.map(|facts| KeptFacts::of(facts.known)).unwrap_or_default();
    facts.expiry.within = granted.expires_in;
    // Also where Meta was silent: it is the app that the dialog was opened for.
    facts.app_id = Some(app.app_id.clone());
    let kept = draft::keep(web, &session, trip.account_id, &granted.token, facts).await;
    kept.map_err(|_| Ending::Database)?;
    Ok(trip.reconnect)
}

/// Why a code became no token. The sentence with what Meta said is for the log.
fn failed(error: &Error) -> Ending {
    tracing::warn!(%error, "a sign-in with Meta ended without a token");
    match error {
        Error::App { .. } => Ending::App,
        Error::RedirectAddress { .. } => Ending::RedirectAddress,
        Error::Code { .. } => Ending::Code,
        _ => Ending::NoAnswer,
    }
}
