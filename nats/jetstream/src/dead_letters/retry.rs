use async_nats::HeaderMap;
use bytes::Bytes;

use super::{DeadLetters, Letter, park};
use crate::{ClaimError, Message, PUBLISH_WITHIN, PublishError, Published, WireError};

/// A message as its publisher sent it.
#[derive(Debug, Clone)]
pub struct Original {
    pub payload: Bytes,
    headers: HeaderMap,
}

/// Why a letter cannot be read in full, or not be retried.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error(
        "letter {id} does not say where its message came from: something else wrote it, and it can only be dropped"
    )]
    NoOrigin { id: u64 },
    #[error("letter {id} names subject {subject:?}, which stream {stream} does not take: it can only be dropped")]
    Elsewhere { id: u64, stream: String, subject: String },
    #[error(
        "the message of letter {id} did not fit into it, and message {sequence} of {stream}, which it was, is not there any more"
    )]
    Gone { id: u64, stream: String, sequence: u64 },
    #[error("the message of letter {id} cannot be read in full")]
    Payload { id: u64, source: ClaimError },
    #[error("the message of letter {id} could not be published again, and the letter stays")]
    Publish { id: u64, source: PublishError },
    #[error(
        "the message of letter {id} was published again as message {sequence} of {stream}, but the letter could not be deleted: drop it"
    )]
    Stays { id: u64, stream: String, sequence: u64, source: WireError },
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl LetterError {
    /// Whether the servers are the reason, so that the next letter would fare alike.
    pub fn is_of_the_servers(&self) -> bool {
        match self {
            LetterError::Publish { source, .. } => {
                matches!(source, PublishError::Full { .. } | PublishError::Unreachable { .. })
            }
            LetterError::Wire(WireError::NoStream { .. }) => false,
            LetterError::Wire(_) | LetterError::Stays { .. } => true,
            LetterError::NoOrigin { .. }
            | LetterError::Elsewhere { .. }
            | LetterError::Gone { .. }
            | LetterError::Payload { .. } => false,
        }
    }
}

impl DeadLetters {
    /// The message as its publisher sent it: from the letter, or from its stream where it did not fit.
    ///
    /// A sequence alone names no message, because a stream that was made anew counts again: the message must have been
    /// stored at the instant that the letter says.
    pub async fn original(&self, letter: &Letter) -> Result<Original, LetterError> {
        let of = async |message: Message| match self.wire.whole(message).await {
            Ok(message) => {
                Ok(Original { payload: message.payload.clone(), headers: message.event_headers(park::is_ours) })
            }
            Err(ClaimError::Wire(error)) => Err(error.into()),
            Err(source @ ClaimError::Lost { .. }) => Err(LetterError::Payload { id: letter.id, source }),
        };
        if letter.is_whole {
            return of(letter.message.clone()).await;
        }
        let origin = letter.origin()?;
        let found = self.wire.log(&letter.stream).await?.at(origin.sequence).await?;
        match found.filter(|found| found.stored_at == origin.stored_at && found.subject == origin.subject) {
            Some(found) => of(found).await,
            None => Err(LetterError::Gone { id: letter.id, stream: letter.stream.clone(), sequence: origin.sequence }),
        }
    }

    /// Publishes the message again, to its stream, and deletes the letter once the stream has it. Every consumer of the
    /// stream gets it: those that have handled it know the event by its id, and who cannot use it parks it again, as a
    /// new letter.
    ///
    /// **Why a retry loses nothing.** The letter goes only after the stream has acknowledged the message. A crash in
    /// between leaves both: the next retry publishes under the same message id, which the stream knows for two minutes;
    /// after that it stores the message twice, and the second copy is an event that every consumer has seen. The id is
    /// made from the place that the message was parked at, so that two consumers' letters of one message publish it
    /// once. It is not the event's, by which the stream would take a message that was published a moment ago for that
    /// one, and drop it.
    pub async fn retry(&self, letter: &Letter) -> Result<Published, LetterError> {
        let origin = letter.origin()?;
        // A letter is data that others may write: what it names must be a message of the stream it names.
        if !self.wire.log(&letter.stream).await?.takes(&origin.subject) {
            let (stream, subject) = (letter.stream.clone(), origin.subject.clone());
            return Err(LetterError::Elsewhere { id: letter.id, stream, subject });
        }
        let Original { payload, mut headers } = self.original(letter).await?;
        headers.insert(async_nats::header::NATS_EXPECTED_STREAM, letter.stream.as_str());
        let message_id = format!("retry:{}:{}:{}", letter.stream, origin.sequence, origin.stored_at.timestamp_micros());
        let publishing = self.wire.publish_headers(&origin.subject, &message_id, headers, payload, PUBLISH_WITHIN);
        let published = publishing.await.map_err(|source| LetterError::Publish { id: letter.id, source })?;
        self.log.delete(letter.id).await.map_err(|source| LetterError::Stays {
            id: letter.id,
            stream: letter.stream.clone(),
            sequence: published.sequence,
            source,
        })?;
        Ok(published)
    }
}

impl Original {
    /// The headers that the publisher gave it, by name.
    pub fn headers(&self) -> Vec<(String, String)> {
        let named = self
            .headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.to_string())));
        let mut headers: Vec<_> = named.collect();
        headers.sort();
        headers
    }
}
