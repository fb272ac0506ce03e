use chrono::{DateTime, Utc};
use events::{Claim, subject};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use super::{LetterError, park};
use crate::Message;

/// A parked message.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its sequence among the dead letters; never used again.
    pub id: u64,
    pub parked_at: DateTime<Utc>,
    /// The stream that the message came from, and who could not use it; empty where the letter does not say.
    pub stream: String,
    pub consumer: String,
    pub reason: Option<String>,
    /// `None` where the letter does not say: something else than adledger wrote it.
    pub origin: Option<Origin>,
    /// The size of the message's payload; `None` where the letter does not hold it and does not say.
    pub bytes: Option<usize>,
    /// Whether the letter holds the message's headers and bytes; otherwise they are where it came from, if anywhere.
    pub is_whole: bool,
    pub(super) message: Message,
}

/// Where a parked message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub subject: String,
    pub sequence: u64,
    pub stored_at: DateTime<Utc>,
}

impl Letter {
    /// The inverse of [`Wire::park`](crate::Wire::park).
    pub(super) fn open(message: Message) -> Self {
        let headers = message.header_pairs();
        let header = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        let origin = || {
            let stored_at = DateTime::parse_from_rfc3339(&header(park::STORED_AT)?).ok()?;
            Some(Origin {
                subject: header(park::SUBJECT)?,
                sequence: header(park::SEQUENCE)?.parse().ok()?,
                stored_at: stored_at.to_utc(),
            })
        };
        let (stream, consumer) = subject::of_dead_letter(&message.subject).unwrap_or_default();
        let is_whole = header(park::LEFT_OUT).is_none();
        let bytes = match is_whole {
            true if message.claim().is_some() => None,
            true => Some(message.payload.len()),
            false => header(park::BYTES).and_then(|text| text.parse().ok()),
        };
        Letter {
            id: message.sequence,
            parked_at: message.stored_at,
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            reason: header(park::REASON).map(|text| percent_decode_str(&text).decode_utf8_lossy().into_owned()),
            origin: origin().filter(|_| !stream.is_empty()),
            bytes,
            is_whole,
            message,
        }
    }

    /// The tenant that the message's subject names; a bell names none.
    pub fn account_id(&self) -> Option<Uuid> {
        subject::account_of(&self.origin.as_ref()?.subject)
    }

    /// The CloudEvents attributes of the message, where it has any.
    pub fn attributes(&self) -> Result<cloudevents::Event, events::headers::HeaderError> {
        self.message.attributes()
    }

    /// The claim of the message's payload, where that travelled beside it.
    pub fn claim(&self) -> Option<Claim> {
        self.message.claim()
    }

    pub(super) fn origin(&self) -> Result<&Origin, LetterError> {
        self.origin.as_ref().ok_or(LetterError::NoOrigin { id: self.id })
    }
}
