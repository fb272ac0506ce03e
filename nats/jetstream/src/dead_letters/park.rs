//! Parking: a message nobody can use is kept with the reason, and the rest goes on.

use async_nats::HeaderMap;
use bytes::Bytes;
use events::subject;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::publish::PUBLISH_WITHIN;
use crate::{Message, PublishError, Wire};

/// A reason stays readable in a header, and no line break in it can end the header.
const READABLE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b' ').remove(b'.').remove(b',').remove(b'_').remove(b'-').remove(b':');
/// A reason may quote what it complains of, and that may be anything.
const LONGEST_REASON: usize = 1000;

pub(super) const REASON: &str = "adledger-parked-reason";
pub(super) const STREAM: &str = "adledger-parked-stream";
pub(super) const CONSUMER: &str = "adledger-parked-consumer";
pub(super) const SEQUENCE: &str = "adledger-parked-sequence";
pub(super) const SUBJECT: &str = "adledger-parked-subject";
pub(super) const STORED_AT: &str = "adledger-parked-stored-at";
/// How many bytes the message's payload has.
pub(super) const BYTES: &str = "adledger-parked-bytes";
/// What did not fit into the letter. It is where the message came from, as long as that is kept.
pub(super) const LEFT_OUT: &str = "adledger-parked-left-out";

/// Whether a header, its name in lower case, is one that parking adds.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("adledger-parked-")
}

impl Wire {
    /// Copies `message` to the dead letters, once however often it is parked: its place in the stream is the copy's
    /// message id. A message that does not fit any more leaves its place instead of its bytes, and at worst instead of
    /// its headers too. A payload that travelled beside the message stays where it is: the letter has its claim.
    pub(crate) async fn park(
        &self,
        stream: &str,
        consumer: &str,
        message: &Message,
        reason: &str,
    ) -> Result<(), PublishError> {
        let id = format!("{stream}:{consumer}:{}:{}", message.sequence, message.stored_at.timestamp_micros());
        let subject = subject::dead_letter(stream, consumer, &message.subject);
        let place = [
            (REASON, utf8_percent_encode(&shortened(reason), READABLE).to_string()),
            (STREAM, stream.to_owned()),
            (CONSUMER, consumer.to_owned()),
            (SEQUENCE, message.sequence.to_string()),
            (SUBJECT, message.subject.clone()),
            (STORED_AT, message.stored_at.to_rfc3339()),
            (BYTES, message.payload.len().to_string()),
        ];
        let headers = || message.event_headers(is_ours);
        let letters: [(HeaderMap, Bytes, Option<&str>); 3] = [
            (headers(), message.payload.clone(), None),
            (headers(), Bytes::new(), Some("payload")),
            (HeaderMap::new(), Bytes::new(), Some("headers, payload")),
        ];
        let mut outcome = Ok(());
        for (mut headers, payload, left_out) in letters {
            for (name, value) in &place {
                headers.insert(*name, value.as_str());
            }
            if let Some(left_out) = left_out {
                headers.insert(LEFT_OUT, left_out);
            }
            outcome = self.publish_message(&subject, &id, headers, payload, PUBLISH_WITHIN).await.map(drop);
            // JetStream refuses headers of more than 64 kB in words of its own.
            if !matches!(outcome, Err(PublishError::TooLarge { .. } | PublishError::Refused { .. })) {
                break;
            }
        }
        outcome?;
        tracing::warn!(stream, consumer, sequence = message.sequence, reason, "parked a message");
        Ok(())
    }
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}
