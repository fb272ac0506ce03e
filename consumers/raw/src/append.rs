use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::subject::AccountDay;
use events::{Circumstances, EventError, open_insights};
use jetstream::Message;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::large::{self, LARGE_BYTES};

/// What became of one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The event is in the log, now or from an earlier delivery.
    Stored,
    /// It has no place in the log, for this reason.
    Refused(String),
}

struct Event<'m> {
    day: AccountDay,
    circumstances: Circumstances,
    sha256: Vec<u8>,
    message: &'m Message,
}

/// Appends what can be appended, and says of each of the others why not.
pub(crate) async fn append_each(
    pool: &PgPool,
    incarnation: DateTime<Utc>,
    messages: &[Message],
) -> sqlx::Result<Vec<Appended>> {
    match append_all(pool, incarnation, messages).await {
        Err(error) if refuses_data(&error) => one_by_one(pool, incarnation, messages).await,
        outcome => outcome,
    }
}

async fn append_all(pool: &PgPool, incarnation: DateTime<Utc>, messages: &[Message]) -> sqlx::Result<Vec<Appended>> {
    let mut transaction = pool.begin().await?;
    let appended = append(&mut transaction, incarnation, messages).await?;
    transaction.commit().await?;
    Ok(appended)
}

/// Finds the message that PostgreSQL refuses (a header with a NUL, a day beyond its calendar), so that it alone is
/// parked.
async fn one_by_one(pool: &PgPool, incarnation: DateTime<Utc>, messages: &[Message]) -> sqlx::Result<Vec<Appended>> {
    let mut appended = Vec::with_capacity(messages.len());
    for message in messages {
        match append_all(pool, incarnation, std::slice::from_ref(message)).await {
            Err(error) if refuses_data(&error) => {
                appended.push(Appended::Refused(format!("PostgreSQL refuses it: {error}")));
            }
            outcome => appended.extend(outcome?),
        }
    }
    Ok(appended)
}

/// Whether PostgreSQL will refuse the same data again, by the error's SQLSTATE: a value or a constraint.
pub fn refuses_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// Appends events in two statements, whatever their number; a large payload takes some of its own. The bytes are stored
/// by content: a repeated answer of Meta's adds one narrow row.
///
/// An event id that is there already with other bytes is refused: one of the two is a forgery or a bug, and the log
/// keeps the one it has.
async fn append(
    conn: &mut PgConnection,
    stream_incarnation: DateTime<Utc>,
    messages: &[Message],
) -> sqlx::Result<Vec<Appended>> {
    let opened: Vec<Result<Event<'_>, String>> =
        messages.iter().map(|message| open(message).map_err(|error| error.to_string())).collect();
    let mut events: Vec<&Event<'_>> = opened.iter().filter_map(|event| event.as_ref().ok()).collect();
    // One order for all writers, so that two batches with common payloads or events wait for each other instead of
    // locking each other out.
    events.sort_by_cached_key(|e| (e.day.account_id, e.sha256.clone(), e.circumstances.event_id));
    insert(conn, stream_incarnation, &events).await?;

    let recorded: HashMap<(Uuid, Uuid), (AccountDay, Vec<u8>)> = sqlx::query!(
        "select r.account_id, r.ad_account_id, r.date, r.event_id, r.payload_sha256
         from unnest($1::uuid[], $2::uuid[]) as e (account_id, event_id)
         join meta_insights_raw r using (account_id, event_id)",
        &events.iter().map(|e| e.day.account_id).collect::<Vec<_>>(),
        &events.iter().map(|e| e.circumstances.event_id).collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|r| {
        let day = AccountDay { account_id: r.account_id, ad_account_id: r.ad_account_id, date: r.date };
        ((r.account_id, r.event_id), (day, r.payload_sha256))
    })
    .collect();
    Ok(opened
        .iter()
        .map(|event| match event {
            Err(reason) => Appended::Refused(reason.clone()),
            Ok(e) => match recorded.get(&(e.day.account_id, e.circumstances.event_id)) {
                Some((day, sha256)) if *day == e.day && *sha256 == e.sha256 => Appended::Stored,
                _ => Appended::Refused(format!(
                    "event id {} is in the log already, with another day or other bytes",
                    e.circumstances.event_id
                )),
            },
        })
        .collect())
}

fn open(message: &Message) -> Result<Event<'_>, EventError> {
    let attributes = message.attributes()?;
    let circumstances = open_insights(&attributes)?;
    let day = AccountDay::parse(&message.subject)?;
    let sha256 = Sha256::digest(&message.payload).to_vec();
    Ok(Event { day, circumstances, sha256, message })
}

async fn insert(conn: &mut PgConnection, stream_incarnation: DateTime<Utc>, events: &[&Event<'_>]) -> sqlx::Result<()> {
    let mut contents = events.to_vec();
    contents.dedup_by_key(|e| (e.day.account_id, e.sha256.clone()));
    let (large, contents): (Vec<_>, Vec<_>) =
        contents.into_iter().partition(|e| e.message.payload.len() >= LARGE_BYTES);
    for e in large {
        large::store(conn, e.day.account_id, &e.sha256, &e.message.payload).await?;
    }
    // Bytes that are there are looked at: were they damaged, this event would count as kept and be so in one log only.
    sqlx::query!(
        "insert into meta_payloads (account_id, payload_sha256, payload)
         select * from unnest($1::uuid[], $2::bytea[], $3::bytea[])
         on conflict (account_id, payload_sha256) do update set payload = excluded.payload
         where sha256(meta_payloads.payload) <> meta_payloads.payload_sha256",
        &contents.iter().map(|e| e.day.account_id).collect::<Vec<_>>(),
        &contents.iter().map(|e| e.sha256.clone()).collect::<Vec<_>>(),
        &contents.iter().map(|e| &e.message.payload[..]).collect::<Vec<_>>() as &[&[u8]],
    )
    .execute(&mut *conn)
    .await?;
    let headers: Vec<serde_json::Value> = events
        .iter()
        .map(|e| {
            let event_headers = e.message.event_header_pairs().into_iter();
            event_headers.map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>().into()
        })
        .collect();
    sqlx::query_file!(
        "src/append.sql",
        &events.iter().map(|e| e.day.account_id).collect::<Vec<_>>(),
        &events.iter().map(|e| e.day.ad_account_id).collect::<Vec<_>>(),
        &events.iter().map(|e| e.day.date).collect::<Vec<_>>(),
        &events.iter().map(|e| e.circumstances.event_id).collect::<Vec<_>>(),
        &events.iter().map(|e| e.circumstances.run_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &events.iter().map(|e| e.circumstances.fetched_at).collect::<Vec<_>>(),
        &events.iter().map(|e| e.message.stored_at).collect::<Vec<_>>(),
        stream_incarnation,
        &events.iter().map(|e| i64::try_from(e.message.sequence).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
        &events.iter().map(|e| e.circumstances.row_count).collect::<Vec<_>>() as &[Option<i32>],
        &events.iter().map(|e| e.circumstances.codec.to_string()).collect::<Vec<_>>(),
        &events.iter().map(|e| e.circumstances.uncompressed_bytes).collect::<Vec<_>>() as &[Option<i64>],
        &events.iter().map(|e| e.sha256.clone()).collect::<Vec<_>>(),
        &headers,
    )
    .execute(conn)
    .await?;
    Ok(())
}
