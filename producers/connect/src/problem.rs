use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The longest line of text that becomes a problem.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// An error as RFC 9457 has it. To a browser that asks for a page, a layer shows it as one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Problem { title, status: status.as_u16(), detail: detail.into(), retry_after: None }
    }

    pub(crate) fn retry_after(self, pause: Duration) -> Problem {
        Problem { retry_after: Some(pause), ..self }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// For a path that leads nowhere.
    pub async fn nothing_there(uri: Uri) -> Problem {
        Problem::not_found(format!(
            "there is nothing at {}: GET / is the status page, /openapi.json the API",
            uri.path()
        ))
    }

    /// For a path that is there, asked in another way.
    pub async fn other_method(method: Method, uri: Uri) -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes no {method}: see /openapi.json", uri.path()))
    }
}

/// The layer that makes a problem of what was refused with a line of text: an extractor of axum's that nobody asked to
/// say it otherwise.
pub(crate) async fn in_place_of_text(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_text = kind.is_none_or(|kind| kind.starts_with("text/plain"));
    if !is_error || !is_text || response.extensions().get::<Problem>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, MAX_TEXT_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let detail = if text.is_empty() { "the request was refused: see /openapi.json".to_owned() } else { text };
    let mut response = Problem::new(status, detail).into_response();
    // What else was said stays, such as which methods there are.
    for (name, value) in &parts.headers {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// Rounded up: whoever waits so long comes late enough.
pub(crate) fn whole_seconds(pause: Duration) -> u64 {
    (pause.as_secs_f64().ceil() as u64).max(1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(pause).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Problem {
        // What PostgreSQL says is for the log; whoever asks learns what to do.
        tracing::warn!(error = &error as &dyn std::error::Error, "PostgreSQL did not answer a request of the web's");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "PostgreSQL did not do it, and nothing is half-written: try again",
        )
        .retry_after(Duration::from_secs(2))
    }
}

impl From<askama::Error> for Problem {
    fn from(error: askama::Error) -> Problem {
        tracing::error!(%error, "a page could not be written");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written: report it")
    }
}

impl From<accounts::TenantError> for Problem {
    fn from(error: accounts::TenantError) -> Problem {
        match error {
            accounts::TenantError::Database(error) => error.into(),
            error @ accounts::TenantError::Unknown { .. } => Problem::not_found(error.to_string()),
            error => Problem::bad_request(error.to_string()),
        }
    }
}
