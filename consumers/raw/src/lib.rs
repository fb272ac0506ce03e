//! The second log: appends every insights event to `meta_insights_raw`, its bytes as they travelled, and reads it back.
//!
//! Here live the consumer that writes the log ([`run`]), the reader that a replay uses ([`days`], [`events_of_day`]), the
//! comparison of the two logs ([`audit`]), and what may leave the stream because this one has it ([`Trim`]). What must not live here: what a row means. An event that no fold can use is appended like any other, as long as its
//! envelope says which event of which day it is.

mod append;
pub mod audit;
mod read;
mod trim;

use chrono::{DateTime, Utc};
use jetstream::{BatchLimits, Disposition, META_INSIGHTS, Message, Wire};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use append::{Appended, append};
pub use read::{Recorded, days, events_of_day};
pub use trim::{Trim, TrimError, Trimmed};

/// The durable consumer of this room.
pub const DURABLE: &str = "raw";

/// Appends events until cancelled.
pub async fn run(pool: &PgPool, wire: &Wire, limits: BatchLimits, cancel: &CancellationToken) {
    wire.consume(META_INSIGHTS, DURABLE, limits, cancel, |messages| handle(pool, wire, messages)).await;
}

/// What stops a batch: the database or the stream, never the events.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error("cannot append to meta_insights_raw")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Wire(#[from] jetstream::WireError),
}

async fn handle(pool: &PgPool, wire: &Wire, messages: Vec<Message>) -> Result<Vec<Disposition>, HandleError> {
    let _spans = jetstream::spans(&messages, |message| {
        tracing::info_span!("append", otel.kind = "consumer", subject = message.subject, sequence = message.sequence)
    });
    // Asked for each batch, because a stream can be recreated while this process runs.
    let incarnation = wire.log(META_INSIGHTS).await?.incarnation();
    let appended = append_each(pool, incarnation, &messages).await?;
    Ok(appended
        .into_iter()
        .map(|outcome| match outcome {
            Appended::Stored => Disposition::Ack,
            Appended::Refused(reason) => Disposition::Park { reason },
        })
        .collect())
}

/// Appends what can be appended, and says of each of the others why not.
async fn append_each(pool: &PgPool, incarnation: DateTime<Utc>, messages: &[Message]) -> sqlx::Result<Vec<Appended>> {
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

/// Finds the message that PostgreSQL refuses (a header with a NUL, a day beyond its calendar), so that it alone is parked.
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
