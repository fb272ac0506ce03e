use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{DeleteMessageError, DeleteMessageErrorKind, DirectGetErrorKind, Stream};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;

use crate::{Message, Wire, WireError};

/// A stream read as a log: by subject, from any point, without a consumer on the server.
#[derive(Debug, Clone)]
pub struct Log {
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
pub struct Storage {
    pub bytes: u64,
    /// `None` when the account has no limit; then it is the server's disk.
    pub max_bytes: Option<u64>,
}

impl Wire {
    /// What all streams of the account take on disk, and how much they may.
    pub async fn storage(&self) -> Result<Storage, WireError> {
        let account =
            self.context.query_account().await.map_err(|e| WireError::request("asking for the account", e))?;
        let max_bytes = account.limits.max_storage.and_then(|max| u64::try_from(max).ok()).filter(|max| *max > 0);
        Ok(Storage { bytes: account.storage, max_bytes })
    }

    /// The stream of that name as a log.
    pub async fn log(&self, stream: &str) -> Result<Log, WireError> {
        Ok(Log { stream: self.stream(stream).await? })
    }
}

impl Log {
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

    /// The subjects that match `filter` and hold at least one message, in no order. The server gives them in pages.
    pub async fn subjects(&self, filter: &str) -> Result<Vec<String>, WireError> {
        let failed = |e: async_nats::jetstream::stream::InfoError| WireError::request("listing subjects", e);
        let subjects = self.stream.info_with_subjects(filter).await.map_err(failed)?;
        subjects.map_ok(|(subject, _)| subject).try_collect().await.map_err(failed)
    }

    /// How many messages each subject that matches `filter` holds.
    pub async fn counts(&self, filter: &str) -> Result<Vec<(String, u64)>, WireError> {
        let failed = |e: async_nats::jetstream::stream::InfoError| WireError::request("counting messages", e);
        let counts = self.stream.info_with_subjects(filter).await.map_err(failed)?;
        counts.map_ok(|(subject, count)| (subject, count as u64)).try_collect().await.map_err(failed)
    }

    /// The first message of `subject` at or after `sequence`; `None` past the last one.
    pub async fn next(&self, subject: &str, sequence: u64) -> Result<Option<Message>, WireError> {
        match self.stream.direct_get_next_for_subject(subject, Some(sequence.max(1))).await {
            Ok(found) => Ok(Some(Message::new(
                found.subject.to_string(),
                found.sequence,
                found.time,
                found.payload,
                found.headers,
            ))),
            Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => Ok(None),
            Err(error) => Err(WireError::request("reading the log", error)),
        }
    }

    /// Deletes one message. One that is gone already is no error.
    pub async fn delete(&self, sequence: u64) -> Result<(), WireError> {
        match self.stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(WireError::request("deleting a message", error)),
        }
    }
}

fn is_gone(error: &DeleteMessageError) -> bool {
    matches!(error.kind(), DeleteMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND)
}

/// What PostgreSQL keeps of an instant.
fn microseconds(instant: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(instant.timestamp_micros()).unwrap_or(instant)
}
