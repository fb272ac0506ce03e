use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use events::payload::PayloadError;
use events::subject::AccountDay;
use events::{Circumstances, EventError, headers, open_insights};
use futures_util::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

/// An event as a log keeps it.
#[derive(Debug)]
pub struct Recorded {
    pub circumstances: Circumstances,
    pub stored_at: DateTime<Utc>,
    pub payload: Bytes,
}

/// Which days; both ends are included, and what is `None` is not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub account_id: Option<Uuid>,
    pub ad_account_id: Option<Uuid>,
    pub since: Option<NaiveDate>,
    pub until: Option<NaiveDate>,
}

/// The account-days of a range of which the log holds an event, in no order.
pub async fn days(pool: &PgPool, range: &Range) -> sqlx::Result<Vec<AccountDay>> {
    let rows = sqlx::query!(
        "select distinct account_id, ad_account_id, date from meta_insights_raw
         where ($1::uuid is null or account_id = $1) and ($2::uuid is null or ad_account_id = $2)
           and ($3::date is null or date >= $3) and ($4::date is null or date <= $4)",
        range.account_id,
        range.ad_account_id,
        range.since,
        range.until,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| AccountDay { account_id: r.account_id, ad_account_id: r.ad_account_id, date: r.date })
        .collect())
}

/// When the stream stored the newest event of a range.
pub async fn newest_stored_at(pool: &PgPool, range: &Range) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select max(stored_at) from meta_insights_raw
         where ($1::uuid is null or account_id = $1) and ($2::uuid is null or ad_account_id = $2)
           and ($3::date is null or date >= $3) and ($4::date is null or date <= $4)",
        range.account_id,
        range.ad_account_id,
        range.since,
        range.until,
    )
    .fetch_one(pool)
    .await
}

/// The events of one day, one at a time, each with the id that its row has: an event that cannot be opened has to be
/// named. Memory holds one payload, however often the day was fetched.
///
/// Bytes that are no longer those that were appended are none: nobody takes numbers from a damaged log, and the other
/// one still has them.
pub fn entries_of_day(
    pool: &PgPool,
    day: AccountDay,
) -> impl Stream<Item = sqlx::Result<(Uuid, Result<Recorded, EventError>)>> + '_ {
    sqlx::query!(
        "select r.event_id, r.stored_at, r.headers, r.payload_sha256, p.payload
         from meta_insights_raw r join meta_payloads p using (account_id, payload_sha256)
         where r.account_id = $1 and r.ad_account_id = $2 and r.date = $3",
        day.account_id,
        day.ad_account_id,
        day.date,
    )
    .fetch(pool)
    .map_ok(|row| {
        let recorded = open(&row.headers).and_then(|circumstances| {
            if Sha256::digest(&row.payload)[..] != row.payload_sha256[..] {
                let reason =
                    "its payload in meta_insights_raw is damaged: it has another sha256 than when it came".to_owned();
                return Err(PayloadError::Lost { reason }.into());
            }
            Ok(Recorded { circumstances, stored_at: row.stored_at, payload: row.payload.into() })
        });
        (row.event_id, recorded)
    })
}

fn open(recorded: &serde_json::Value) -> Result<Circumstances, EventError> {
    open_insights(&headers::from_pairs(header_pairs(recorded))?)
}

/// An event's headers, as the log keeps them.
pub(crate) fn header_pairs(recorded: &serde_json::Value) -> impl Iterator<Item = (&str, &str)> {
    let recorded = recorded.as_object().into_iter().flatten();
    recorded.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

/// An event's place in the stream that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub event_id: Uuid,
    pub incarnation: DateTime<Utc>,
    pub sequence: i64,
}

/// Where the events of one day came from: their payloads are not read.
pub async fn origins_of_day(pool: &PgPool, day: AccountDay) -> sqlx::Result<Vec<Origin>> {
    sqlx::query_as!(
        Origin,
        "select event_id, stream_incarnation as incarnation, stream_sequence as sequence from meta_insights_raw
         where account_id = $1 and ad_account_id = $2 and date = $3",
        day.account_id,
        day.ad_account_id,
        day.date,
    )
    .fetch_all(pool)
    .await
}
