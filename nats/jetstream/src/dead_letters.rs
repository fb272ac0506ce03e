//! Reading the dead letters, publishing their messages again, and deleting them.

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::subject;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::{DEAD_LETTERS, Log, Message, PUBLISH_WITHIN, PublishError, Published, Wire, WireError, park};

/// The stream of parked messages. Letters are read one at a time, so that memory holds one, however many there are.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    wire: Wire,
    log: Log,
}

/// Which letters are meant; all of them where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct Which {
    pub stream: Option<String>,
    pub consumer: Option<String>,
    /// The tenant that the message's subject names.
    pub account_id: Option<Uuid>,
}

/// A filter of subjects.
#[derive(Debug)]
struct Filter {
    subject: String,
    /// Whether every letter that it matches is meant.
    is_exact: bool,
}

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
    /// The size of the message's payload; `None` where the letter does not say and does not hold it.
    pub bytes: Option<usize>,
    /// Whether the letter holds the message's headers and bytes; otherwise they are where it came from, if anywhere.
    pub is_whole: bool,
    message: Message,
}

/// Where a parked message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub subject: String,
    pub sequence: u64,
    pub stored_at: DateTime<Utc>,
}

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
            LetterError::NoOrigin { .. } | LetterError::Elsewhere { .. } | LetterError::Gone { .. } => false,
        }
    }
}

impl Wire {
    /// The dead letters.
    pub async fn dead_letters(&self) -> Result<DeadLetters, WireError> {
        Ok(DeadLetters { wire: self.clone(), log: self.log(DEAD_LETTERS).await? })
    }
}

impl DeadLetters {
    /// The letter of that id.
    pub async fn letter(&self, id: u64) -> Result<Option<Letter>, WireError> {
        Ok(self.log.at(id).await?.map(Letter::open))
    }

    /// These letters, from this id on.
    pub fn read(&self, which: &Which, from: u64) -> Reading {
        let ahead = which.filters().into_iter().map(|filter| (filter, Ahead::From(from))).collect();
        Reading { log: self.log.clone(), which: which.clone(), ahead }
    }

    /// The first of these letters whose id is `from` or above.
    pub async fn next(&self, which: &Which, from: u64) -> Result<Option<Letter>, WireError> {
        self.read(which, from).next().await
    }

    /// How many of these letters there are.
    pub async fn count(&self, which: &Which) -> Result<u64, WireError> {
        let mut count = 0;
        for filter in which.filters() {
            if !filter.is_exact {
                // The server counts by subject, and these do not say there whose they are.
                let ahead = vec![(filter, Ahead::From(1))];
                let mut reading = Reading { log: self.log.clone(), which: which.clone(), ahead };
                while reading.next().await?.is_some() {
                    count += 1;
                }
                continue;
            }
            count += self.log.counts(&filter.subject).await?.into_iter().map(|(_, count)| count).sum::<u64>();
        }
        Ok(count)
    }

    /// The id of the newest letter there has been; 0 where none was.
    pub async fn last_id(&self) -> Result<u64, WireError> {
        Ok(self.log.level().await?.last_sequence)
    }

    /// The message as its publisher sent it: from the letter, or from its stream where it did not fit.
    ///
    /// A sequence alone names no message, because a stream that was made anew counts again: the message must have been
    /// stored at the instant that the letter says.
    pub async fn original(&self, letter: &Letter) -> Result<Original, LetterError> {
        let of = |message: &Message| Original {
            payload: message.payload.clone(),
            headers: message.event_headers(park::is_ours),
        };
        if letter.is_whole {
            return Ok(of(&letter.message));
        }
        let origin = letter.origin()?;
        let found = self.wire.log(&letter.stream).await?.at(origin.sequence).await?;
        match found.filter(|found| found.stored_at == origin.stored_at && found.subject == origin.subject) {
            Some(found) => Ok(of(&found)),
            None => Err(LetterError::Gone { id: letter.id, stream: letter.stream.clone(), sequence: origin.sequence }),
        }
    }

