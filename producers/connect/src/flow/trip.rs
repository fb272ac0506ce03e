//! A trip to Meta's dialog and back: good once, for the session and the tenant that it began in, for ten minutes.
//!
//! What comes back is the state. It begins with the tenant's id, because the trip's row is that tenant's and is found
//! as no other; the 256 random bits behind it, of which only a hash is kept, are what proves it.

use accounts::{Owner, Sealed, random_secret, secret_sha256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::scope;
use crate::access::session::Session;
use crate::problem::Problem;
use crate::web::Web;

/// What the sealed text says that it is about.
const ABOUT: &str = "oauth_trip";

/// What goes along.
pub(super) struct Departure {
    pub(super) state: SecretString,
    /// PKCE, S256.
    pub(super) code_challenge: String,
}

/// What was kept for the way back.
pub(super) struct Arrival {
    /// The tenant that the trip began in.
    pub(super) account_id: Uuid,
    pub(super) code_verifier: SecretString,
    /// The integration that is to be connected again.
    pub(super) reconnect: Option<Uuid>,
}

#[derive(Serialize, Deserialize)]
struct Baggage {
    code_verifier: String,
    reconnect: Option<Uuid>,
}

/// Begins a trip.
pub(super) async fn begin(
    web: &Web,
    session: &Session,
    account_id: Uuid,
    reconnect: Option<Uuid>,
) -> Result<Departure, Problem> {
    let (id, verifier) = (Uuid::now_v7(), random_secret());
    let state = SecretString::from(format!("{}{}", account_id.simple(), random_secret().expose_secret()));
    let code_challenge = URL_SAFE_NO_PAD.encode(secret_sha256(&verifier));
    let baggage = Baggage { code_verifier: verifier.expose_secret().to_owned(), reconnect };
    let owner = Owner { account_id, holder_id: id, about: ABOUT };
    let sealed = serde_json::to_string(&baggage).ok().and_then(|text| web.keys.seal(&owner, &text.into()).ok());
    let sealed = sealed.ok_or_else(|| {
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the way to Meta cannot be prepared: report it")
    })?;
    let state_sha256 = secret_sha256(&state);
    let mut tx = scope(session, account_id).begin(&web.pool).await?;
    sqlx::query!("select web_forget_expired()::text").fetch_one(&mut *tx).await?;
    sqlx::query!(
        "insert into oauth_trips (account_id, id, state_sha256, session_sha256, kid, nonce, ciphertext)
         values ($1, $2, $3, $4, $5, $6, $7)",
        account_id,
        id,
        state_sha256.as_slice(),
        session.sha256.as_slice(),
        sealed.kid,
        sealed.nonce,
        sealed.ciphertext,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Departure { state, code_challenge })
}

/// Ends the trip of that state; `None` where the session has none that is good. Whatever comes after it, it was the
/// only try.
pub(super) async fn end(web: &Web, session: &Session, state: &SecretString) -> Result<Option<Arrival>, Problem> {
    let tenant = state.expose_secret().get(..32).and_then(|tenant| Uuid::try_parse(tenant).ok());
    let Some(account_id) = tenant else { return Ok(None) };
    let state_sha256 = secret_sha256(state);
    let mut tx = scope(session, account_id).begin(&web.pool).await?;
    let row = sqlx::query!(
        r#"delete from oauth_trips where account_id = $1 and state_sha256 = $2 and session_sha256 = $3
           returning id, kid, nonce, ciphertext, started_at > now() - interval '10 minutes' as "is_in_time!""#,
        account_id,
        state_sha256.as_slice(),
        session.sha256.as_slice(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    let Some(row) = row.filter(|row| row.is_in_time) else { return Ok(None) };
    let sealed = Sealed { kid: row.kid, nonce: row.nonce, ciphertext: row.ciphertext };
    let opened = web.keys.open(&Owner { account_id, holder_id: row.id, about: ABOUT }, &sealed).ok();
    let baggage = opened.and_then(|text| serde_json::from_str::<Baggage>(text.expose_secret()).ok());
    Ok(baggage.map(|Baggage { code_verifier, reconnect }| {
        let code_verifier = code_verifier.into();
        Arrival { account_id, code_verifier, reconnect }
    }))
}
