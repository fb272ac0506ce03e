//! One day, read from either log for a comparison: the bytes become a sha256 where they are, and memory holds one
//! event's.

use std::collections::BTreeMap;

use events::open_insights;
use events::subject::AccountDay;
use jetstream::{ClaimError, Log, Message};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::AuditError;
use super::compare::{InRaw, InStream, PastTrim};
use crate::Range;
use crate::read::header_pairs;

/// A day's messages in the order of their sequences, and how many of them are no events.
pub(super) async fn stream(log: &Log, day: AccountDay) -> Result<(Vec<InStream>, u64), AuditError> {
    let subject = day.subject();
    let (mut events, mut no_events) = (Vec::new(), 0);
    let mut sequence = 1;
    while let Some(message) = log.next(&subject, sequence).await? {
        sequence = message.sequence + 1;
        match event_id(&message) {
            Some(event_id) => events.push(in_stream(log, event_id, &message).await?),
            None => no_events += 1,
        }
    }
    Ok((events, no_events))
}

/// The id, where the envelope is one that the raw log takes.
fn event_id(message: &Message) -> Option<Uuid> {
    Some(open_insights(&message.attributes().ok()?).ok()?.event_id)
}

/// A payload that travelled beside its event is hashed where it is; one that is not to be had, or is not what it is
/// named by, has no hash, and so is none that anybody recorded.
async fn in_stream(log: &Log, event_id: Uuid, message: &Message) -> Result<InStream, AuditError> {
    let headers: BTreeMap<_, _> = message.event_header_pairs().into_iter().collect();
    let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let claim = message.claim();
    let (sha256, payload_bytes) = match &claim {
        None => (Sha256::digest(&message.payload).to_vec(), message.payload.len() as u64),
        Some(claim) => match log.prove(claim).await {
            Ok(bytes) => (claim.sha256().to_vec(), bytes),
            Err(ClaimError::Lost { .. }) => (Vec::new(), 0),
            Err(ClaimError::Wire(error)) => return Err(error.into()),
        },
    };
    let bytes = header_bytes as u64 + payload_bytes;
    Ok(InStream { event_id, sequence: message.sequence, sha256, claim, headers, bytes })
}

/// A day's rows. PostgreSQL hashes the bytes, so that they need not travel.
pub(super) async fn raw(pool: &PgPool, day: AccountDay) -> sqlx::Result<Vec<InRaw>> {
    let rows = sqlx::query!(
        r#"select r.event_id, r.payload_sha256, sha256(p.payload) as "sha256?", r.headers, r.stream_incarnation, r.stream_sequence
           from meta_insights_raw r left join meta_payloads p using (account_id, payload_sha256)
           where r.account_id = $1 and r.ad_account_id = $2 and r.date = $3"#,
        day.account_id,
        day.ad_account_id,
        day.date,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| InRaw {
            event_id: r.event_id,
            recorded_sha256: r.payload_sha256,
            sha256: r.sha256,
            headers: owned(&r.headers).collect(),
            incarnation: r.stream_incarnation,
            sequence: r.stream_sequence,
        })
        .collect())
}

/// The events of a day that were folded.
pub(super) async fn observed(pool: &PgPool, day: AccountDay) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select event_id from observations where account_id = $1 and ad_account_id = $2 and date = $3",
        day.account_id,
        day.ad_account_id,
        day.date,
    )
    .fetch_all(pool)
    .await
}

/// The days of a range of which an event was folded.
pub(super) async fn observed_days(pool: &PgPool, range: &Range) -> sqlx::Result<Vec<AccountDay>> {
    sqlx::query_as!(
        AccountDay,
        "select distinct account_id, ad_account_id, date from observations
         where ($1::uuid is null or account_id = $1) and ($2::uuid is null or ad_account_id = $2)
           and ($3::date is null or date >= $3) and ($4::date is null or date <= $4)",
        range.account_id,
        range.ad_account_id,
        range.since,
        range.until,
    )
    .fetch_all(pool)
    .await
}

/// Headers as the raw log keeps them.
pub(super) fn owned(recorded: &serde_json::Value) -> impl Iterator<Item = (String, String)> {
    header_pairs(recorded).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// What was trimmed so far.
pub(super) async fn trims(pool: &PgPool) -> sqlx::Result<Vec<PastTrim>> {
    let rows = sqlx::query!("select stream_incarnation, up_to_sequence, before from log_trims").fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|r| PastTrim { incarnation: r.stream_incarnation, up_to_sequence: r.up_to_sequence, before: r.before })
        .collect())
}
