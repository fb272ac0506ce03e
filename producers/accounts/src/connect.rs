use events::{AdAccountConnected, AdAccountDisconnected};
use secrecy::SecretString;
use sqlx::{Acquire, PgConnection, Postgres};
use uuid::Uuid;

use crate::integration::Origin;
use crate::key_ring::{KeyRing, Owner, SealError};
use crate::tenant::{TenantError, check_currency, check_timezone};
use crate::token::{Expiry, KnownToken};

/// An ad account as the platform described it when it was connected.
#[derive(Debug, Clone)]
pub struct FoundAdAccount {
    /// Who described it, and answers for it from now on.
    pub origin: Origin,
    /// `act_…`.
    pub external_id: String,
    pub name: String,
    /// ISO 4217.
    pub currency: String,
    /// IANA name.
    pub timezone_name: String,
    /// In words, such as `active`.
    pub status: String,
}

/// What [`connect`] made, or found and renewed.
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    pub integration_id: Uuid,
    pub ad_account_id: Uuid,
    /// The integration was there: its token was replaced and it is connected again.
    pub reconnected: bool,
}

/// Why nothing was connected; nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error(
        "ad account {external_id} is in {found}, account {account_id} in {wanted}: two currencies are never summed. \
         Make an account of its own with `adledger account create --currency {found}`"
    )]
    Currency { external_id: String, found: String, account_id: Uuid, wanted: String },
    #[error(
        "Meta says that ad account {external_id} has the {field} {value:?}, which this version of adledger does not know: \
         nothing was connected; report it"
    )]
    Unknown { external_id: String, field: &'static str, value: String },
    #[error(
        "ad account {external_id} had {field} {before} when it was first connected and has {now} now: its days would mean \
         two things. Connect it to a new account"
    )]
    Changed { external_id: String, field: &'static str, before: String, now: String },
    #[error(
        "ad account {external_id} is connected to {known}, and {found} was asked now: what the stub makes up never mixes with \
         what Meta says. Connect it to another account, or set META_STUB_MODE as it was"
    )]
    OtherOrigin { external_id: String, known: &'static str, found: &'static str },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

/// The rule that two currencies never meet in one tenant, for whoever wants to know before the attempt.
pub fn check_currency_rule(account_id: Uuid, wanted: &str, found: &FoundAdAccount) -> Result<(), ConnectError> {
    if wanted == found.currency {
        return Ok(());
    }
    let (external_id, found) = (found.external_id.clone(), found.currency.clone());
    Err(ConnectError::Currency { external_id, found, account_id, wanted: wanted.to_owned() })
}

