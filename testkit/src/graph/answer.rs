//! A good answer, or Meta's reason not to give one.

use std::sync::Mutex;

use bytes::Bytes;

use super::ask::VERSIONS;
use super::counts::{Outcome, PageRead};
use super::dialog::{self, Shown};
use super::pages::{self, Turn};
use super::recorded::Endpoint;
use super::refusal::Refusal;
use super::reports::{self, Report};
use super::row_set::Rendered;
use super::world::World;
use super::{lock, oauth, proof};

const JSON: &str = "application/json; charset=UTF-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// An answer, usage headers apart.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: Bytes,
    pub(super) location: Option<String>,
    pub(super) outcome: Outcome,
}

impl Reply {
    fn good(body: impl Into<Bytes>) -> Self {
        Reply { status: 200, kind: JSON, body: body.into(), location: None, outcome: Outcome::Good(None) }
    }

    fn page((body, read): (Bytes, Option<PageRead>)) -> Self {
        Reply { outcome: Outcome::Good(read), ..Reply::good(body) }
    }

    pub(super) fn refused(refusal: &Refusal, trace_id: &str) -> Self {
        let outcome = if refusal.is_throttle() { Outcome::Throttled(None) } else { Outcome::Bad };
        Reply { status: refusal.status.as_u16(), outcome, ..Reply::good(refusal.body(trace_id)) }
    }

    /// Whatever is no answer of Meta's own.
    pub(super) fn foreign(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Self {
        let outcome = if status == 429 { Outcome::Throttled(None) } else { Outcome::Bad };
        Reply { status, kind, body: body.into(), location: None, outcome }
    }
}

pub(super) fn answer(world: &mut World, rendered: &Mutex<Rendered>, turn: &Turn<'_>) -> Result<Reply, Refusal> {
    let Turn { question, token, .. } = turn;
    let mut path = question.path.trim_start_matches('/').split('/');
    let (version, object, edge, rest) = (path.next().unwrap_or_default(), path.next(), path.next(), path.next());
    if !VERSIONS.contains(&version) {
        return Err(Refusal::expired_version(version));
    }
    let good = |body: String| Reply::good(body);
    let list = |body: Bytes| Reply::good(body);
    match question.endpoint() {
        Endpoint::Dialog => return Ok(shown(dialog::answer(world, question))),
        Endpoint::CodeExchange | Endpoint::LongLived => return oauth::access_token(world, question).map(good),
        Endpoint::DebugToken => {
            proof::check(world, turn)?;
            return oauth::debug_token(world, question, token).map(good);
        }
        _ => {}
    }
    let allowed = world.allowed(token)?;
    proof::check(world, turn)?;
    let is_get = question.method == "GET";
    match question.endpoint() {
        Endpoint::Me if is_get => return Ok(good(oauth::me(allowed))),
        Endpoint::Permissions if is_get => return pages::list(turn, |_| Ok(oauth::permissions(allowed))).map(list),
        Endpoint::AdAccounts if is_get && !allowed.may_read_ads() => return Err(Refusal::no_permission("me")),
        Endpoint::AdAccounts if is_get => {
            let seen = allowed.ad_accounts.iter().filter_map(|id| Some((id, world.ad_accounts.get(id)?)));
            let rows = |fields: &str| seen.map(|(id, account)| pages::ad_account(id, account, fields)).collect();
            return pages::list(turn, rows).map(list);
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
            Some(_) => pages::report_rows(world, &mut lock(rendered), turn).map(Reply::page),
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
        (Some("insights"), None) if is_get => pages::insights(world, &mut lock(rendered), turn).map(Reply::page),
        (Some("insights"), None) if question.method == "POST" => pages::report_start(world, turn).map(good),
        _ => Err(Refusal::parameter(&format!("Unsupported {} request", question.method.to_lowercase()))),
    }
}

fn shown(shown: Shown) -> Reply {
    match shown {
        Shown::Page(status, body) => Reply { status, kind: HTML, ..Reply::good(body) },
        Shown::Back(location) => {
            Reply { status: 303, kind: HTML, location: Some(location), ..Reply::good(Bytes::new()) }
        }
    }
}
