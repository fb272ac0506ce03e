//! The door: whatever version an event has, the rest of the house sees the newest shape only.
//!
//! What versions differ in is what stands before the rows: rows are the JSON that Meta sent, in every version. So an
//! [`Upcaster`] rewrites the beginning of the data, [`Parts`](crate::Parts) puts the rows behind it as they come, and the
//! sha256 is that of what results. Equal answers have equal content, in whatever version they travelled.

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
    #[error("data of {event_type} does not become that of {INSIGHTS_FETCHED_V1}: {reason}")]
    Upcast { event_type: &'static str, reason: String },
    #[error("data speaks of another day than its subject {subject}: it names {found}")]
    OtherDay { subject: String, found: String },
}

/// How the data of another version of `adledger.meta.insights.fetched` becomes that of the newest.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    pub event_type: &'static str,
    /// Given the data with an empty list of rows at its end, returns what the newest version's is. Pure: an event is read
    /// again and again, and says the same each time. An error says why the data is not that of its type.
    pub rewrite: fn(&[u8]) -> Result<Vec<u8>, String>,
}

/// One for each version that is not the newest. There is one version yet.
const UPCASTERS: [Upcaster; 0] = [];

/// Versions that tests make up. A release build has none, and elsewhere a process has to ask for one.
#[cfg(feature = "made-up-versions")]
pub mod made_up {
    use std::sync::OnceLock;

    use super::Upcaster;

    static ACCEPTED: OnceLock<Upcaster> = OnceLock::new();

    /// Reads events of this type from now on, in this process.
    pub fn accept(upcaster: Upcaster) {
        let _ = ACCEPTED.set(upcaster);
    }

    pub(super) fn accepted() -> Option<&'static Upcaster> {
        ACCEPTED.get()
    }
}

/// How data of this type is read: `None` is a type that this version does not know.
fn reading(event_type: &str) -> Option<Option<Upcaster>> {
    if event_type == INSIGHTS_FETCHED_V1 {
        return Some(None);
    }
    #[cfg(feature = "made-up-versions")]
    if let Some(made_up) = made_up::accepted().filter(|upcaster| upcaster.event_type == event_type) {
        return Some(Some(*made_up));
    }
    UPCASTERS.into_iter().find(|upcaster| upcaster.event_type == event_type).map(Some)
}

/// Reads the attributes of an insights event, of any version that ever was.
pub fn open_insights(attributes: &Event) -> Result<Circumstances, EventError> {
    let found = attributes.ty();
    let upcaster =
        reading(found).ok_or_else(|| EventError::Type { found: found.to_owned(), expected: INSIGHTS_FETCHED_V1 })?;
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
        upcaster,
    })
}

impl Circumstances {
    /// The version this event's snapshot has.
    pub fn version(&self) -> Version {
        Version { fetched_at: self.fetched_at, event_id: self.event_id }
    }
}

impl<'a> InsightsData<'a> {
    /// Reads decompressed data of the newest version, borrowing from it, and holds it against the subject it came under: an event whose
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
