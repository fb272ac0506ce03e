use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind, Stream};
use chrono::{DateTime, Utc};
use events::Claim;
use futures_util::TryStreamExt;

use crate::message::microseconds;
use crate::{ClaimError, Message, Wire, WireError};

/// A stream read as a log: by subject, from any point, without a consumer on the server.
#[derive(Debug, Clone)]
pub struct Log {
    wire: Wire,
    stream: Stream,
}

/// What a stream holds.
#[derive(Debug, Clone)]
pub struct Level {
    pub messages: u64,
    pub bytes: u64,
    /// `None` when unlimited.
    pub max_bytes: Option<u64>,
    pub last_sequence: u64,
}

/// What the account's streams take together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage {
    pub bytes: u64,
    /// `None` when the account has no limit; then it is the server's disk.
    pub max_bytes: Option<u64>,
}

impl Wire {
    /// What all streams of the account take on disk, and how much they may.
    pub(crate) async fn storage(&self) -> Result<Storage, WireError> {
        let account =
            self.context.query_account().await.map_err(|e| WireError::request("asking for the account", e))?;
        let max_bytes = account.limits.max_storage.and_then(|max| u64::try_from(max).ok()).filter(|max| *max > 0);
        Ok(Storage { bytes: account.storage, max_bytes })
    }

    /// The stream of that name as a log.
    pub async fn log(&self, stream: &str) -> Result<Log, WireError> {
        Ok(Log { wire: self.clone(), stream: self.stream(stream).await? })
    }
}

impl Log {
    /// The connection that it is read through.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// When the stream was created: a recreated stream counts its sequences anew, and this tells the two apart.
    pub fn incarnation(&self) -> DateTime<Utc> {
        microseconds(self.stream.cached_info().created)
    }

    /// Like [`Log::incarnation`], asked anew.
    pub async fn incarnation_now(&self) -> Result<DateTime<Utc>, WireError> {
        let info = self.stream.get_info().await.map_err(|e| WireError::request("asking for a stream", e))?;
        Ok(microseconds(info.created))
    }

    /// What the stream holds now.
    pub async fn level(&self) -> Result<Level, WireError> {
        let info = self.stream.get_info().await.map_err(|e| WireError::request("asking for a stream", e))?;
        Ok(Level {
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).ok(),
            last_sequence: info.state.last_sequence,
        })
    }

    /// The subjects that match `filter` and hold at least one message, in no order, each with how many it holds. The
    /// server gives them in pages.
    pub async fn counts(&self, filter: &str) -> Result<Vec<(String, u64)>, WireError> {
        let failed = |e: async_nats::jetstream::stream::InfoError| WireError::request("counting messages", e);
        let counts = self.stream.info_with_subjects(filter).await.map_err(failed)?;
        counts.map_ok(|(subject, count)| (subject, count as u64)).try_collect().await.map_err(failed)
    }

    /// The first message of `subject` at or after `sequence`; `None` past the last one. The subject may hold wildcards.
    pub async fn next(&self, subject: &str, sequence: u64) -> Result<Option<Message>, WireError> {
        found(self.stream.direct_get_next_for_subject(subject, Some(sequence.max(1))).await)
    }

    /// The message at this place; `None` where there is none, or none any more.
    pub async fn at(&self, sequence: u64) -> Result<Option<Message>, WireError> {
        // To the server, no sequence at all.
        if sequence == 0 {
            return Ok(None);
        }
        found(self.stream.direct_get(sequence).await)
    }

    /// The message with its payload, wherever that is: see [`Wire::whole`].
    pub async fn whole(&self, message: Message) -> Result<Message, ClaimError> {
        self.wire.whole(message).await
    }

    /// How many bytes the object of that claim has: see [`Wire::prove`].
    pub async fn prove(&self, claim: &Claim) -> Result<u64, ClaimError> {
        self.wire.prove(claim).await
    }

    /// Whether the stream takes messages of this subject.
    pub(crate) fn takes(&self, subject: &str) -> bool {
        self.stream.cached_info().config.subjects.iter().any(|filter| matches(filter, subject))
    }

    /// Deletes every message that matches `filter`, up to this one: one request, however many they are.
    pub async fn purge(&self, filter: &str, up_to_sequence: u64) -> Result<(), WireError> {
        let purging = self.stream.purge().filter(filter).sequence(up_to_sequence + 1);
        purging.await.map(drop).map_err(|e| WireError::request("purging a stream", e))
    }

    /// Deletes the message at this place. That it is gone already is no error.
    pub async fn delete(&self, sequence: u64) -> Result<(), WireError> {
        match self.stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(_) if self.at(sequence).await?.is_none() => Ok(()),
            Err(error) => Err(WireError::request("deleting a message", error)),
        }
    }
}

fn found(answer: Result<StreamMessage, DirectGetError>) -> Result<Option<Message>, WireError> {
    match answer {
        Ok(found) => {
            Ok(Some(Message::new(found.subject.to_string(), found.sequence, found.time, found.payload, found.headers)))
        }
        Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => Ok(None),
        Err(error) => Err(WireError::request("reading the log", error)),
    }
}

/// Whether a subject is one of those that the filter means, as the server has it.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_mean_what_they_mean_to_the_server() {
        for (filter, subject, meant) in [
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.c.d", false),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("meta.insights.*.*.*", "$JS.API.STREAM.DELETE.META_INSIGHTS", false),
        ] {
            assert_eq!(matches(filter, subject), meant, "{filter} {subject}");
        }
    }
}
