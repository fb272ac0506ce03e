use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use bytes::Bytes;
use cloudevents::{AttributesReader, Event};
use events::Claim;
use events::headers::{DATAREF, carries};
use tracing::Instrument;

use crate::Wire;
use crate::consume::delays;
use crate::log_room::MAKE_ROOM;
use crate::message::{header_map, is_transport};
use crate::objects::MOST_OBJECT_BYTES;

/// A cluster whose leader dies is silent for some seconds; the publisher waits it out.
pub const PUBLISH_WITHIN: Duration = Duration::from_secs(60);

/// Room for the headers that say how a message travels: its id, and the stream that it is for.
const TRANSPORT_HEADERS_BYTES: usize = 128;

/// Where the log keeps a published event.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    pub sequence: u64,
    /// The stream held the event already: this was a second try.
    pub duplicate: bool,
}

/// An event that the log did not take. It may have been stored all the same when the answer got lost: publish the very
/// same event again, never a new one in its place.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the log is full ({reason}): {MAKE_ROOM}; or give the NATS server more room")]
    Full { reason: String },
    #[error("the log did not acknowledge the event within {} s: {reason}", within.as_secs())]
    Unreachable { reason: String, within: Duration },
    #[error(
        "the event has {bytes} bytes, and no more than {limit_bytes} can travel: neither in a message nor beside it"
    )]
    TooLarge { bytes: usize, limit_bytes: usize },
    #[error("an event attribute cannot travel as a NATS header")]
    Header,
    #[error("the log refused the event: {reason}")]
    Refused { reason: String },
}

impl Wire {
    /// Publishes an event and waits until the stream has stored it. Tries again under the same `Nats-Msg-Id`, so that
    /// an acknowledgement lost on the way does not make two events of one.
    pub async fn publish(&self, subject: &str, attributes: &Event, payload: Bytes) -> Result<Published, PublishError> {
        let pairs = events::headers::to_pairs(attributes);
        let span = tracing::info_span!(
            "publish",
            otel.kind = "producer",
            otel.status_code = tracing::field::Empty,
            subject,
            event_id = attributes.id(),
            bytes = payload.len(),
            sequence = tracing::field::Empty,
        );
        let publishing = self.publish_pairs(subject, attributes.id(), &pairs, payload, PUBLISH_WITHIN);
        let published = publishing.instrument(span.clone()).await;
        match &published {
            Ok(published) => span.record("sequence", published.sequence),
            Err(_) => span.record("otel.status_code", "ERROR"),
        };
        published
    }

    /// Like [`Wire::publish`], for an event whose headers were written down, and with a time of its own.
    pub async fn publish_pairs(
        &self,
        subject: &str,
        message_id: &str,
        pairs: &[(String, String)],
        payload: Bytes,
        within: Duration,
    ) -> Result<Published, PublishError> {
        let pairs = pairs.iter().filter(|(name, value)| Claim::in_header(name, value).is_none());
        let headers = header_map(pairs).ok_or(PublishError::Header)?;
        self.publish_headers(subject, message_id, headers, payload, within).await
    }

    /// Like [`Wire::publish_pairs`], for headers that came over the wire. A payload that does not fit into the message
    /// is put beside it first, and the message carries the claim.
    pub(crate) async fn publish_headers(
        &self,
        subject: &str,
        message_id: &str,
        headers: HeaderMap,
        payload: Bytes,
        within: Duration,
    ) -> Result<Published, PublishError> {
        if size(&headers, &payload) <= self.max_payload_bytes() {
            return self.publish_message(subject, message_id, headers, payload, within).await;
        }
        if payload.len() as u64 > MOST_OBJECT_BYTES {
            let limit_bytes = usize::try_from(MOST_OBJECT_BYTES).unwrap_or(usize::MAX);
            return Err(PublishError::TooLarge { bytes: payload.len(), limit_bytes });
        }
        let claim = Claim::of(&payload);
        let headers = with_claim(headers, &claim);
        // Headers that fit into no message are refused before anything is stored for them.
        self.check_fits(&headers, &Bytes::new())?;
        again_until(subject, within, || self.put(&claim, &payload)).await?;
        self.publish_message(subject, message_id, headers, Bytes::new(), within).await
    }

