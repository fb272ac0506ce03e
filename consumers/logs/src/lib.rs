//! The two logs, read alike: the stream and `meta_insights_raw` hold the same events, and whoever reads the past (replay,
//! rebuild, as-of, verify) reads either through here.
//!
//! What must not live here: what an event's numbers mean (that is `projections`, and the verifier's own view), how raw
//! is written or compared with the stream (`raw`), or anything that writes.

mod both;
mod source;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use events::subject::AccountDay;
use events::{Circumstances, EventError, open_insights};
use jetstream::Message;
use uuid::Uuid;

pub use both::Logs;
pub use source::Source;

/// Which days to read; both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub account_id: Option<Uuid>,
    pub ad_account_id: Option<Uuid>,
    pub since: NaiveDate,
    pub until: NaiveDate,
}

/// Where a log ended when somebody looked: what was stored later is above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last sequence of the stream that was created at that instant.
    Stream { incarnation: DateTime<Utc>, sequence: u64 },
    /// The newest `stored_at` among the events of raw.
    Raw { stored_at: DateTime<Utc> },
}

impl Range {
    /// Every day that a log can have.
    pub fn everything() -> Self {
        let day = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
        Range { account_id: None, ad_account_id: None, since: day(1, 1, 1), until: day(9999, 12, 31) }
    }
}

/// An event, wherever it was read; its data is not decoded yet.
#[derive(Debug)]
pub struct Logged {
    pub day: AccountDay,
    pub circumstances: Circumstances,
    /// When the stream stored it.
    pub stored_at: DateTime<Utc>,
    pub payload: Bytes,
}

impl Logged {
    /// An event of the future whose time has come: it was parked, published again, and folded then. The first copy of it,
    /// which is all that `meta_insights_raw` keeps, still stands where it was too early.
    #[must_use]
    pub fn no_longer_early(self) -> Self {
        Logged { stored_at: self.stored_at.max(self.circumstances.fetched_at), ..self }
    }

    /// Opens a message of the stream.
    pub fn open(message: &Message) -> Result<Self, EventError> {
        let attributes = message.attributes()?;
        Ok(Logged {
            day: AccountDay::parse(&message.subject)?,
            circumstances: open_insights(&attributes)?,
            stored_at: message.stored_at,
            payload: message.payload.clone(),
        })
    }
}

/// An event of which a log holds no more than that it was there.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// `None`: not even that can be read.
    pub event_id: Option<Uuid>,
    pub reason: EventError,
}

/// Why a log cannot be read now; never one of its events.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Wire(#[from] jetstream::WireError),
    #[error("PostgreSQL failed while meta_insights_raw was read")]
    Database(#[from] sqlx::Error),
}
