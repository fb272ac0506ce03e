use sqlx::PgPool;
use uuid::Uuid;

use crate::key_ring::{KeyRing, Owner, SealError, Sealed};

/// What became of the sealed tokens.
#[derive(Debug, Default)]
pub struct Rotated {
    /// Tokens that the ring's first key seals now, and did not before.
    pub resealed: u64,
    /// Integrations whose token does not open, and why. They are left as they are.
    pub unopened: Vec<(Uuid, SealError)>,
}

/// Seals every token anew that another key than the ring's first seals, one transaction each.
///
/// Who works meanwhile reads a token sealed with the old key or with the new one, and its ring holds both. A token that
/// is replaced at the same moment is sealed by whoever replaced it: the row's lock decides who comes second, and the
/// second finds the row as the first left it.
pub async fn rotate(pool: &PgPool, keys: &KeyRing) -> Result<Rotated, sqlx::Error> {
    let mut rotated = Rotated::default();
    let current = keys.current();
    let old = sqlx::query!("select account_id, integration_id from integration_secrets where kid <> $1", current);
    for secret in old.fetch_all(pool).await? {
        let mut tx = pool.begin().await?;
        let row = sqlx::query!(
            "select s.kid, s.nonce, s.ciphertext, a.external_id
             from integration_secrets s
             join integrations i on i.account_id = s.account_id and i.id = s.integration_id
             join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
             where s.account_id = $1 and s.integration_id = $2 and s.kid <> $3
             for update of s",
            secret.account_id,
            secret.integration_id,
            current,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { continue };
        let owner = Owner { account_id: secret.account_id, holder_id: secret.integration_id, about: &row.external_id };
        let sealed = Sealed { kid: row.kid, nonce: row.nonce, ciphertext: row.ciphertext };
        let resealed = match keys.open(&owner, &sealed).and_then(|token| keys.seal(&owner, &token)) {
            Ok(resealed) => resealed,
            Err(error) => {
                rotated.unopened.push((secret.integration_id, error));
                continue;
            }
        };
        sqlx::query!(
            "update integration_secrets set kid = $3, nonce = $4, ciphertext = $5
             where account_id = $1 and integration_id = $2",
            secret.account_id,
            secret.integration_id,
            resealed.kid,
            resealed.nonce,
            resealed.ciphertext,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        rotated.resealed += 1;
    }
    Ok(rotated)
}
