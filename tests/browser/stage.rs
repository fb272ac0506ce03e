//! A small web site on which the browser shows what it can do.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Serves on a free port until the runtime ends, and gives the URL.
pub async fn open() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new()
        .route("/", get(async || page(include_str!("stage/form.html"))))
        .route("/greet", post(greet))
        .route("/greeted", get(greeted))
        .route("/live", get(async || page(include_str!("stage/live.html"))))
        .route("/events", get(events))
        .route("/bad", get(bad))
        .route("/unnamed", get(async || page(include_str!("stage/unnamed.html"))))
        .route("/slow", get(async || slow(600)))
        .route("/stuck", get(async || slow(600_000)))
        .route("/style.css", get(async || file("text/css", include_str!("stage/style.css"))))
        .route("/live.js", get(async || file("text/javascript", include_str!("stage/live.js"))))
        .route("/bad.js", get(async || file("text/javascript", include_str!("stage/bad.js"))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

fn page(html: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(html))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

/// Answers what a form handler does: again with 422 what cannot be taken, else a redirect and a cookie.
async fn greet(body: String) -> Response {
    let name = body.split('&').find_map(|field| field.strip_prefix("name=")).unwrap_or_default();
    if name.is_empty() {
        return (StatusCode::UNPROCESSABLE_ENTITY, page(include_str!("stage/refused.html"))).into_response();
    }
    let cookie = format!("__Host-name={name}; Path=/; Secure; HttpOnly; SameSite=Lax");
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/greeted".to_owned()), (header::SET_COOKIE, cookie)]).into_response()
}

async fn greeted(headers: HeaderMap) -> Response {
    let cookie = headers.get(header::COOKIE).and_then(|cookie| cookie.to_str().ok()).unwrap_or("nothing");
    // What a cookie may hold here is made of the test's own letters.
    let html = include_str!("stage/greeted.html").replace("COOKIE", cookie);
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(html)).into_response()
}

/// Three events, some time apart, and then silence on an open connection.
async fn events() -> Response {
    let events = stream::unfold(1, async |number| {
        tokio::time::sleep(Duration::from_millis(if number > 3 { 600_000 } else { 100 })).await;
        Some((Ok::<_, Infallible>(format!("data: {number} of 3\n\n")), number + 1))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// What a page should not be: its cookie is one that only HTTPS may set, and says that it is not.
async fn bad() -> impl IntoResponse {
    ([(header::SET_COOKIE, "__Host-open=1; Path=/; HttpOnly; SameSite=Lax")], page(include_str!("stage/bad.html")))
}

/// A page that has its first byte soon and its last one late.
fn slow(last_byte_after_ms: u64) -> Response {
    let html = include_str!("stage/greeted.html");
    let (first, last) = html.split_at(html.len() / 2);
    let parts = stream::iter([(50, first), (last_byte_after_ms, last)]).then(async |(after_ms, part)| {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        Ok::<_, Infallible>(part)
    });
    ([(header::CONTENT_TYPE, "text/html"), (header::CONTENT_SECURITY_POLICY, POLICY)], Body::from_stream(parts))
        .into_response()
}
