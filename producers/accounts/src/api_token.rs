use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::OsRng;
use chacha20poly1305::aead::rand_core::RngCore;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::tenant::TenantError;

/// Begins every token of adledger's, so that scanners for leaked secrets can know them.
const PREFIX: &str = "adl_";

/// An API token of a tenant; the token itself is nowhere.
#[derive(Debug, Clone)]
pub struct ApiToken {
    pub id: Uuid,
    pub account_id: Uuid,
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// By the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A random text of 256 bits, fit for URLs, cookies and headers.
pub fn random_secret() -> SecretString {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// What is kept of a random secret in its place: it has 256 bits, so that a plain hash tells nothing.
pub fn secret_sha256(secret: &SecretString) -> [u8; 32] {
    Sha256::digest(secret.expose_secret()).into()
}

/// Makes an API token of a tenant. It is returned once, and only its hash is kept.
pub async fn create_api_token(
    db: impl PgExecutor<'_>,
    account_id: Uuid,
    name: &str,
) -> Result<(Uuid, SecretString), TenantError> {
    let (id, token) = (Uuid::now_v7(), SecretString::from(format!("{PREFIX}{}", random_secret().expose_secret())));
    let hash = secret_sha256(&token).to_vec();
    let made = sqlx::query!(
        "insert into api_tokens (account_id, id, name, token_sha256) select id, $2, $3, $4 from accounts where id = $1",
        account_id,
        id,
        name,
        &hash,
    )
    .execute(db)
    .await?;
    if made.rows_affected() == 0 { Err(TenantError::Unknown { id: account_id }) } else { Ok((id, token)) }
}

/// The API tokens of a tenant, or of all.
pub async fn api_tokens(db: impl PgExecutor<'_>, account_id: Option<Uuid>) -> sqlx::Result<Vec<ApiToken>> {
    sqlx::query_as!(
        ApiToken,
        "select id, account_id, name, created_at, last_used_at, revoked_at from api_tokens
         where $1::uuid is null or account_id = $1 order by account_id, id",
        account_id,
    )
    .fetch_all(db)
    .await
}

/// From now on the token is refused; `false` where there is none of that id that was good.
pub async fn revoke_api_token(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    let revoked = sqlx::query!("update api_tokens set revoked_at = now() where id = $1 and revoked_at is null", id);
    Ok(revoked.execute(db).await?.rows_affected() == 1)
}
