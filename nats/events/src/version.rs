use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The version of a snapshot: when it was asked for, and, should two carry the same instant, its event id.
///
/// Neither arrival nor the stream's sequence takes part: both can differ from one delivery to the next, and the fold
/// must not. The derived order compares `fetched_at` first because it is declared first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub fetched_at: DateTime<Utc>,
    pub event_id: Uuid,
}
