use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::Integration;

/// A version that must not be used.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// Every event with such a version would be parked as one from the future.
    #[error(
        "the newest version of ad account {external_id} is {ahead_seconds} s ahead of PostgreSQL's clock, which was moved: \
         set the clock right, or wait so long"
    )]
    Ahead { external_id: String, ahead_seconds: i64 },
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

/// The instant that the ad account's next snapshot has as its version: the database's clock, and always above the one
/// before, whoever asked and whatever that clock did in between. Take it before the snapshot's first request.
pub async fn next_fetched_at(pool: &PgPool, integration: &Integration) -> Result<DateTime<Utc>, VersionError> {
    let next = sqlx::query!(
        r#"update ad_accounts
         set last_fetched_at = greatest(clock_timestamp(), last_fetched_at + interval '1 microsecond')
         where account_id = $1 and id = $2
         returning last_fetched_at as "fetched_at!",
                   extract(epoch from last_fetched_at - clock_timestamp())::bigint as "ahead_seconds!""#,
        integration.account_id,
        integration.ad_account_id,
    )
    .fetch_one(pool)
    .await?;
    if next.ahead_seconds > 60 {
        let external_id = integration.external_id.clone();
        return Err(VersionError::Ahead { external_id, ahead_seconds: next.ahead_seconds });
    }
    Ok(next.fetched_at)
}
