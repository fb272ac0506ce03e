//! Payloads that fit into no message: objects of one bucket, named by the sha256 of their bytes.
//!
//! An object is what JetStream's object stores make it: chunks under a subject of their own, and a description under
//! the name's. What differs is how it is put. A client's `put` of a name that is there replaces the object and deletes
//! its chunks, under whoever reads them. Here the description is published on the condition that the name's last one is
//! still the one that was looked at (none, mostly), so that of two publishers one is refused, looks again, and finds
//! the other's object: the same bytes. Chunks are never shared and never deleted but by [`sweep`]. See `docs/adr/0014`.

mod load;
mod put;
mod sweep;

use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use chrono::{DateTime, Utc};
use events::{BUCKET, Claim};
use serde::{Deserialize, Serialize};

pub(crate) use self::load::Budget;
pub use self::load::Room;
pub use self::sweep::{Objects, Orphans};
use crate::message::microseconds;
use crate::{OBJ_META_PAYLOADS, Wire, WireError};

/// The largest payload that is put or read. A day of 20,000 ads with long names is about 12 MB.
pub(crate) const MOST_OBJECT_BYTES: u64 = 96 << 20;

/// Why a payload that travels beside its event cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The object store cannot be asked now.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is no such object, or its bytes are not those it is named by.
    #[error("the payload {} of the event is {what} in the object store META_PAYLOADS: `adledger audit --heal` brings it back from meta_insights_raw if that has it; else fetch the day again", claim.name())]
    Lost { claim: Claim, what: String },
}

/// What is stored of an object beside its chunks, in the form of JetStream's object stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    name: String,
    bucket: String,
    /// The last token of the chunks' subject.
    nuid: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    chunks: usize,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

/// The newest description of a name.
#[derive(Debug)]
struct Found {
    sequence: u64,
    stored_at: DateTime<Utc>,
    /// `None` where it cannot be read; such a one holds nobody's bytes.
    description: Option<Description>,
}

impl Found {
    /// The description, unless it says that the object is gone.
    fn living(&self) -> Option<&Description> {
        self.description.as_ref().filter(|description| !description.deleted)
    }
}

impl Description {
    fn new(claim: &Claim, nuid: String, size: u64, chunks: usize) -> Self {
        let digest = format!("SHA-256={}", URL_SAFE.encode(claim.sha256()));
        Description { name: claim.name(), bucket: BUCKET.to_owned(), nuid, size, chunks, digest, deleted: false }
    }

    fn chunk_subject(&self) -> String {
        chunk_subject(&self.nuid)
    }
}

fn chunk_subject(nuid: &str) -> String {
    format!("$O.{BUCKET}.C.{nuid}")
}

fn description_subject(name: &str) -> String {
    format!("$O.{BUCKET}.M.{}", URL_SAFE.encode(name))
}

impl Wire {
    async fn bucket(&self) -> Result<Stream, WireError> {
        self.stream(OBJ_META_PAYLOADS).await
    }
}

/// The newest description of that name.
async fn look(bucket: &Stream, name: &str) -> Result<Option<Found>, WireError> {
    match bucket.direct_get_last_for_subject(description_subject(name)).await {
        Ok(message) => Ok(Some(Found {
            sequence: message.sequence,
            stored_at: microseconds(message.time),
            description: serde_json::from_slice(&message.payload).ok(),
        })),
        Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => Ok(None),
        Err(error) => Err(WireError::request("looking for an object", error)),
    }
}
