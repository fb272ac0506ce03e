//! The door: whatever version an event has, the rest of the house sees the newest shape only.

use cloudevents::{AttributesReader, Event};

use crate::headers::{self, HeaderError};
use crate::insights_fetched::{Circumstances, InsightsData};
use crate::payload::{Codec, PayloadError};
use crate::subject::{AccountDay, SubjectError};
use crate::{INSIGHTS_FETCHED_V1, Version};

/// A message that is no event this version can read. Delivering it again changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Subject(#[from] SubjectError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("event type {found:?} is not one of {expected}")]
    Type { found: String, expected: &'static str },
    #[error("data is not that of {INSIGHTS_FETCHED_V1}: {reason}")]
    Data { reason: String },
    #[error("data speaks of another day than its subject {subject}: it names {found}")]
    OtherDay { subject: String, found: String },
}

/// Reads the attributes of an insights event, of any version that ever was.
pub fn open_insights(attributes: &Event) -> Result<Circumstances, EventError> {
    if attributes.ty() != INSIGHTS_FETCHED_V1 {
        return Err(EventError::Type { found: attributes.ty().to_owned(), expected: INSIGHTS_FETCHED_V1 });
    }
    let extension = |name: &str| headers::extension(attributes, name);
    Ok(Circumstances {
        event_id: headers::required("id", Some(attributes.id().to_owned()), "a UUID")?,
        fetched_at: headers::time(attributes)?,
        run_id: headers::optional("runid", extension("runid"), "a UUID")?,
        row_count: headers::optional("rowcount", extension("rowcount"), "a whole number")?,
        page_count: headers::optional("pagecount", extension("pagecount"), "a whole number")?,
        codec: extension(headers::DATACODEC).map_or(Ok(Codec::Plain), |name| name.parse())?,
        uncompressed_bytes: headers::optional("databytes", extension("databytes"), "a whole number")?,
        traceparent: extension(headers::TRACEPARENT),
    })
}

impl Circumstances {
    /// The version this event's snapshot has.
    pub fn version(&self) -> Version {
        Version { fetched_at: self.fetched_at, event_id: self.event_id }
    }
}

impl<'a> InsightsData<'a> {
    /// Reads decompressed data, borrowing from it, and holds it against the subject it came under: an event whose
    /// subject and data disagree would be folded into one day and replayed into another.
    pub fn parse(json: &'a [u8], day: &AccountDay) -> Result<Self, EventError> {
        let data: InsightsData<'a> =
            serde_json::from_slice(json).map_err(|error| EventError::Data { reason: error.to_string() })?;
        let found = AccountDay { account_id: data.account_id, ad_account_id: data.ad_account.id, date: data.date };
        if found != *day {
            return Err(EventError::OtherDay { subject: day.subject(), found: found.subject() });
        }
        Ok(data)
    }
}
