//! What a form brings, once it has proven to be one of ours.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum_extra::extract::Form;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use super::session::Session;
use crate::problem::Problem;
use crate::web::Web;

/// The header in which a script brings what a form has in its field `csrf`.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// A form of this session's. Every handler of a form takes one: what a page of another site posts does not get here.
#[derive(Debug)]
pub(crate) struct Posted<T> {
    pub(crate) session: Session,
    pub(crate) form: T,
}

#[derive(Deserialize)]
struct Proof {
    #[serde(default)]
    csrf: String,
}

impl Session {
    /// Refuses a request that does not bring the session's token along.
    pub(crate) fn check_csrf(&self, brought: &str) -> Result<(), Problem> {
        if bool::from(brought.as_bytes().ct_eq(self.csrf_token.as_bytes())) {
            return Ok(());
        }
        Err(Problem::forbidden("the form is not one of this session's: open the page again, and repeat what you did"))
    }
}

impl<T: DeserializeOwned> FromRequest<Web> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let session = <Session as axum::extract::FromRequestParts<Web>>::from_request_parts(&mut parts, web).await?;
        let header = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let again = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
        let request = Request::from_parts(parts, body);
        let bytes = Bytes::from_request(request, web)
            .await
            .map_err(|error| Problem::new(error.status(), "the form is too large, or came only in part"))?;
        let read = |bytes: Bytes| {
            let mut request = Request::new(axum::body::Body::from(bytes));
            (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = again.clone();
            request
        };
        let brought = match header {
            Some(brought) => brought,
            None => form::<Proof>(read(bytes.clone())).await?.csrf,
        };
        session.check_csrf(&brought)?;
        Ok(Posted { session, form: form(read(bytes)).await? })
    }
}

async fn form<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let form = Form::<T>::from_request(request, &()).await;
    form.map(|Form(form)| form).map_err(|_| {
        Problem::bad_request(
            "the form lacks a field, or has one that cannot be read: open the page again, and repeat what you did",
        )
    })
}
