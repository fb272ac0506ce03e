//! A token that was brought, while its owner chooses ad accounts: sealed, one a session and tenant, for half an hour.

use std::time::Duration;

use accounts::{KnownToken, Owner, Sealed};
use chrono::{DateTime, Utc};
use meta_api::AccessToken;
use secrecy::SecretString;
use uuid::Uuid;

use super::scope;
use crate::access::session::Session;
use crate::problem::Problem;
use crate::web::Web;

/// What the sealed text says that it is about.
const ABOUT: &str = "connect_draft";

/// A draft, opened.
pub(super) struct Draft {
    pub(super) id: Uuid,
    pub(super) token: AccessToken,
    /// The Meta app that it was made for, where that is known.
    pub(super) app_id: Option<String>,
    /// `None` where it never expires, or nobody said when.
    pub(super) token_expires_at: Option<DateTime<Utc>>,
    /// The token ends within a day: nobody gave a longer one.
    pub(super) ends_soon: bool,
}

/// When a token expires, as far as it is known.
#[derive(Default)]
pub(super) struct Expiry {
    pub(super) at: Option<DateTime<Utc>>,
    /// From now.
    pub(super) within: Option<Duration>,
}

/// What is kept of a token beside itself.
#[derive(Default)]
pub(super) struct KeptFacts {
    pub(super) expiry: Expiry,
    /// The Meta app that it was made for.
    pub(super) app_id: Option<String>,
}

impl KeptFacts {
    pub(super) fn of(known: KnownToken) -> KeptFacts {
        let at = match known.expiry {
            accounts::Expiry::At(at) => Some(at),
            accounts::Expiry::Never | accounts::Expiry::Unknown => None,
        };
        KeptFacts { expiry: Expiry { at, within: None }, app_id: known.app_id }
    }
}

/// Keeps a token, in the place of the one that the session had for this tenant.
pub(super) async fn keep(
    web: &Web,
    session: &Session,
    account_id: Uuid,
    token: &SecretString,
    facts: KeptFacts,
) -> Result<(), Problem> {
    let KeptFacts { expiry, app_id } = facts;
    let id = Uuid::now_v7();
    let sealed = web.keys.seal(&Owner { account_id, holder_id: id, about: ABOUT }, token).map_err(|error| {
        tracing::error!(%error, "a draft cannot be sealed");
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the token cannot be sealed, and was not kept")
    })?;
    let mut tx = scope(session, account_id).begin(&web.pool).await?;
    sqlx::query!("select web_forget_expired()::text").fetch_one(&mut *tx).await?;
    // Two that come at once take turns.
    sqlx::query!("select id_sha256 from web_sessions where id_sha256 = $1 for update", session.sha256.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    sqlx::query!(
        "delete from connect_drafts where account_id = $1 and session_sha256 = $2",
        account_id,
        session.sha256.as_slice(),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into connect_drafts (account_id, session_sha256, id, kid, nonce, ciphertext, token_expires_at, app_id)
         values ($1, $2, $3, $4, $5, $6, coalesce($7, now() + make_interval(secs => $8)), $9)",
        account_id,
        session.sha256.as_slice(),
        id,
        sealed.kid,
        sealed.nonce,
        sealed.ciphertext,
        expiry.at,
        expiry.within.map(|within| within.as_secs_f64()),
        app_id,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// The session's draft for this tenant, if there is one that is good.
pub(super) async fn open(web: &Web, session: &Session, account_id: Uuid) -> Result<Option<Draft>, Problem> {
    let mut tx = scope(session, account_id).begin(&web.pool).await?;
    let row = sqlx::query!(
        r#"select id, kid, nonce, ciphertext, token_expires_at, app_id,
                  coalesce(token_expires_at < now() + interval '1 day', false) as "ends_soon!"
           from connect_drafts
           where account_id = $1 and session_sha256 = $2 and created_at > now() - interval '30 minutes'"#,
        account_id,
        session.sha256.as_slice(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let sealed = Sealed { kid: row.kid, nonce: row.nonce, ciphertext: row.ciphertext };
    match web.keys.open(&Owner { account_id, holder_id: row.id, about: ABOUT }, &sealed) {
        Ok(token) => {
            let (id, app_id, token_expires_at, ends_soon) = (row.id, row.app_id, row.token_expires_at, row.ends_soon);
            let token = web.directory().access(&token, app_id.as_deref());
            Ok(Some(Draft { id, token, app_id, token_expires_at, ends_soon }))
        }
        // Somebody took its key out of the ring: the token has to be brought again.
        Err(error) => {
            tracing::warn!(%error, "a draft does not open");
            Ok(None)
        }
    }
}

/// Deletes a draft that has served.
pub(super) async fn forget(web: &Web, session: &Session, account_id: Uuid, draft: &Draft) -> Result<(), Problem> {
    let mut tx = scope(session, account_id).begin(&web.pool).await?;
    sqlx::query!("delete from connect_drafts where account_id = $1 and id = $2", account_id, draft.id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
