//! A connected ad account gets its first days: each connected or reconnected event makes one `meta_7d_fill` run, and
//! one of another kind none. Where days were fetched before, a `meta_fresh` run comes along, which brings what was
//! missed since.
//!
//! It does not matter who published the event. What must not live here: what a fill fetches, or how an ad account is
//! connected.
//!
//! **Why one event makes one run.** The run and the event's identity are written in one transaction, and the second
//! delivery finds the identity. An event that comes while a fill waits or works is answered by that fill.

use events::{ConnectionEvent, EventError, Happened, open_connection};
use jetstream::{BatchLimits, Disposition, META_CONNECT, Message, Wire};
use runs::{EnqueueError, FillEvent};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// The durable consumer of this room.
pub const DURABLE: &str = "initial-fill";

const MAX_NAME_BYTES: usize = 500;

/// Makes fills until cancelled.
pub async fn run(pool: &PgPool, wire: &Wire, cancel: &CancellationToken) {
    wire.consume(META_CONNECT, DURABLE, BatchLimits::default(), cancel, |messages| handle(pool, messages)).await;
}

/// What stops a batch: the database, never the events.
async fn handle(pool: &PgPool, messages: Vec<Message>) -> Result<Vec<Disposition>, EnqueueError> {
    let mut dispositions = Vec::with_capacity(messages.len());
    for message in &messages {
        let outcome = match open(message) {
            Ok(event) => match event.happened {
                Happened::Connected | Happened::Reconnected => fill(pool, &event).await,
                Happened::Disconnected | Happened::TokenExpiring => Ok(Disposition::Ack),
            },
            Err(error) => Ok(Disposition::Park { reason: error.to_string() }),
        };
        dispositions.push(outcome?);
    }
    Ok(dispositions)
}

fn open(message: &Message) -> Result<ConnectionEvent, EventError> {
    open_connection(&message.attributes()?, &message.subject)
}

/// Whether PostgreSQL can keep the name of an event as a key; programs of others may call theirs anything.
fn is_storable(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && !name.contains('\0')
}

async fn fill(pool: &PgPool, event: &ConnectionEvent) -> Result<Disposition, EnqueueError> {
    if !is_storable(&event.source) || !is_storable(&event.event_id) {
        let reason = format!("the event's source or id is longer than {MAX_NAME_BYTES} bytes, or holds a NUL");
        return Ok(Disposition::Park { reason });
    }
    let of = FillEvent { source: &event.source, id: &event.event_id };
    let (account_id, integration_id) = (event.connection.account_id, event.connection.integration_id);
    match runs::enqueue_fill(pool, account_id, integration_id, &of).await {
        Ok(Some(run)) => {
            tracing::info!(run_id = %run.run_id, %integration_id, already = run.already, "a fill follows from its event");
            Ok(Disposition::Ack)
        }
        Ok(None) => Ok(Disposition::Ack),
        Err(error @ EnqueueError::NotOfTenant { .. }) => Ok(Disposition::Park { reason: error.to_string() }),
        Err(error) => Err(error),
    }
}
