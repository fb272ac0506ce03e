//! Tenants and integrations, inserted as rows: for tests of rooms that know nothing of how an ad account is connected.

use anyhow::Result;
use sqlx::PgPool;
use uuid::Uuid;

/// A tenant with one connected ad account.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    pub account_id: Uuid,
    pub ad_account_id: Uuid,
    pub integration_id: Uuid,
}

impl Tenant {
    pub async fn insert(pool: &PgPool) -> Result<Tenant> {
        let tenant =
            Tenant { account_id: Uuid::new_v4(), ad_account_id: Uuid::new_v4(), integration_id: Uuid::new_v4() };
        sqlx::query("insert into accounts (id, name, currency, timezone) values ($1, 'Tenant', 'USD', 'UTC')")
            .bind(tenant.account_id)
            .execute(pool)
            .await?;
        sqlx::query(
            "insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
             values ($1, $2, 'meta', 'act_1', 'Ad account', 'USD', 'UTC', 'active')",
        )
        .bind(tenant.account_id)
        .bind(tenant.ad_account_id)
        .execute(pool)
        .await?;
        sqlx::query(
            "insert into integrations (account_id, id, ad_account_id, type, source, status)
             values ($1, $2, $3, 'meta', 'meta', 'connected')",
        )
        .bind(tenant.account_id)
        .bind(tenant.integration_id)
        .bind(tenant.ad_account_id)
        .execute(pool)
        .await?;
        Ok(tenant)
    }
}
