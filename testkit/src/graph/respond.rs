//! One question, one answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::ask::{self, VERSIONS};
use super::failure::{Failure, Kind};
use super::recorded::Recorded;
use super::refusal::Refusal;
use super::world::{AdAccount, World};
use super::{Inside, lock};

const JSON: &str = "application/json; charset=UTF-8";

/// How a good answer is made worse.
#[derive(Default, Clone, Copy, PartialEq)]
enum Twist {
    #[default]
    None,
    CursorLoop,
    RowsMoved,
}

pub(super) async fn respond(
    State(inside): State<Arc<Inside>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Infallible> {
    let authorization =
        headers.get(header::AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let token = authorization.as_deref().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    let question = Recorded {
        method: method.to_string(),
        path: uri.path().into(),
        token_in_url: has_token(&inside, &uri, &query, &token),
        query,
        authorization,
    };
    let number = {
        let mut requests = lock(&inside.requests);
        requests.push(question.clone());
        requests.len()
    };
    let failure = lock(&inside.failures).iter_mut().find_map(|f| f.strikes(&question).then(|| f.clone()));
    let trace_id = format!("Fake{number:06}");
    let good = |twist| match answer(&inside, &question, &token, twist) {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status.as_u16(), refusal.body(&trace_id)),
    };
    let mut kind = JSON;
    let (status, body) = match failure.as_ref().map(|failure| &failure.kind) {
        None | Some(Kind::Cut) => good(Twist::None),
        Some(Kind::CursorLoop) => good(Twist::CursorLoop),
        Some(Kind::RowsMoved) => good(Twist::RowsMoved),
        Some(Kind::Slow(by)) => {
            late(&inside, *by).await;
            good(Twist::None)
        }
        Some(Kind::Refuse(refusal)) => {
            let message = refusal.message.replace("{token}", &token);
            (refusal.status.as_u16(), Refusal { message, ..refusal.clone() }.body(&trace_id))
        }
        Some(Kind::Body(status, content_type, body)) => {
            kind = content_type;
            (*status, body.replace("{token}", &token))
        }
    };
    let body = match failure.as_ref().map(|failure| &failure.kind) {
        Some(Kind::Cut) => cut(body),
        _ => Body::from(body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    usage(headers, number, &trace_id);
    for (name, value) in failure.iter().flat_map(|failure: &Failure| &failure.headers) {
        let value = value.replace("{token}", &token);
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

fn has_token(inside: &Inside, uri: &Uri, query: &[(String, String)], token: &str) -> bool {
    let world = lock(&inside.world);
    let holds = |text: &str| {
        world.tokens.keys().map(String::as_str).chain([token]).any(|token| !token.is_empty() && text.contains(token))
    };
    uri.path_and_query().is_some_and(|text| holds(text.as_str()))
        || query.iter().any(|(key, value)| key.contains("token") || holds(key) || holds(value))
}

/// The body of a good answer.
fn answer(inside: &Inside, question: &Recorded, token: &str, twist: Twist) -> Result<String, Refusal> {
    let world = lock(&inside.world);
    let mut path = question.path.trim_start_matches('/').split('/');
    let (version, object, edge, rest) = (path.next().unwrap_or_default(), path.next(), path.next(), path.next());
    if !VERSIONS.contains(&version) {
        return Err(Refusal::expired_version(version));
    }
    if token.is_empty() {
        return Err(Refusal::no_token());
    }
    let allowed = world.tokens.get(token).ok_or_else(|| Refusal::invalid_token(token))?;
    let object = object.unwrap_or_default();
    let account = world.ad_accounts.get(object).ok_or_else(|| Refusal::unknown_object(object))?;
    if !allowed.contains(object) {
        return Err(Refusal::no_permission(object));
    }
    match (question.method.as_str(), edge, rest) {
        ("GET", None, None) => ad_account(object, account, question),
        ("GET", Some("insights"), None) => insights(&inside.url, &world, question, token, twist),
        _ => Err(Refusal::parameter(&format!("Unsupported {} request", question.method.to_lowercase()))),
    }
}

fn ad_account(external_id: &str, account: &AdAccount, question: &Recorded) -> Result<String, Refusal> {
    // The id comes unasked.
    let mut fields = vec!["id"];
    fields.extend(question.parameter("fields").unwrap_or_default().split(',').filter(|f| !f.is_empty() && *f != "id"));
    let mut members = Vec::new();
    for field in fields {
        let value = match field {
            "id" => format!(r#""{external_id}""#),
            "account_id" => format!(r#""{}""#, external_id.trim_start_matches("act_")),
            "name" => account.name.json().into(),
            "currency" => format!(r#""{}""#, account.currency),
            "timezone_name" => format!(r#""{}""#, account.timezone_name.replace('/', "\\/")),
            "account_status" => account.account_status.to_string(),
            field => {
                let message = format!("Tried accessing nonexisting field ({field}) on node type (AdAccount)");
                return Err(Refusal::parameter(&message));
            }
        };
        members.push(format!(r#""{field}":{value}"#));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

fn insights(url: &str, world: &World, question: &Recorded, token: &str, twist: Twist) -> Result<String, Refusal> {
    let (ask, paging) = ask::parse(&question.query, world)?;
    let rows = world.rows(question.external_id(), &ask);
    let start = match &paging.after {
        None => 0,
        Some(after) => position(after).ok_or_else(|| Refusal::parameter("Invalid cursor in the parameter after"))?,
    };
    let shift = usize::from(twist == Twist::RowsMoved);
    let first = start.saturating_sub(shift).min(rows.len());
    let end = (first + paging.limit).min(rows.len());
    let page = &rows[first..end];
    if page.is_empty() {
        return Ok(r#"{"data":[]}"#.into());
    }
    let mut after = cursor(end);
    if let (Twist::CursorLoop, Some(came_with)) = (twist, &paging.after) {
        after.clone_from(came_with);
    }
    let mut cursors = serde_json::json!({"cursors": {"before": cursor(first), "after": after}});
    if end < rows.len() || twist == Twist::CursorLoop {
        cursors["next"] = next(url, question, token, &after).into();
    }
    Ok(format!(r#"{{"data":[{}],"paging":{cursors}}}"#, page.join(",")))
}

/// Opaque, and of the kind that changes when it is not encoded in a URL.
fn cursor(position: usize) -> String {
    format!("QVFI+{:x}/ZD==", position * 7919 + 104_729)
}

fn position(cursor: &str) -> Option<usize> {
    let number = usize::from_str_radix(cursor.strip_prefix("QVFI+")?.strip_suffix("/ZD==")?, 16).ok()?;
    let number = number.checked_sub(104_729)?;
    (number % 7919 == 0).then_some(number / 7919)
}

/// A full URL with the token in it, as Meta's is.
fn next(url: &str, question: &Recorded, token: &str, after: &str) -> String {
    let kept =
        question.query.iter().filter(|(key, _)| key != "after").map(|(key, value)| (key.as_str(), value.as_str()));
    let query: Vec<String> = [("access_token", token)]
        .into_iter()
        .chain(kept)
        .chain([("after", after)])
        .map(|(key, value)| format!("{key}={}", percent(value)))
        .collect();
    format!("{url}{}?{}", question.path, query.join("&"))
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
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
fn cut(body: String) -> Body {
    let mut half = Bytes::from(body);
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

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn pages_lead_on_by_cursor_and_by_a_url_with_the_token() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let world = World::demo("a|b/c", "act_1", "UTC", "USD", day..=day, 12);
        let sent = world.totals("act_1", day, None).ads;
        let range = format!(r#"{{"since":"{day}","until":"{day}"}}"#);
        let mut query = vec![];
        for (key, value) in
            [("level", "ad"), ("time_increment", "1"), ("time_range", &range), ("fields", "ad_id"), ("limit", "5")]
        {
            query.push((key.to_owned(), value.to_owned()));
        }
        let mut ads = std::collections::BTreeSet::new();
        loop {
            let question = Recorded {
                method: "GET".into(),
                path: "/v25.0/act_1/insights".into(),
                query: query.clone(),
                authorization: None,
                token_in_url: false,
            };
            let page = insights("http://here", &world, &question, "a|b/c", Twist::None).unwrap();
            let page: serde_json::Value = serde_json::from_str(&page).unwrap();
            ads.extend(page["data"].as_array().unwrap().iter().map(|row| row["ad_id"].as_str().unwrap().to_owned()));
            let Some(next) = page["paging"]["next"].as_str() else { break };
            assert!(next.starts_with("http://here/v25.0/act_1/insights?access_token=a%7Cb%2Fc&level=ad&"), "{next}");
            query.retain(|(key, _)| key != "after");
            query.push(("after".into(), page["paging"]["cursors"]["after"].as_str().unwrap().into()));
        }
        assert_eq!(ads.len(), sent);
        assert!(sent > 5);
    }
}
