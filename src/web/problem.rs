use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error as RFC 9457 has it.
#[derive(Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

fn problem(status: StatusCode, detail: String) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = Json(Problem { title, status: status.as_u16(), detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

pub async fn not_found(uri: Uri) -> Response {
    problem(StatusCode::NOT_FOUND, format!("there is nothing at {}: ask for /healthz, /readyz or /metrics", uri.path()))
}

pub async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes no {method}: use GET", uri.path()))
}
