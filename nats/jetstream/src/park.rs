//! Dead letters: a message nobody can use is kept with the reason, and the rest goes on.

use events::subject;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::publish::PUBLISH_WITHIN;
use crate::{Message, PublishError, Wire};

/// A reason stays readable in a header, and no line break in it can end the header.
const READABLE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b' ').remove(b'.').remove(b',').remove(b'_').remove(b'-').remove(b':');

const REASON: &str = "adledger-parked-reason";
const SUBJECT: &str = "adledger-parked-subject";

impl Message {
    /// Why this message was parked; `None` for one that was not.
    pub fn parked_reason(&self) -> Option<String> {
        let reason = self.header(REASON)?;
        Some(percent_decode_str(&reason).decode_utf8_lossy().into_owned())
    }

    /// The subject that a parked message came under.
    pub fn parked_subject(&self) -> Option<String> {
        self.header(SUBJECT)
    }

    fn header(&self, wanted: &str) -> Option<String> {
        let (_, value) = self.header_pairs().into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(value)
    }
}

impl Wire {
    /// Copies `message` to the dead letters, once however often it is parked: its place in the stream is the copy's
    /// message id. A message that does not fit any more leaves its place instead of its bytes.
    pub(crate) async fn park(
        &self,
        stream: &str,
        consumer: &str,
        message: &Message,
        reason: &str,
    ) -> Result<(), PublishError> {
        let mut pairs = message.event_header_pairs();
        for (name, value) in [
            (REASON, utf8_percent_encode(reason, READABLE).to_string()),
            ("adledger-parked-stream", stream.to_owned()),
            ("adledger-parked-consumer", consumer.to_owned()),
            ("adledger-parked-sequence", message.sequence.to_string()),
            (SUBJECT, message.subject.clone()),
            ("adledger-parked-stored-at", message.stored_at.to_rfc3339()),
        ] {
            pairs.push((name.to_owned(), value));
        }
        let id = format!("{stream}:{consumer}:{}:{}", message.sequence, message.stored_at.timestamp_micros());
        let subject = subject::dead_letter(stream, consumer);
        match self.publish_pairs(&subject, &id, &pairs, message.payload.clone(), PUBLISH_WITHIN).await {
            Err(PublishError::TooLarge { .. }) => {
                self.publish_pairs(&subject, &id, &pairs, bytes::Bytes::new(), PUBLISH_WITHIN).await
            }
            outcome => outcome,
        }?;
        tracing::warn!(stream, consumer, sequence = message.sequence, reason, "parked a message");
        Ok(())
    }
}
