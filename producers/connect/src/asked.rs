//! What a request brings, read. What cannot be read is refused with a problem, never with a line of text.

use std::error::Error;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::problem::Problem;
use crate::web::{MAX_BODY_BYTES, Web};

/// The body, a JSON document.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// What stands behind the question mark.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The id in the path.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) Uuid);

impl<T: DeserializeOwned> FromRequest<Web> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Problem> {
        let read = axum::Json::from_request(request, web).await;
        read.map(|axum::Json(document)| Json(document)).map_err(|rejection| {
            let why = innermost(&rejection);
            let detail = match &rejection {
                JsonRejection::JsonDataError(_) => format!("the JSON is not what is asked for: {why}"),
                JsonRejection::JsonSyntaxError(_) => format!("the body is no JSON: {why}"),
                JsonRejection::MissingJsonContentType(_) => {
                    "the body is to be JSON: send it with the header `content-type: application/json`".to_owned()
                }
                _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                    format!("the body is larger than {MAX_BODY_BYTES} bytes: send less")
                }
                _ => format!("the body came only in part, or cannot be read: {why}"),
            };
            Problem::new(rejection.status(), detail)
        })
    }
}

impl<T: DeserializeOwned> FromRequestParts<Web> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let read = axum::extract::Query::from_request_parts(parts, web).await;
        read.map(|axum::extract::Query(query)| Query(query)).map_err(|rejection| {
            let why = innermost(&rejection);
            Problem::bad_request(format!("the query is not what is asked for: {why} (see /openapi.json)"))
        })
    }
}

impl FromRequestParts<Web> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let text = axum::extract::Path::<String>::from_request_parts(parts, web).await;
        let text = text.map_err(|_| Problem::bad_request("the id in the path is no text: write a UUID"))?.0;
        let id = text.parse().map_err(|_| Problem::bad_request(format!("{text:?} is no id: write a UUID")))?;
        Ok(Id(id))
    }
}

/// What really was wrong: the errors around it say in which extractor.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
