//! Who calls the API: a program with a tenant's token, or a person with a session.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum_extra::extract::CookieJar;
use secrecy::SecretString;
use uuid::Uuid;

use super::posted::CSRF_HEADER;
use super::session::Session;
use super::tenant::Scope;
use crate::problem::Problem;
use crate::web::Web;

/// Who asks, and whose rows they see. The tenant is the credential's, whatever the URL says.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account_id: Uuid,
    pub(crate) scope: Scope,
    /// The hash of the API token; without one, the session of the scope is the credential.
    token_sha256: Option<[u8; 32]>,
}

impl Caller {
    /// Whether the credential would be taken again now, and for the same tenant.
    pub(crate) async fn is_still_good(&self, web: &Web) -> Result<bool, Problem> {
        let account_id = match (self.token_sha256, self.scope.session_sha256) {
            (Some(sha256), _) => tenant_of_token(web, sha256).await?,
            (None, Some(sha256)) => Session::of_sha256(web, sha256).await?.and_then(|session| session.account_id),
            (None, None) => None,
        };
        Ok(account_id == Some(self.account_id))
    }
}

impl FromRequestParts<Web> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        if let Some(token) = bearer(&parts.headers) {
            return of_token(web, &token).await;
        }
        let session = Session::of_cookie(web, &CookieJar::from_headers(&parts.headers)).await?.ok_or_else(|| {
            Problem::unauthorized(
                "send an API token of the tenant's, `Authorization: Bearer …` (`adledger token create` makes one)",
            )
        })?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            let brought = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
            session.check_csrf(brought)?;
        }
        let account_id = session.account_id.ok_or_else(|| Problem::conflict("choose a tenant first, at /tenants"))?;
        Ok(Caller { account_id, scope: session.scope(), token_sha256: None })
    }
}

/// The text behind `Bearer`, if the request has an `Authorization` header at all.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    };
    Some(token.to_owned().into())
}

async fn of_token(web: &Web, token: &SecretString) -> Result<Caller, Problem> {
    let sha256 = accounts::secret_sha256(token);
    let account_id = tenant_of_token(web, sha256).await?;
    let account_id = account_id.ok_or_else(|| Problem::unauthorized("the API token is wrong, or was revoked"))?;
    let scope = Scope { account_id: Some(account_id), session_sha256: None };
    Ok(Caller { account_id, scope, token_sha256: Some(sha256) })
}

async fn tenant_of_token(web: &Web, sha256: [u8; 32]) -> Result<Option<Uuid>, Problem> {
    let mut tx = Scope::default().begin(&web.pool).await?;
    let found = sqlx::query_scalar!("select web_tenant_of_token($1)", sha256.to_vec()).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(found)
}
