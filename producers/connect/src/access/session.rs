//! A person in a browser: a random id in a cookie, and a row that knows its hash.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::tenant::Scope;
use crate::problem::Problem;
use crate::web::Web;

/// How long a session lasts.
const HOURS: i32 = 12;

/// A session that is good now.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) sha256: [u8; 32],
    pub(crate) csrf_token: String,
    /// The tenant that was chosen.
    pub(crate) account_id: Option<Uuid>,
}

impl Session {
    /// Begins one, and returns the cookie that proves it.
    pub(crate) async fn start(web: &Web) -> Result<(Session, Cookie<'static>), Problem> {
        let id = accounts::random_secret();
        let sha256 = stored(web, id.expose_secret());
        let csrf_token = accounts::random_secret().expose_secret().to_owned();
        let mut tx = Scope { session_sha256: Some(sha256), ..Scope::default() }.begin(&web.pool).await?;
        sqlx::query!("select web_forget_expired()::text").fetch_one(&mut *tx).await?;
        sqlx::query!(
            "insert into web_sessions (id_sha256, csrf_token, expires_at) values ($1, $2, now() + make_interval(hours => $3))",
            sha256.as_slice(),
            csrf_token,
            HOURS,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((Session { sha256, csrf_token, account_id: None }, cookie(web, id.expose_secret().to_owned())))
    }

    /// The session that a cookie proves, if it is good.
    pub(crate) async fn of_cookie(web: &Web, jar: &CookieJar) -> Result<Option<Session>, Problem> {
        let Some(id) = jar.get(name(web)) else { return Ok(None) };
        Session::of_sha256(web, stored(web, id.value())).await
    }

    /// The session of which this is stored, if it is good.
    pub(crate) async fn of_sha256(web: &Web, sha256: [u8; 32]) -> Result<Option<Session>, Problem> {
        let mut tx = Scope { session_sha256: Some(sha256), ..Scope::default() }.begin(&web.pool).await?;
        let row = sqlx::query!(
            "select csrf_token, chosen_account_id from web_sessions where id_sha256 = $1 and expires_at > now()",
            sha256.as_slice(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        Ok(row.map(|r| Session { sha256, csrf_token: r.csrf_token, account_id: r.chosen_account_id }))
    }

    /// Whose rows it may see.
    pub(crate) fn scope(&self) -> Scope {
        Scope { account_id: self.account_id, session_sha256: Some(self.sha256) }
    }

    /// Looks at another tenant from now on. A draft of the one before stays with that one.
    pub(crate) async fn choose(&mut self, web: &Web, account_id: Uuid) -> Result<(), Problem> {
        let mut tx = self.scope().begin(&web.pool).await?;
        sqlx::query!(
            "update web_sessions set chosen_account_id = $2 where id_sha256 = $1",
            self.sha256.as_slice(),
            account_id,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.account_id = Some(account_id);
        Ok(())
    }

    /// Ends it; returns the cookie that says so.
    pub(crate) async fn end(self, web: &Web) -> Result<Cookie<'static>, Problem> {
        let mut tx = self.scope().begin(&web.pool).await?;
        sqlx::query!("delete from web_sessions where id_sha256 = $1", self.sha256.as_slice()).execute(&mut *tx).await?;
        tx.commit().await?;
        let mut gone = cookie(web, String::new());
        gone.make_removal();
        Ok(gone)
    }
}

/// What is stored of an id. The password's hash is in it: a session that began with another password, or without one,
/// is none.
fn stored(web: &Web, id: &str) -> [u8; 32] {
    let password = web.settings.admin_password_hash.as_ref().map(|hash| hash.expose_secret()).unwrap_or_default();
    accounts::secret_sha256(&SecretString::from(format!("{id} {password}")))
}

/// With the prefix, a browser takes the cookie from this host alone, and over https alone.
fn name(web: &Web) -> &'static str {
    if web.settings.secure_cookies() { "__Host-adledger_session" } else { "adledger_session" }
}

/// Lax: the way back from Meta's dialog is a visit from another site, and has to find its session.
fn cookie(web: &Web, id: String) -> Cookie<'static> {
    Cookie::build((name(web), id))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(web.settings.secure_cookies())
        .build()
}

/// The layer before everything that people see: a session is there afterwards, or they are sent to log in.
///
/// Without an administrator's password (which only a loopback address does without) everybody who comes gets one.
pub(crate) async fn require(State(web): State<Web>, jar: CookieJar, mut request: Request, next: Next) -> Response {
    let found = match Session::of_cookie(&web, &jar).await {
        Ok(found) => found,
        Err(problem) => return problem.into_response(),
    };
    if let Some(session) = found {
        request.extensions_mut().insert(session);
        return next.run(request).await;
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads {
        return Problem::unauthorized("your session is over: open the page again, and repeat what you did")
            .into_response();
    }
    if web.settings.admin_password_hash.is_some() {
        let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
        return Redirect::to(&super::login::address(wanted)).into_response();
    }
    match Session::start(&web).await {
        Ok((session, cookie)) => {
            request.extensions_mut().insert(session);
            let response = next.run(request).await;
            (jar.add(cookie), response).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Session>().cloned();
        found.ok_or_else(|| Problem::unauthorized("there is no session: open the page again"))
    }
}

/// A session with the tenant it looks at. Where there is only one tenant, it is that one.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) session: Session,
    pub(crate) account_id: Uuid,
}

impl FromRequestParts<Web> for Chosen {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let mut session = Session::from_request_parts(parts, web).await.map_err(IntoResponse::into_response)?;
        if let Some(account_id) = session.account_id {
            return Ok(Chosen { session, account_id });
        }
        let tenants = crate::pages::tenants(web, &session).await.map_err(IntoResponse::into_response)?;
        if let [only] = tenants.as_slice() {
            session.choose(web, only.id).await.map_err(IntoResponse::into_response)?;
            return Ok(Chosen { account_id: only.id, session });
        }
        let is_page = parts.headers.get(header::ACCEPT).is_none_or(|kind| kind.as_bytes() != b"application/json");
        if is_page && parts.method == Method::GET {
            return Err(Redirect::to("/tenants").into_response());
        }
        Err(Problem::conflict("choose a tenant first, at /tenants").into_response())
    }
}