/// Connects an ad account to a tenant, or renews the connection it has: ad account, integration, sealed token and the
/// event that says so, in one transaction (within the caller's, where `db` is one). What follows from a connection,
/// follows from that event.
///
/// The tenant's row is locked first, so that its currency cannot change between the check and the commit.
pub async fn connect<'a>(
    db: impl Acquire<'a, Database = Postgres>,
    keys: &KeyRing,
    account_id: Uuid,
    found: &FoundAdAccount,
    token: &SecretString,
    facts: &KnownToken,
) -> Result<Connected, ConnectError> {
    for (field, value, known) in [
        ("currency", &found.currency, check_currency(&found.currency).is_ok()),
        ("time zone", &found.timezone_name, check_timezone(&found.timezone_name).is_ok()),
    ] {
        if !known {
            let (external_id, value) = (found.external_id.clone(), value.clone());
            return Err(ConnectError::Unknown { external_id, field, value });
        }
    }
    let mut tx = db.begin().await?;
    let wanted = sqlx::query_scalar!("select currency from accounts where id = $1 for update", account_id)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(TenantError::Unknown { id: account_id })?;
    let external_id = &found.external_id;
    check_currency_rule(account_id, &wanted, found)?;
    let known = sqlx::query!(
        "select id, currency, timezone_name from ad_accounts
         where account_id = $1 and platform = 'meta' and external_id = $2 for update",
        account_id,
        external_id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let ad_account_id = match known {
        None => Uuid::now_v7(),
        Some(known) => {
            for (field, before, now) in [
                ("currency", known.currency, &found.currency),
                ("time zone", known.timezone_name, &found.timezone_name),
            ] {
                if before != *now {
                    let (external_id, now) = (external_id.clone(), now.clone());
                    return Err(ConnectError::Changed { external_id, field, before, now });
                }
            }
            known.id
        }
    };
    sqlx::query!(
        "insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
         values ($1, $2, 'meta', $3, $4, $5, $6, $7)
         on conflict (account_id, id) do update set name = excluded.name, status = excluded.status",
        account_id,
        ad_account_id,
        external_id,
        found.name,
        found.currency,
        found.timezone_name,
        found.status,
    )
    .execute(&mut *tx)
    .await?;
    let integration = sqlx::query!(
        r#"insert into integrations (account_id, id, ad_account_id, type, source, status)
         values ($1, $2, $3, 'meta', $4, 'connected')
         on conflict (account_id, ad_account_id, type)
         do update set status = 'connected', status_reason = null, connected_at = now()
         returning id, source, connected_at, (xmax <> 0) as "reconnected!""#,
        account_id,
        Uuid::now_v7(),
        ad_account_id,
        found.origin.as_str(),
    )
    .fetch_one(&mut *tx)
    .await?;
    if integration.source != found.origin.as_str() {
        return Err(ConnectError::OtherOrigin {
            external_id: external_id.clone(),
            known: Origin::of_column(&integration.source).as_str(),
            found: found.origin.as_str(),
        });
    }
    let sealed = keys.seal(&Owner { account_id, holder_id: integration.id, about: external_id }, token)?;
    // Replaced, not updated: an upsert reads what it overwrites, and who connects may write sealed tokens, never read
    // one.
    forget_token(&mut tx, account_id, integration.id).await?;
    let (expires_at, never_expires) = facts.columns();
    // It was used a moment ago, so that it is good; the first check of its own is tomorrow's.
    let is_known = facts.app_id.is_some() || facts.expiry != Expiry::Unknown;
    sqlx::query!(
        "insert into integration_secrets (account_id, integration_id, kid, nonce, ciphertext, expires_at, never_expires,
                                          data_access_expires_at, app_id, checked_at, next_check_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $10 then now() end, now() + interval '1 day')",
        account_id,
        integration.id,
        sealed.kid,
        sealed.nonce,
        sealed.ciphertext,
        expires_at,
        never_expires,
        facts.data_access_expires_at,
        facts.app_id,
        is_known,
    )
    .execute(&mut *tx)
    .await?;
    let connected = AdAccountConnected {
        account_id,
        integration_id: integration.id,
        ad_account: events::AdAccount {
            id: ad_account_id,
            external_id: external_id.into(),
            currency: (&found.currency).into(),
            timezone_name: (&found.timezone_name).into(),
        },
        connected_at: integration.connected_at,
    };
    let event = connected.announce(Uuid::now_v7(), integration.reconnected);
    let event = event.map_err(|error| sqlx::Error::Encode(error.into()))?;
    outbox::announce(&mut tx, account_id, &event).await?;
    tx.commit().await?;
    Ok(Connected { integration_id: integration.id, ad_account_id, reconnected: integration.reconnected })
}

/// Ends a connection: its token is deleted, its jobs may not run, and the event that says so is written, in the
/// caller's transaction. What was fetched stays. `false` where there was no connection to end.
pub async fn disconnect(conn: &mut PgConnection, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<bool> {
    let ended = sqlx::query!(
        r#"update integrations i set status = 'disconnected', status_reason = null
         from ad_accounts a
         where i.account_id = $1 and i.id = $2 and i.status <> 'disconnected'
           and a.account_id = i.account_id and a.id = i.ad_account_id
         returning a.id, a.external_id, a.currency, a.timezone_name, now() as "now!""#,
        account_id,
        integration_id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(ended) = ended else { return Ok(false) };
    forget_token(conn, account_id, integration_id).await?;
    let disconnected = AdAccountDisconnected {
        account_id,
        integration_id,
        ad_account: events::AdAccount {
            id: ended.id,
            external_id: ended.external_id.into(),
            currency: ended.currency.into(),
            timezone_name: ended.timezone_name.into(),
        },
        disconnected_at: ended.now,
    };
    let event = disconnected.announce(Uuid::now_v7()).map_err(|error| sqlx::Error::Encode(error.into()))?;
    outbox::announce(conn, account_id, &event).await?;
    Ok(true)
}

async fn forget_token(conn: &mut PgConnection, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from integration_secrets where account_id = $1 and integration_id = $2",
        account_id,
        integration_id,
    )
    .execute(conn)
    .await
    .map(drop)
}
