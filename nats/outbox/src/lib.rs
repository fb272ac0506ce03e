//! Events that are to be announced, written in the transaction of the state that they announce.
//!
//! Here live: writing such rows ([`announce`], [`announce_all`]), and what the relay needs to bring it to its stream ([`take`],
//! [`published`], [`postponed`]). What must not live here: NATS, or what an event means.
//!
//! **Why an event is neither lost nor invented.** The row commits with the state or not at all. The relay locks the
//! rows it takes, publishes them, and deletes them in the same transaction: where it dies in between, the rows are
//! there and are published once more under the same message id. So delivery is at least once, and every consumer knows
//! an event by its id. Rows are found because they are there, never because their number is above another's: numbers
//! commit out of order.

use std::time::Duration;

use events::Announcement;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// An event that waits to be published.
#[derive(Debug)]
pub struct Row {
    pub account_id: Uuid,
    pub event_id: Uuid,
    pub subject: String,
    /// `None` where the row holds something else: nobody here wrote it.
    pub headers: Option<Vec<(String, String)>>,
    pub payload: Vec<u8>,
    /// How often it could not be published.
    pub attempts: i32,
}

/// Writes an event down, to be published once the caller's transaction has committed.
pub async fn announce(conn: &mut PgConnection, account_id: Uuid, event: &Announcement) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into outbox (account_id, event_id, subject, headers, payload) values ($1, $2, $3, $4, $5)",
        account_id,
        event.event_id,
        event.subject,
        serde_json::json!(event.headers),
        event.payload,
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Writes events of several tenants down at once, each with its tenant.
pub async fn announce_all(conn: &mut PgConnection, events: &[(Uuid, Announcement)]) -> sqlx::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let headers: Vec<_> = events.iter().map(|(_, event)| serde_json::json!(event.headers)).collect();
    sqlx::query!(
        "insert into outbox (account_id, event_id, subject, headers, payload)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::bytea[])",
        &events.iter().map(|(account_id, _)| *account_id).collect::<Vec<_>>(),
        &events.iter().map(|(_, event)| event.event_id).collect::<Vec<_>>(),
        &events.iter().map(|(_, event)| event.subject.clone()).collect::<Vec<_>>(),
        &headers,
        &events.iter().map(|(_, event)| event.payload.clone()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Takes rows that are due, for the length of the caller's transaction; those that somebody else has taken are passed
/// over.
pub async fn take(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Row>> {
    let rows = sqlx::query!(
        "select account_id, event_id, subject, headers, payload, attempts from outbox
         where not_before <= now() order by not_before limit $1 for update skip locked",
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Row {
            account_id: r.account_id,
            event_id: r.event_id,
            subject: r.subject,
            headers: serde_json::from_value(r.headers).ok(),
            payload: r.payload,
            attempts: r.attempts,
        })
        .collect())
}

/// The stream has the event: the row has done its work.
pub async fn published(conn: &mut PgConnection, row: &Row) -> sqlx::Result<()> {
    sqlx::query!("delete from outbox where account_id = $1 and event_id = $2", row.account_id, row.event_id)
        .execute(conn)
        .await
        .map(drop)
}

/// The event could not be published now: it waits, and says why.
pub async fn postponed(conn: &mut PgConnection, row: &Row, pause: Duration, error: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set attempts = attempts + 1, last_error = $3, not_before = now() + make_interval(secs => $4)
         where account_id = $1 and event_id = $2",
        row.account_id,
        row.event_id,
        error,
        pause.as_secs_f64(),
    )
    .execute(conn)
    .await
    .map(drop)
}

/// What waits to be published.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    pub events: i64,
    pub oldest_age_seconds: f64,
    /// Why one of them could not be published.
    pub last_error: Option<String>,
}

/// What waits, of all tenants.
pub async fn waiting(executor: impl PgExecutor<'_>) -> sqlx::Result<Waiting> {
    sqlx::query_as!(
        Waiting,
        r#"select count(*) as "events!", max(last_error) as last_error,
                  coalesce(extract(epoch from now() - min(written_at)), 0)::float8 as "oldest_age_seconds!"
           from outbox"#
    )
    .fetch_one(executor)
    .await
}
