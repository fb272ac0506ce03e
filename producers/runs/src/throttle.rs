//! Meta's throttles, written down where every fetcher looks before it asks: on every machine, and after every restart.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// What a throttle is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleScope {
    /// One ad account, whoever asks about it.
    AdAccount,
    /// Every ad account that an app reads.
    App,
}

impl ThrottleScope {
    pub fn as_str(self) -> &'static str {
        match self {
            ThrottleScope::AdAccount => "ad_account",
            ThrottleScope::App => "app",
        }
    }
}

/// Who is throttled: an ad account by its external id, or an app by its id or what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ThrottleKey {
    pub scope: ThrottleScope,
    pub key: String,
}

/// A throttle as it is written down, by PostgreSQL's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// How long it still lasts; zero when it is over.
    pub remaining: Duration,
    pub until: DateTime<Utc>,
    /// Throttles without an answer in between.
    pub in_a_row: i32,
    /// Meta's words.
    pub reason: String,
}

/// The throttle among `keys` that lasts longest, also one that is over and not yet answered; `None` where there is
/// none.
pub async fn blocked(pool: &PgPool, keys: &[ThrottleKey]) -> sqlx::Result<Option<Block>> {
    let (scopes, names) = columns(keys);
    let row = sqlx::query!(
        r#"select blocked_until, in_a_row, reason,
                  greatest(extract(epoch from blocked_until - clock_timestamp()), 0)::float8 as "remaining!"
           from unnest($1::text[], $2::text[]) as k (scope, key) join throttles using (scope, key)
           order by blocked_until desc limit 1"#,
        &scopes as &[&str],
        &names as &[&str],
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|r| block(r.remaining, r.blocked_until, r.in_a_row, r.reason)))
}

/// Writes a throttle down: for as long as Meta asked for, or else for a time that doubles with each one in a row, from
/// one second up to `cap`, the half of it by chance, so that those who wait do not all come back at once.
///
/// A throttle that somebody learned of while the last one still lasted is the same one: it prolongs it at most. `was_trial` says
/// that it was told to the one that [tried again](try_again).
pub async fn block_until(
    pool: &PgPool,
    key: &ThrottleKey,
    asked_for: Option<Duration>,
    cap: Duration,
    reason: &str,
    was_trial: bool,
) -> sqlx::Result<Block> {
    let row = sqlx::query_file!(
        "src/throttle.sql",
        key.scope.as_str(),
        key.key,
        asked_for.map(|wait| wait.as_secs_f64()),
        cap.as_secs_f64(),
        reason,
        was_trial,
    )
    .fetch_one(pool)
    .await?;
    Ok(block(row.remaining, row.blocked_until, row.in_a_row, row.reason))
}

/// How long others wait for the answer to the first question after a throttle, if it does not come before.
const TRIAL_SECONDS: f64 = 2.0;

/// Of all who wait for throttles that are over, one may ask: the throttles last a little longer for the others. Returns until
/// when, for that one to say in [`answered`]; `None` for the others.
pub async fn try_again(pool: &PgPool, keys: &[ThrottleKey]) -> sqlx::Result<Option<DateTime<Utc>>> {
    let (scopes, names) = columns(keys);
    // Both or none: who holds the ad account's while somebody else has the app's waits for that one.
    let mut tx = pool.begin().await?;
    let taken = sqlx::query_scalar!(
        "update throttles t set blocked_until = clock_timestamp() + make_interval(secs => $3)
         from unnest($1::text[], $2::text[]) as k (scope, key)
         where (t.scope, t.key) = (k.scope, k.key) and t.blocked_until <= clock_timestamp()
         returning t.blocked_until",
        &scopes as &[&str],
        &names as &[&str],
        TRIAL_SECONDS,
    )
    .fetch_all(&mut *tx)
    .await?;
    let all = sqlx::query_scalar!(
        r#"select count(*) as "count!" from unnest($1::text[], $2::text[]) as k (scope, key) join throttles using (scope, key)"#,
        &scopes as &[&str],
        &names as &[&str],
    )
    .fetch_one(&mut *tx)
    .await?;
    if taken.is_empty() || i64::try_from(taken.len()) != Ok(all) {
        tx.rollback().await?;
        return Ok(None);
    }
    tx.commit().await?;
    Ok(taken.into_iter().max())
}

/// Meta answered the one that tried again: the throttles are forgotten, so that the next one is the first in a row. One that
/// somebody learned of meanwhile stays.
pub async fn answered(pool: &PgPool, keys: &[ThrottleKey], trial: DateTime<Utc>) -> sqlx::Result<()> {
    let (scopes, names) = columns(keys);
    sqlx::query!(
        "delete from throttles t using unnest($1::text[], $2::text[]) as k (scope, key)
         where (t.scope, t.key) = (k.scope, k.key) and t.blocked_until <= $3",
        &scopes as &[&str],
        &names as &[&str],
        trial,
    )
    .execute(pool)
    .await
    .map(drop)
}

fn columns(keys: &[ThrottleKey]) -> (Vec<&str>, Vec<&str>) {
    keys.iter().map(|key| (key.scope.as_str(), key.key.as_str())).unzip()
}

fn block(remaining: f64, until: DateTime<Utc>, in_a_row: i32, reason: String) -> Block {
    Block { remaining: Duration::try_from_secs_f64(remaining).unwrap_or_default(), until, in_a_row, reason }
}
