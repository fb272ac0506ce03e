//! One question: what befalls it, and its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::time::Instant;

use super::answer::{HTML, Reply, answer};
use super::blocks::{Scope, Throttled};
use super::counts::Outcome;
use super::failure::{Failure, Kind};
use super::faults::Mishap;
use super::pages::{Turn, Twist};
use super::recorded::{About, Endpoint, Recorded};
use super::refusal::Refusal;
use super::usage::{self, Usage};
use super::world::World;
use super::{Inside, lock};

/// A question that has come.
struct Call {
    question: Recorded,
    token: String,
    endpoint: Endpoint,
    about: About,
    /// Its number among those that anything may befall.
    number: u64,
    trace_id: String,
}

/// What befalls a question, from the script, from a block, or by chance.
enum Misfortune {
    Scripted(Failure),
    Throttled(Throttled),
    Chance(Mishap),
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
    let (about, latency) = {
        let world = lock(&inside.world);
        question.token_in_url = has_secret(&world, &uri, &question, &token);
        (About::read(&question, &world), world.latency)
    };
    let place = {
        let mut requests = lock(&inside.requests);
        requests.push(question.clone());
        requests.len()
    };
    let endpoint = question.endpoint();
    lock(&inside.ledger).came(endpoint, &about);
    let number = if endpoint.is_counted() { inside.calls.fetch_add(1, Ordering::Relaxed) } else { 0 };
    let call = Call { question, token, endpoint, about, number, trace_id: format!("Fake{place:06}") };

    let misfortune = call.misfortune(&inside);
    if let Some(Misfortune::Scripted(Failure { kind: Kind::Slow(by), .. })) = &misfortune {
        late(&inside, *by).await;
    }
    let mut reply = call.reply(&inside, misfortune.as_ref());
    if misfortune.as_ref().is_some_and(Misfortune::is_cut) {
        reply.outcome = Outcome::Bad;
    }
    if !latency.is_zero() {
        late(&inside, latency).await;
    }
    let body = match &misfortune {
        Some(misfortune) if misfortune.is_cut() => cut(reply.body),
        _ => Body::from(reply.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status.try_into().unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.kind));
    if let Some(location) = reply.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    call.usage(&inside, place, misfortune.as_ref(), headers);
    lock(&inside.ledger).answered(call.endpoint, &call.about, reply.outcome);
    if let Some(Misfortune::Throttled(throttled)) = &misfortune {
        lock(&inside.blocks).announce(&throttled.scope, Instant::now());
    }
    Ok(response)
}

impl Call {
    fn misfortune(&self, inside: &Inside) -> Option<Misfortune> {
        let mut failures = lock(&inside.failures);
        let strikes = |failure: &mut Failure| failure.strikes(&self.question, &self.about).then(|| failure.clone());
        if let Some(failure) = failures.iter_mut().find_map(strikes) {
            return Some(Misfortune::Scripted(failure));
        }
        drop(failures);
        if !self.endpoint.is_counted() {
            return None;
        }
        let world = lock(&inside.world);
        let app = world.tokens.get(&self.token).and_then(|token| token.app_id.clone());
        let app = Scope::App(app.unwrap_or_else(|| self.token.clone()));
        let account = Scope::AdAccount(self.about.external_id.clone());
        let mut blocks = lock(&inside.blocks);
        let now = Instant::now();
        if self.endpoint.is_throttled()
            && let Some(throttled) = blocks.meet([&app, &account], world.quota, now)
        {
            return Some(Misfortune::Throttled(throttled));
        }
        let mishap = world.faults.draw(self.number, self.endpoint.is_throttled())?;
        let Mishap::Throttle(kind, hint) = mishap else { return Some(Misfortune::Chance(mishap)) };
        let scope = if kind.is_of_app() { app } else { account };
        let lasts = Duration::from_secs(world.faults.block_seconds.into());
        Some(Misfortune::Throttled(blocks.open_block(scope, (kind, hint), lasts, now)))
    }

    fn reply(&self, inside: &Inside, misfortune: Option<&Misfortune>) -> Reply {
        let Call { question, token, trace_id, .. } = self;
        let good = |twist| {
            let turn = Turn { url: &inside.url, question, token, call: self.number, twist };
            let world = &mut lock(&inside.world);
            answer(world, &inside.rendered, &turn).unwrap_or_else(|refusal| Reply::refused(&refusal, trace_id))
        };
        let failure = match misfortune {
            None | Some(Misfortune::Chance(Mishap::Cut)) => return good(Twist::None),
            Some(Misfortune::Throttled(throttled)) => return self.throttled(throttled),
            Some(Misfortune::Chance(mishap)) => return self.by_chance(mishap),
            Some(Misfortune::Scripted(failure)) => failure,
        };
        match &failure.kind {
            Kind::Cut | Kind::Slow(_) => good(Twist::None),
            Kind::CursorLoop => good(Twist::CursorLoop),
            Kind::RowsMoved => good(Twist::RowsMoved),
            Kind::Refuse(refusal) => {
                let message = question.quoted_in(&refusal.message);
                Reply::refused(&Refusal { message, ..refusal.clone() }, trace_id)
            }
            Kind::Body(status, kind, body) => Reply::foreign(*status, kind, question.quoted_in(body)),
        }
    }

    fn throttled(&self, throttled: &Throttled) -> Reply {
        let reply = match throttled.kind.refusal() {
            Some(refusal) => Reply::refused(&refusal, &self.trace_id),
            None => Reply::foreign(429, HTML, "<html><body><h1>Too many requests</h1></body></html>"),
        };
        Reply { outcome: Outcome::Throttled(Some(throttled.came)), ..reply }
    }

    fn by_chance(&self, mishap: &Mishap) -> Reply {
        let (status, code, is_transient) = match *mishap {
            Mishap::ServerError(status, false) => {
                return Reply::foreign(status, HTML, "<html><body><h1>Sorry, something went wrong.</h1></body></html>");
            }
            Mishap::ServerError(status, true) => (status, 2, false),
            Mishap::Transient(true) => (400, 1_349_195, true),
            _ => (400, 2, false),
        };
        let message = "An unexpected error has occurred. Please retry your request later.";
        Reply::refused(&Refusal { is_transient, ..Refusal::new(status, code, None, message) }, &self.trace_id)
    }

    /// The headers about usage, and those that a scripted failure wants.
    fn usage(&self, inside: &Inside, place: usize, misfortune: Option<&Misfortune>, headers: &mut HeaderMap) {
        usage::insert(headers, "x-fb-trace-id", &self.trace_id);
        let quota = lock(&inside.world).quota;
        let used = match quota {
            None => Usage::of_questions(place),
            Some(quota) => {
                let used = lock(&inside.blocks).usage(&self.about.external_id, quota, Instant::now());
                Usage::of_quota(quota, used)
            }
        };
        match misfortune {
            Some(Misfortune::Throttled(throttled)) => {
                if throttled.is_of_quota {
                    used.write(headers);
                }
                if let Some((name, value)) = throttled.hint.header(throttled.seconds) {
                    usage::insert(headers, name, &value);
                }
            }
            Some(Misfortune::Scripted(failure)) => {
                used.write(headers);
                for (name, value) in &failure.headers {
                    usage::insert(headers, name, &self.question.quoted_in(value));
                }
            }
            _ => used.write(headers),
        }
    }
}

impl Misfortune {
    fn is_cut(&self) -> bool {
        matches!(self, Misfortune::Chance(Mishap::Cut) | Misfortune::Scripted(Failure { kind: Kind::Cut, .. }))
    }
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
