//! The administrator comes in, and goes.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::{CookieJar, Form};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::password;
use super::posted::Posted;
use super::session::Session;
use crate::pages::{Page, page};
use crate::problem::Problem;
use crate::web::Web;

/// Passwords that are compared at a time: each takes memory and a processor on purpose.
static COMPARISONS: Semaphore = Semaphore::const_new(1);

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    page: Page,
    wanted: String,
    refused: bool,
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    wanted: String,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    password: SecretString,
    #[serde(default)]
    wanted: String,
}

/// Where to log in to see `wanted` afterwards.
pub(crate) fn address(wanted: &str) -> String {
    let mut address = String::from("/login?wanted=");
    for byte in wanted.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) => address.push(char::from(b)),
            b => address.push_str(&format!("%{b:02X}")),
        }
    }
    address
}

/// A path of ours: never another site, whatever somebody wrote into a link.
fn ours(wanted: &str) -> &str {
    let is_ours =
        wanted.starts_with('/') && !wanted.starts_with("//") && !wanted.contains(|c: char| c == '\\' || c.is_control());
    if is_ours { wanted } else { "/" }
}

pub(crate) async fn form(State(web): State<Web>, Query(query): Query<Wanted>) -> Result<Response, Problem> {
    if web.settings.admin_password_hash.is_none() {
        return Ok(Redirect::to(ours(&query.wanted)).into_response());
    }
    let wanted = ours(&query.wanted).to_owned();
    page(&LoginPage { page: Page::without_session("Log in"), wanted, refused: false })
}

/// A right password begins a new session; one that the browser had before is worth nothing more by it.
pub(crate) async fn login(
    State(web): State<Web>,
    jar: CookieJar,
    Form(login): Form<Login>,
) -> Result<Response, Problem> {
    let Some(hash) = web.settings.admin_password_hash.clone() else {
        return Ok(Redirect::to("/").into_response());
    };
    let wanted = ours(&login.wanted).to_owned();
    let permit = COMPARISONS.acquire().await;
    let compare = move || {
        // Held until it is done, also where nobody waits for it any more.
        let _permit = permit;
        password::is_right(&hash, &login.password)
    };
    let is_right = tokio::task::spawn_blocking(compare).await;
    if !is_right.unwrap_or(false) {
        tracing::warn!("somebody tried to log in with a wrong password");
        let refused = LoginPage { page: Page::without_session("Log in"), wanted, refused: true };
        return Ok((StatusCode::UNAUTHORIZED, page(&refused)?).into_response());
    }
    if let Some(before) = Session::of_cookie(&web, &jar).await? {
        before.end(&web).await?;
    }
    let (_, cookie) = Session::start(&web).await?;
    Ok((jar.add(cookie), Redirect::to(&wanted)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn logout(
    State(web): State<Web>,
    jar: CookieJar,
    posted: Posted<Nothing>,
) -> Result<Response, Problem> {
    let gone = posted.session.end(&web).await?;
    Ok((jar.add(gone), Redirect::to("/")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (wanted, sent) in [
            ("/integrations/1?x=1", "/integrations/1?x=1"),
            ("//evil.example.com", "/"),
            ("https://evil.example.com", "/"),
            ("/\\evil.example.com", "/"),
            ("/\u{1}x", "/"),
            ("", "/"),
        ] {
            assert_eq!(ours(wanted), sent);
        }
        assert_eq!(address("/a?b=c&d"), "/login?wanted=/a%3Fb%3Dc%26d");
    }
}
