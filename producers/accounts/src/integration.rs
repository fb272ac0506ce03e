use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

/// One connected ad account, with what its jobs need to know of it.
#[derive(Debug, Clone)]
pub struct Integration {
    pub account_id: Uuid,
    pub id: Uuid,
    pub origin: Origin,
    pub status: Status,
    /// In words, while the status is not `connected`.
    pub status_reason: Option<String>,
    /// When it was connected last: a token replaced is another connection.
    pub connected_at: DateTime<Utc>,
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

/// Who answers for an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Meta,
    /// The made-up advertiser of the stub mode.
    Stub,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Meta => "meta",
            Origin::Stub => "stub",
        }
    }

    /// The value of the column `integrations.source`.
    pub fn of_column(text: &str) -> Self {
        // The column's check allows these two and no other.
        if text == "stub" { Origin::Stub } else { Origin::Meta }
    }
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
async fn load(db: impl PgExecutor<'_>, id: Option<Uuid>) -> sqlx::Result<Vec<Integration>> {
    let rows = sqlx::query!(
        "select i.account_id, i.id, i.source, i.status, i.status_reason, i.connected_at, i.attribution_window_days,
                i.ad_account_id, a.external_id, a.name, a.currency, a.timezone_name
         from integrations i join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
         where $1::uuid is null or i.id = $1
         order by i.account_id, i.id",
        id,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Integration {
            account_id: r.account_id,
            id: r.id,
            origin: Origin::of_column(&r.source),
            status: Status::of_column(&r.status),
            status_reason: r.status_reason,
            connected_at: r.connected_at,
            attribution_window_days: r.attribution_window_days,
            ad_account_id: r.ad_account_id,
            external_id: r.external_id,
            ad_account_name: r.name,
            currency: r.currency,
            timezone_name: r.timezone_name,
        })
        .collect())
}

/// Every integration that `db` may see.
pub async fn integrations(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Integration>> {
    load(db, None).await
}

pub async fn integration(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Integration>> {
    Ok(load(db, Some(id)).await?.pop())
}

/// Says that an integration's jobs may no longer run, and why. It is about the connection that was read: one that was
/// renewed or ended meanwhile stays as it is, because nobody has seen the new token refused; then the answer is
/// `false`.
pub async fn set_status(
    pool: &PgPool,
    integration: &Integration,
    status: Status,
    reason: Option<&str>,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        "update integrations set status = $3, status_reason = $4
         where account_id = $1 and id = $2 and connected_at = $5 and status <> 'disconnected'",
        integration.account_id,
        integration.id,
        status.as_str(),
        reason,
        integration.connected_at,
    )
    .execute(pool)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// The ids of the ad accounts that are called so, by Meta (`act_…`) or by us: several where tenants share one.
pub async fn named_ad_accounts(pool: &PgPool, name: &str, account_id: Option<Uuid>) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select id from ad_accounts
         where (external_id = $1 or id::text = $1) and ($2::uuid is null or account_id = $2)",
        name,
        account_id,
    )
    .fetch_all(pool)
    .await
}

/// The ids of the keys that something is sealed with: tokens, and for half an hour those of somebody who is connecting.
pub async fn keys_in_use(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    let kids = sqlx::query_scalar!(
        r#"select kid as "kid!" from integration_secrets
           union select kid from connect_drafts where created_at > now() - interval '30 minutes'
           union select kid from oauth_trips where started_at > now() - interval '10 minutes'
           order by 1"#
    );
    kids.fetch_all(pool).await
}

/// Deletes sessions whose time is over, and with them sealed tokens that somebody brought and left.
pub async fn forget_expired(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query!("select web_forget_expired()::text").fetch_one(pool).await.map(drop)
}
