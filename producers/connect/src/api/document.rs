//! The API's description of itself, OpenAPI 3.1.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response as Described, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::access::posted::CSRF_HEADER;
use crate::problem::Problem;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "adledger",
        version = env!("CARGO_PKG_VERSION"),
        description = "Sync runs and results of a tenant's ad accounts. The tenant comes from the credential. Errors are \
                       problem documents (RFC 9457) whose `detail` says what to do.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "syncs", description = "Asking for runs, and following them"),
        (name = "results", description = "What the runs brought"),
        (name = "service", description = "The service about itself"),
    ),
    components(schemas(Problem)),
)]
struct Frame;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)),
)]
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT.as_str())
        .into_response()
}

fn document() -> OpenApi {
    let documented = OpenApiRouter::with_openapi(Frame::openapi())
        .merge(super::bounded())
        .merge(super::summary())
        .merge(super::endless())
        .merge(super::scheduler());
    let mut document = documented.into_openapi();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(refuse);
    }
    watched(&mut document);
    credentials(&mut document);
    document
}

/// Adds how an operation refuses: every error is a problem, and some can come from whatever needs a credential.
fn refuse(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    if operation.security.is_some() {
        for (status, description) in [
            ("401", "No credential, or one that is not good"),
            ("403", "The request comes from a page of another site, or lacks the session's `x-csrf-token`"),
            ("503", "PostgreSQL does not answer"),
        ] {
            let add = || ResponseBuilder::new().description(description).build().into();
            responses.entry(status.to_owned()).or_insert_with(add);
        }
    }
    for (status, response) in responses {
        if let RefOr::T(Described { content, .. }) = response
            && status.starts_with(['4', '5'])
        {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            content.insert("application/problem+json".to_owned(), problem.into());
        }
    }
}

/// What the process serves beside this room.
fn watched(document: &mut OpenApi) {
    for (path, id, summary, kind, statuses) in [
        ("/healthz", "healthz", "Whether the process lives", "text/plain", &[("200", "It does")][..]),
        (
            "/readyz",
            "readyz",
            "Whether work can go on",
            "application/json",
            &[("200", "It can; a check that warns says why"), ("503", "It cannot; the checks say why, and what to do")],
        ),
        ("/metrics", "metrics", "Figures for Prometheus", "text/plain", &[("200", "OpenMetrics text")]),
    ] {
        let mut operation = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary)).tag("service");
        for (status, description) in statuses {
            let response = ResponseBuilder::new().description(*description).content(kind, Content::default());
            operation = operation.response(*status, response.build());
        }
        document.paths.paths.insert(path.to_owned(), PathItem::new(HttpMethod::Get, operation.build()));
    }
}

fn credentials(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let bearer = |format: &str, description: &str| {
        let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(format);
        SecurityScheme::Http(http.description(Some(description)).build())
    };
    let key = ApiKeyValue::with_description;
    for (name, scheme) in [
        ("api_token", bearer("adl_…", "An API token of a tenant; `adledger token create` makes one.")),
        ("cron_secret", bearer("secret", "`META_CRON_SECRET`, or else `CRON_SECRET`.")),
        ("cron_secret_header", SecurityScheme::ApiKey(ApiKey::Header(key("x-cron-secret", "The same secret.")))),
        (
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(key(
                "adledger_session",
                "A person's session; over https its name is `__Host-adledger_session`.",
            ))),
        ),
        (
            "csrf",
            SecurityScheme::ApiKey(ApiKey::Header(key(CSRF_HEADER, "The session's token, as its pages have it."))),
        ),
    ] {
        components.add_security_scheme(name, scheme);
    }
}

#[cfg(test)]
mod tests;
