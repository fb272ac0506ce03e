//! One question, one answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::ask::VERSIONS;
use super::dialog::{self, Shown};
use super::failure::{Failure, Kind};
use super::pages::{self, Turn, Twist};
use super::recorded::{About, Endpoint, Recorded};
use super::refusal::Refusal;
use super::reports::{self, Report};
use super::row_set::Rendered;
use super::world::World;
use super::{Inside, lock, oauth};

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "text/html; charset=utf-8";

/// An answer, usage headers apart.
struct Reply {
    status: u16,
    kind: &'static str,
    body: Bytes,
    location: Option<String>,
}

impl Reply {
    fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Reply { status, kind: JSON, body: body.into(), location: None }
    }
}

pub(super) async fn respond(
    State(inside): State<Arc<Inside>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<Response, Infallible> {
    let authorization =
        headers.get(header::AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let token = authorization.as_deref().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    let mut question = Recorded {
        method: method.to_string(),
        path: uri.path().into(),
        query,
        form: form(&body),
        authorization,
        token_in_url: false,
    };
    let about = {
        let world = lock(&inside.world);
        question.token_in_url = has_secret(&world, &uri, &question, &token);
        About::read(&question, &world)
    };
    let number = {
        let mut requests = lock(&inside.requests);
        requests.push(question.clone());
        requests.len()
    };
    let failure = lock(&inside.failures).iter_mut().find_map(|f| f.strikes(&question, &about).then(|| f.clone()));
    let trace_id = format!("Fake{number:06}");
    let good = |twist| {
        let turn = Turn { url: &inside.url, question: &question, token: &token, twist };
        let world = &mut lock(&inside.world);
        answer(world, &inside.rendered, &turn)
            .unwrap_or_else(|refusal| Reply::json(refusal.status.as_u16(), refusal.body(&trace_id)))
    };
    let reply = match failure.as_ref().map(|failure| &failure.kind) {
        None | Some(Kind::Cut) => good(Twist::None),
        Some(Kind::CursorLoop) => good(Twist::CursorLoop),
        Some(Kind::RowsMoved) => good(Twist::RowsMoved),
        Some(Kind::Slow(by)) => {
            late(&inside, *by).await;
            good(Twist::None)
        }
        Some(Kind::Refuse(refusal)) => {
            let message = question.quoted_in(&refusal.message);
            Reply::json(refusal.status.as_u16(), Refusal { message, ..refusal.clone() }.body(&trace_id))
        }
        Some(Kind::Body(status, kind, body)) => {
            Reply { status: *status, kind, body: question.quoted_in(body).into(), location: None }
        }
    };
    let body = match failure.as_ref().map(|failure| &failure.kind) {
        Some(Kind::Cut) => cut(reply.body),
        _ => Body::from(reply.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status.try_into().unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.kind));
    if let Some(location) = reply.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    usage(headers, number, &trace_id);
    for (name, value) in failure.iter().flat_map(|failure: &Failure| &failure.headers) {
        let value = question.quoted_in(value);
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// A form is spelled as a query is. A body that is none has no parameters.
fn form(body: &[u8]) -> Vec<(String, String)> {
    let uri = std::str::from_utf8(body).ok().and_then(|text| format!("/?{text}").parse::<Uri>().ok());
    let query = uri.and_then(|uri| Query::try_from_uri(&uri).ok());
    query.map(|Query(pairs)| pairs).unwrap_or_default()
}

fn has_secret(world: &World, uri: &Uri, question: &Recorded, token: &str) -> bool {
    let secrets = world.tokens.keys().chain(world.codes.keys()).chain(world.apps.values().map(|app| &app.secret));
    let secrets: Vec<&str> = secrets.map(String::as_str).chain([token]).filter(|secret| !secret.is_empty()).collect();
    let holds = |text: &str| secrets.iter().any(|secret| text.contains(secret));
    let is_debug = question.endpoint() == Endpoint::DebugToken;
    holds(uri.path())
        || (!is_debug && uri.query().is_some_and(holds))
        || question.query.iter().filter(|(key, _)| !is_debug || key != "input_token").any(|(key, value)| {
            let is_secret = key.contains("token") || ["code", "client_secret", "code_verifier"].contains(&key.as_str());
            is_secret || holds(key) || holds(value)
        })
}

/// A good answer.
fn answer(world: &mut World, rendered: &Mutex<Rendered>, turn: &Turn<'_>) -> Result<Reply, Refusal> {
    let Turn { question, token, .. } = turn;
    let mut path = question.path.trim_start_matches('/').split('/');
    let (version, object, edge, rest) = (path.next().unwrap_or_default(), path.next(), path.next(), path.next());
    if !VERSIONS.contains(&version) {
        return Err(Refusal::expired_version(version));
    }
    let good = |body: String| Reply::json(200, body);
    let page = |body: Bytes| Reply::json(200, body);
    match question.endpoint() {
        Endpoint::Dialog => return Ok(shown(dialog::answer(world, question))),
        Endpoint::CodeExchange | Endpoint::LongLived => return oauth::access_token(world, question).map(good),
        Endpoint::DebugToken => return oauth::debug_token(world, question, token).map(good),
        _ => {}
    }
    let allowed = world.allowed(token)?;
    let is_get = question.method == "GET";
    match question.endpoint() {
        Endpoint::Me if is_get => return Ok(good(oauth::me(allowed))),
        Endpoint::Permissions if is_get => return pages::list(turn, |_| Ok(oauth::permissions(allowed))).map(page),
        Endpoint::AdAccounts if is_get && !allowed.may_read_ads() => return Err(Refusal::no_permission("me")),
        Endpoint::AdAccounts if is_get => {
            let seen = allowed.ad_accounts.iter().filter_map(|id| Some((id, world.ad_accounts.get(id)?)));
            let rows = |fields: &str| seen.map(|(id, account)| pages::ad_account(id, account, fields)).collect();
            return pages::list(turn, rows).map(page);
        }
        _ => {}
    }
    let object = object.unwrap_or_default();
    let is_report = matches!(question.endpoint(), Endpoint::ReportStatus | Endpoint::ReportRows);
    if is_report && is_get && rest.is_none() {
        let Report { external_id, .. } = world.reports.get(object)?;
        if !allowed.ad_accounts.contains(external_id) || !allowed.may_read_ads() {
            return Err(Refusal::no_permission(external_id));
        }
        return match edge {
            None => reports::status(world, question).map(good),
            Some(_) => pages::report_rows(world, &mut lock(rendered), turn).map(page),
        };
    }
    let account = world.ad_accounts.get(object).ok_or_else(|| Refusal::unknown_object(object))?;
    if !allowed.ad_accounts.contains(object) || !allowed.may_read_ads() {
        return Err(Refusal::no_permission(object));
    }
    match (edge, rest) {
        (None, None) if is_get => {
            pages::ad_account(object, account, question.parameter("fields").unwrap_or_default()).map(good)
        }
        (Some("insights"), None) if is_get => pages::insights(world, &mut lock(rendered), turn).map(page),
        (Some("insights"), None) if question.method == "POST" => pages::report_start(world, turn).map(good),
        _ => Err(Refusal::parameter(&format!("Unsupported {} request", question.method.to_lowercase()))),
    }
}

fn shown(shown: Shown) -> Reply {
    match shown {
        Shown::Page(status, body) => Reply { status, kind: HTML, body: body.into(), location: None },
        Shown::Back(location) => Reply { status: 303, kind: HTML, body: Bytes::new(), location: Some(location) },
    }
}

/// Usage grows by one percent with every ten questions.
fn usage(headers: &mut HeaderMap, number: usize, trace_id: &str) {
    let percent = (number / 10).min(95);
    for (name, value) in [
        (
            "x-business-use-case-usage",
            format!(
                r#"{{"1001":[{{"type":"ads_insights","call_count":{percent},"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0,"ads_api_access_tier":"standard_access"}}]}}"#
            ),
        ),
        ("x-app-usage", format!(r#"{{"call_count":{percent},"total_time":1,"total_cputime":1}}"#)),
        (
            "x-ad-account-usage",
            format!(
                r#"{{"acc_id_util_pct":{percent}.5,"reset_time_duration":0,"ads_api_access_tier":"standard_access"}}"#
            ),
        ),
        (
            "x-fb-ads-insights-throttle",
            format!(r#"{{"app_id_util_pct":{percent},"acc_id_util_pct":0,"ads_api_access_tier":"standard_access"}}"#),
        ),
        ("x-fb-trace-id", trace_id.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Waits, but not longer than the server lives.
async fn late(inside: &Inside, by: Duration) {
    tokio::select! {
        () = inside.stop.cancelled() => {}
        () = tokio::time::sleep(by) => {}
    }
}

/// Half of the body, and then the connection breaks.
fn cut(mut half: Bytes) -> Body {
    half.truncate(half.len() / 2);
    Body::from_stream(stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) if !half.is_empty() => Some((Ok(half), Some(Bytes::new()))),
            Some(_) => {
                // Lets the first half leave.
                tokio::task::yield_now().await;
                Some((Err(std::io::Error::other("cut")), None))
            }
            None => None,
        }
    }))
}
