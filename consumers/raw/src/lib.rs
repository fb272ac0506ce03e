//! The second log: appends every insights event to `meta_insights_raw`, its bytes as they travelled, and reads it back.
//!
//! Here live the consumer that writes the log ([`run`]), the reader that a replay uses ([`days`], [`entries_of_day`]),
//! the comparison of the two logs ([`audit`]), and what may leave the stream because this one has it ([`Trim`]). What
//! must not live here: what a row means. An event that no fold can use is appended like any other, as long as its
//! envelope says which event of which day it is.

mod append;
pub mod audit;
mod large;
mod read;
mod trim;

use jetstream::{BatchLimits, Disposition, META_INSIGHTS, Message, Wire};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use append::refuses_data;
use append::{Appended, append_each};
pub use read::{Origin, Range, Recorded, days, entries_of_day, newest_stored_at, origins_of_day};
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
