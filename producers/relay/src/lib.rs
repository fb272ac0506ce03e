//! Brings the events of the outbox to their streams. Any number of relays may run: each row is locked by one of them.
//!
//! What must not live here: what an event means, or a decision about whether it should have been written.

use std::time::Duration;

use bytes::Bytes;
use jetstream::{PublishError, Wire};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// How often the outbox is looked at. The streams it feeds are bells and rare events: nobody waits for milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Rows of one transaction: it stays open while they are published.
const ROWS_A_TRANSACTION: i64 = 64;
/// How long one row may take. Its transaction is open meanwhile, and PostgreSQL ends those that idle for long.
const ROW_WITHIN: Duration = Duration::from_secs(5);
/// How long a relay may go without an answer of PostgreSQL's.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a row waits that could not be published; longer each time, up to the second.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Relays until cancelled. What is in hand then is finished, or published once more by whoever comes next.
pub async fn run(pool: &PgPool, wire: &Wire, cancel: &CancellationToken) {
    while !cancel.is_cancelled() {
        let relayed = tokio::time::timeout(ANSWER_WITHIN, relay_once(pool, wire, cancel)).await;
        let pause = match relayed {
            Ok(Ok(relayed)) if relayed == ROWS_A_TRANSACTION as usize => continue,
            Ok(Ok(_)) => LOOK_EVERY,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the relay cannot read the outbox now");
                20 * LOOK_EVERY
            }
            Err(_) => {
                tracing::warn!("the relay has no answer from PostgreSQL; trying again");
                20 * LOOK_EVERY
            }
        };
        let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
    }
}

/// Relays what is due, up to one transaction's worth, and returns how many events their streams have now.
pub async fn relay_once(pool: &PgPool, wire: &Wire, cancel: &CancellationToken) -> sqlx::Result<usize> {
    let mut tx = pool.begin().await?;
    let mut relayed = 0;
    for row in outbox::take(&mut tx, ROWS_A_TRANSACTION).await? {
        if cancel.is_cancelled() {
            break;
        }
        let id = row.event_id.to_string();
        let payload = Bytes::copy_from_slice(&row.payload);
        let Some(headers) = &row.headers else {
            let error = "the row's headers are no list of pairs: correct them, or delete the row";
            tracing::warn!(subject = row.subject, event_id = id, error, "an event stays in the outbox");
            outbox::postponed(&mut tx, &row, LONGEST_PAUSE, error).await?;
            continue;
        };
        match wire.publish_pairs(&row.subject, &id, headers, payload, ROW_WITHIN).await {
            Ok(_) => {
                outbox::published(&mut tx, &row).await?;
                relayed += 1;
            }
            Err(error) => {
                let pause = FIRST_PAUSE * u32::try_from(row.attempts + 1).unwrap_or(1);
                tracing::warn!(subject = row.subject, event_id = id, %error, "an event stays in the outbox");
                outbox::postponed(&mut tx, &row, pause.min(LONGEST_PAUSE), &error.to_string()).await?;
                if matches!(error, PublishError::Unreachable { .. }) {
                    // The others would wait as long, one after the other.
                    break;
                }
            }
        }
    }
    tx.commit().await?;
    Ok(relayed)
}