    /// Publishes the message again, to its stream, and deletes the letter once the stream has it. Every consumer of the
    /// stream gets it: those that have handled it know the event by its id, and who cannot use it parks it again, as a new
    /// letter.
    ///
    /// **Why a retry loses nothing.** The letter goes only after the stream has acknowledged the message. A crash in between
    /// leaves both: the next retry publishes under the same message id, which the stream knows for two minutes; after that
    /// it stores the message twice, and the second copy is an event that every consumer has seen. The id is made from the
    /// place that the message was parked at, so that two consumers' letters of one message publish it once. It is not the
    /// event's, by which the stream would take a message that was published a moment ago for that one, and drop it.
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

    /// Deletes the letter, and nothing else.
    pub async fn discard(&self, letter: &Letter) -> Result<(), WireError> {
        self.log.delete(letter.id).await
    }
}

/// Letters in the order of their ids. Where two filters are asked, the next letter of each is held.
#[derive(Debug)]
pub struct Reading {
    log: Log,
    which: Which,
    ahead: Vec<(Filter, Ahead)>,
}

/// What is known of a filter's next letter.
#[derive(Debug)]
enum Ahead {
    /// Its id is this one or above.
    From(u64),
    Letter(Box<Letter>),
    /// There is none. Not asked again, because a server looks through all subjects for it.
    End,
}

impl Reading {
    pub async fn next(&mut self) -> Result<Option<Letter>, WireError> {
        for (filter, ahead) in &mut self.ahead {
            while let Ahead::From(from) = *ahead {
                *ahead = match self.log.next(&filter.subject, from).await?.map(Letter::open) {
                    None => Ahead::End,
                    Some(letter) if self.which.means(&letter) => Ahead::Letter(Box::new(letter)),
                    Some(letter) => Ahead::From(letter.id + 1),
                };
            }
        }
        let id = |ahead: &Ahead| match ahead {
            Ahead::Letter(letter) => letter.id,
            Ahead::From(_) | Ahead::End => u64::MAX,
        };
        let Some((_, first)) = self.ahead.iter_mut().min_by_key(|(_, ahead)| id(ahead)) else { return Ok(None) };
        let next = Ahead::From(id(first).saturating_add(1));
        match std::mem::replace(first, next) {
            Ahead::Letter(letter) => Ok(Some(*letter)),
            end => {
                *first = end;
                Ok(None)
            }
        }
    }
}

impl Which {
    /// What to ask the server for; no letter is under two of them.
    fn filters(&self) -> Vec<Filter> {
        let (stream, consumer) = (self.stream.as_deref(), self.consumer.as_deref());
        let subject = subject::dead_letter_filter(stream, consumer, self.account_id);
        let mut filters = vec![Filter { subject, is_exact: true }];
        if stream.is_some() || consumer.is_some() || self.account_id.is_some() {
            let subject = subject::bare_dead_letter_filter(stream, consumer);
            filters.push(Filter { subject, is_exact: self.account_id.is_none() });
        }
        filters
    }

    /// Whether a letter that a filter has matched is meant.
    fn means(&self, letter: &Letter) -> bool {
        self.account_id.is_none_or(|id| letter.account_id() == Some(id))
    }
}

impl Letter {
    fn open(message: Message) -> Self {
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
        // Letters of earlier versions do not say how many bytes there were: without any, some may have been left out.
        let (said, here) = (header(park::BYTES).and_then(|text| text.parse().ok()), message.payload.len());
        let is_whole = header(park::LEFT_OUT).is_none() && (here > 0 || said == Some(0));
        Letter {
            id: message.sequence,
            parked_at: message.stored_at,
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            reason: header(park::REASON).map(|text| percent_decode_str(&text).decode_utf8_lossy().into_owned()),
            origin: origin().filter(|_| !stream.is_empty()),
            bytes: if is_whole { Some(here) } else { said },
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

    fn origin(&self) -> Result<&Origin, LetterError> {
        self.origin.as_ref().ok_or(LetterError::NoOrigin { id: self.id })
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
