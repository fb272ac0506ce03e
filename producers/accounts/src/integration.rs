use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::key_ring::{KeyRing, Owner, SealError, Sealed};

/// One connected ad account, with what its jobs need to know of it.
#[derive(Debug, Clone)]
pub struct Integration {
    pub account_id: Uuid,
    pub id: Uuid,
    pub status: Status,
    /// In words, while the status is not `connected`.
    pub status_reason: Option<String>,
    pub attribution_window_days: i32,
    pub ad_account_id: Uuid,
    /// `act_…`.
    pub external_id: String,
    pub ad_account_name: String,
    /// ISO 4217.
    pub currency: String,
    /// IANA name; days are days of this zone.
    pub timezone_name: String,
}

/// Whether an integration's jobs may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Connected,
    /// The token is no longer accepted.
    NeedsReconnect,
    /// The ad account's data would be wrong in this tenant: another currency or time zone than at first.
    Blocked,
    Disconnected,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Connected => "connected",
            Status::NeedsReconnect => "needs_reconnect",
            Status::Blocked => "blocked",
            Status::Disconnected => "disconnected",
        }
    }

    fn of_column(text: &str) -> Self {
        // The column's check allows these four and no other.
        match text {
            "connected" => Status::Connected,
            "needs_reconnect" => Status::NeedsReconnect,
            "blocked" => Status::Blocked,
            _ => Status::Disconnected,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every integration, or the one of that id.
async fn load(pool: &PgPool, id: Option<Uuid>) -> sqlx::Result<Vec<Integration>> {
    let rows = sqlx::query!(
        "select i.account_id, i.id, i.status, i.status_reason, i.attribution_window_days, i.ad_account_id,
                a.external_id, a.name, a.currency, a.timezone_name
         from integrations i join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
         where $1::uuid is null or i.id = $1
         order by i.account_id, i.id",
        id,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Integration {
            account_id: r.account_id,
            id: r.id,
            status: Status::of_column(&r.status),
            status_reason: r.status_reason,
            attribution_window_days: r.attribution_window_days,
            ad_account_id: r.ad_account_id,
            external_id: r.external_id,
            ad_account_name: r.name,
            currency: r.currency,
            timezone_name: r.timezone_name,
        })
        .collect())
}

pub async fn integrations(pool: &PgPool) -> sqlx::Result<Vec<Integration>> {
    load(pool, None).await
}

pub async fn integration(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Integration>> {
    Ok(load(pool, Some(id)).await?.pop())
}

/// Says that an integration's jobs may no longer run, and why; a connected one has no reason.
pub async fn set_status(
    pool: &PgPool,
    integration: &Integration,
    status: Status,
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update integrations set status = $3, status_reason = $4 where account_id = $1 and id = $2",
        integration.account_id,
        integration.id,
        status.as_str(),
        reason,
    )
    .execute(pool)
    .await
    .map(drop)
}

/// The integration's token; `None` when it has none.
pub async fn token(
    pool: &PgPool,
    keys: &KeyRing,
    integration: &Integration,
) -> sqlx::Result<Option<Result<SecretString, SealError>>> {
    let row = sqlx::query!(
        "select kid, nonce, ciphertext from integration_secrets where account_id = $1 and integration_id = $2",
        integration.account_id,
        integration.id,
    )
    .fetch_optional(pool)
    .await?;
    let owner = Owner {
        account_id: integration.account_id,
        integration_id: integration.id,
        external_id: &integration.external_id,
    };
    Ok(row.map(|r| keys.open(&owner, &Sealed { kid: r.kid, nonce: r.nonce, ciphertext: r.ciphertext })))
}

/// The instant that the ad account's next snapshot has as its version: the database's clock, and always above the one
/// before, whoever asked and whatever that clock did in between. Take it before the snapshot's first request.
pub async fn next_fetched_at(pool: &PgPool, integration: &Integration) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(
        r#"update ad_accounts
         set last_fetched_at = greatest(clock_timestamp(), last_fetched_at + interval '1 microsecond')
         where account_id = $1 and id = $2
         returning last_fetched_at as "last_fetched_at!""#,
        integration.account_id,
        integration.ad_account_id,
    )
    .fetch_one(pool)
    .await
}
