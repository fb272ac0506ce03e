use chrono::{DateTime, Utc};
use cloudevents::{AttributesWriter, Event, EventBuilder, EventBuilderV10};
use serde::Serialize;
use uuid::Uuid;

use crate::headers;

/// A small event about a change of state, ready to be written beside that state and to travel later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub event_id: Uuid,
    pub subject: String,
    /// The CloudEvents attributes as they travel.
    pub headers: Vec<(String, String)>,
    /// Plain JSON.
    pub payload: Vec<u8>,
}

/// An announcement that cannot be written. The types of this crate always can; it is an error all the same, because a
/// panic in a worker is a lost run.
#[derive(Debug, thiserror::Error)]
pub enum AnnouncementError {
    #[error("the event's data cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("the event's attributes are not those of a CloudEvent")]
    Attributes(#[from] cloudevents::event::EventBuilderError),
}

impl Announcement {
    pub(crate) fn new(
        event_type: &str,
        event_id: Uuid,
        at: DateTime<Utc>,
        source: &str,
        subject: String,
        data: &impl Serialize,
    ) -> Result<Self, AnnouncementError> {
        let mut attributes: Event =
            EventBuilderV10::new().id(event_id.to_string()).source(source).ty(event_type).time(at).build()?;
        attributes.set_datacontenttype(Some("application/json"));
        let payload = serde_json::to_vec(data)?;
        Ok(Announcement { event_id, subject, headers: headers::to_pairs(&attributes), payload })
    }
}
