//! Pull, decode, fold in one transaction, commit, and only then acknowledge; and what drives the same code over events that
//! are long there: the replay of a range ([`replay`]), the rebuild of everything ([`rebuild`]), the past ([`as_of`]), and
//! whether every event can still be decoded ([`check`]).
//!
//! **Why an event counts once.** Its observation row is written in the transaction that folds it, so the two stand or fall
//! together, and the acknowledgement leaves after the commit. A crash before the commit leaves nothing, and the event comes
//! again; a crash after it leaves the row, which the second delivery finds. So any number of projectors may work, on any
//! number of machines, in any order.
//!
//! What a fold changes in `daily_summary` is announced in the same transaction, as rows of the outbox.
//!
//! What must not live here: what the tables say (that is `projections`), or anything that acts on the world outside.

mod announce;
pub mod as_of;
pub mod check;
mod decode;
mod failure;
mod fold;
mod live;
mod reading;
pub mod rebuild;
pub mod replay;
mod session;

use std::sync::Arc;

use jetstream::{BatchLimits, META_INSIGHTS, Wire};
use projections::Folds;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use announce::announce_changes;
pub use decode::decode;
pub use failure::{AllNotFolded, NotFolded};
pub use fold::{FoldError, Refused, fold_events};
pub use reading::ReadError;
pub use session::send_at_once;

/// Decompressed size up to which an event is read: 50,000 ads of 10 kB, which is a row whose three names of 400 characters are
/// all in escapes. It bounds time, and the rows that the tables take, rather than memory: large events are read in parts.
pub const MAX_EVENT_BYTES: u64 = 512 << 20;

/// The durable consumer of this room.
pub const DURABLE: &str = "projector";

/// What a projector has just done; tests end the process at one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The transaction of this many new events has committed; nothing is acknowledged yet.
    Committed { events: u64 },
}

/// Folds live traffic.
#[derive(Clone)]
pub struct Projector {
    pub pool: PgPool,
    pub wire: Wire,
    pub folds: Folds,
    pub limits: BatchLimits,
    /// Decompressed size up to which an event is read.
    pub max_event_bytes: u64,
    pub observe: Arc<dyn Fn(Step) + Send + Sync>,
}

impl Projector {
    /// Folds until cancelled. What is unfinished then is delivered again, here or elsewhere.
    pub async fn run(&self, cancel: &CancellationToken) {
        #[cfg(feature = "mutants")]
        if self.folds.planted(projections::Mutant::AckBeforeCommit) {
            return self.run_acknowledging_first(cancel).await;
        }
        self.wire.consume(META_INSIGHTS, DURABLE, self.limits, cancel, |messages| self.handle(messages)).await;
    }
}
