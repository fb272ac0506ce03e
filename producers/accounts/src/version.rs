use chrono::{DateTime, TimeDelta, Utc};
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

/// The instants that the ad account's next `days` snapshots have as their versions, oldest first: the database's clock,
/// and always above the ones before, whoever asked and whatever that clock did in between. Take them before the
/// snapshots' first request.
pub async fn next_fetched_at(
    pool: &PgPool,
    integration: &Integration,
    days: usize,
) -> Result<Vec<DateTime<Utc>>, VersionError> {
    let more = i64::try_from(days.saturating_sub(1)).unwrap_or(i64::MAX);
    let next = sqlx::query!(
        r#"update ad_accounts
         set last_fetched_at = greatest(clock_timestamp(), last_fetched_at + interval '1 microsecond')
                               + make_interval(secs => $3::float8 / 1000000)
         where account_id = $1 and id = $2
         returning last_fetched_at as "fetched_at!",
                   extract(epoch from last_fetched_at - clock_timestamp())::bigint as "ahead_seconds!""#,
        integration.account_id,
        integration.ad_account_id,
        more as f64,
    )
    .fetch_one(pool)
    .await?;
    if next.ahead_seconds > 60 {
        let external_id = integration.external_id.clone();
        return Err(VersionError::Ahead { external_id, ahead_seconds: next.ahead_seconds });
    }
    Ok((0..=more).rev().map(|before| next.fetched_at - TimeDelta::microseconds(before)).collect())
}