    /// Publishes a message as it is.
    pub(crate) async fn publish_message(
        &self,
        subject: &str,
        message_id: &str,
        mut headers: HeaderMap,
        payload: Bytes,
        within: Duration,
    ) -> Result<Published, PublishError> {
        self.check_fits(&headers, &payload)?;
        headers.insert(async_nats::header::NATS_MESSAGE_ID, message_id);
        again_until(subject, within, || self.publish_once(subject, headers.clone(), payload.clone())).await
    }

    fn check_fits(&self, headers: &HeaderMap, payload: &Bytes) -> Result<(), PublishError> {
        let (bytes, limit_bytes) = (size(headers, payload), self.max_payload_bytes());
        if bytes > limit_bytes { Err(PublishError::TooLarge { bytes, limit_bytes }) } else { Ok(()) }
    }

    async fn publish_once(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Published, Attempt> {
        let publishing = self.context.publish_with_headers(subject.to_owned(), headers, payload).await;
        acknowledged(publishing.map_err(|error| Attempt::Again(error.to_string()))?).await
    }
}

/// Tries as often as there is time for.
async fn again_until<T, F>(subject: &str, within: Duration, mut once: impl FnMut() -> F) -> Result<T, PublishError>
where
    F: Future<Output = Result<T, Attempt>>,
{
    let mut delays = delays();
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let reason = match tokio::time::timeout_at(deadline, once()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Attempt::Final(error))) => return Err(error),
            Ok(Err(Attempt::Refused(error))) => return Err(PublishError::Refused { reason: error.to_string() }),
            Ok(Err(Attempt::Again(reason))) => reason,
            Err(_) => "no answer".to_owned(),
        };
        let delay = delays.next().unwrap_or(Duration::from_secs(5));
        if tokio::time::Instant::now() + delay >= deadline {
            return Err(PublishError::Unreachable { reason, within });
        }
        tracing::warn!(subject, reason, delay_ms = delay.as_millis(), "the log did not acknowledge; trying again");
        tokio::time::sleep(delay).await;
    }
}

/// What the server says of a message that left.
pub(crate) async fn acknowledged(publishing: PublishAckFuture) -> Result<Published, Attempt> {
    match publishing.await {
        Ok(ack) => Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate }),
        Err(error) => Err(match jetstream_error(&error) {
            Some(refusal) if matches!(error.kind(), PublishErrorKind::Other | PublishErrorKind::WrongLastSequence) => {
                attempt(refusal)
            }
            _ => Attempt::Again(error.to_string()),
        }),
    }
}

/// What a message takes of the server's limit.
fn size(headers: &HeaderMap, payload: &Bytes) -> usize {
    payload.len() + event_header_bytes(headers) + TRANSPORT_HEADERS_BYTES
}

/// The headers with this claim, in place of any other.
fn with_claim(headers: HeaderMap, claim: &Claim) -> HeaderMap {
    let mut with = HeaderMap::new();
    for (name, values) in headers.iter().filter(|(name, _)| !carries(name.as_ref(), DATAREF)) {
        values.iter().for_each(|value| with.append(name.clone(), value.clone()));
    }
    with.insert(format!("ce-{DATAREF}"), claim.to_string());
    with
}

fn event_header_bytes(headers: &HeaderMap) -> usize {
    let of = |name: &str, values: &[async_nats::HeaderValue]| {
        values.iter().map(|value| name.len() + value.as_str().len() + 4).sum::<usize>()
    };
    let events = headers.iter().map(|(name, values)| (AsRef::<str>::as_ref(name), values));
    events.filter(|(name, _)| !is_transport(&name.to_ascii_lowercase())).map(|(name, values)| of(name, values)).sum()
}

/// What an error of the stream's means for the event.
fn attempt(error: &async_nats::jetstream::Error) -> Attempt {
    let reason = error.to_string();
    match error.error_code() {
        // The store failed, for whatever reason; only a stream at its limit says so in words.
        ErrorCode::STREAM_STORE_FAILED if reason.contains("maximum bytes") => {
            Attempt::Final(PublishError::Full { reason })
        }
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Attempt::Final(PublishError::Full { reason }),
        // The server's own trouble passes; what it says about the message stays true.
        _ if error.code() >= 500 => Attempt::Again(reason),
        _ => Attempt::Refused(error.clone()),
    }
}

/// Why something was not stored.
pub(crate) enum Attempt {
    /// The next try may work.
    Again(String),
    /// The server refuses the message.
    Refused(async_nats::jetstream::Error),
    Final(PublishError),
}

/// JetStream's own error inside the client's.
fn jetstream_error(error: &async_nats::jetstream::context::PublishError) -> Option<&async_nats::jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref()
}
