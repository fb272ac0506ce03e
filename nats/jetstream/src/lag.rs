use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessageErrorKind;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{Wire, WireError};

/// How far a durable consumer is behind its stream, by the server's account and clock.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    /// Messages not yet delivered to anybody.
    pub gap: u64,
    /// Messages delivered and not yet settled.
    pub in_flight: u64,
    /// How long the oldest message that is not settled has been in the stream; zero when all are settled. `None` where
    /// that message could not be read: the counts are good all the same.
    pub oldest_age: Option<Duration>,
}

/// What the server says of a consumer. The client's own type leaves the server's clock out.
#[derive(Deserialize)]
pub(crate) struct Info {
    num_pending: u64,
    num_ack_pending: u64,
    ack_floor: Floor,
    ts: DateTime<Utc>,
    config: Filter,
}

#[derive(Deserialize)]
struct Floor {
    stream_seq: u64,
}

#[derive(Deserialize)]
struct Filter {
    filter_subject: Option<String>,
}

impl Wire {
    /// How far this durable consumer is behind. Both ends of the age are told by the server, so that no other clock can
    /// make it wrong.
    pub async fn lag(&self, stream: &str, durable: &str) -> Result<Lag, WireError> {
        let info = self.consumer_info(stream, durable).await?;
        let (gap, in_flight) = (info.num_pending, info.num_ack_pending);
        let oldest_age = match self.oldest_age(stream, &info).await {
            Ok(age) => Some(age),
            Err(error) => {
                tracing::debug!(stream, durable, %error, "the age of the oldest message is not known");
                None
            }
        };
        Ok(Lag { gap, in_flight, oldest_age })
    }

    async fn oldest_age(&self, stream: &str, info: &Info) -> Result<Duration, WireError> {
        if info.num_pending + info.num_ack_pending == 0 {
            return Ok(Duration::ZERO);
        }
        // What is above the floor and settled already was settled out of order; the first one above is not.
        let filter = info.config.filter_subject.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(">");
        let failed = |e: &dyn ToString| WireError::request("reading the oldest message", e.to_string());
        let stream = self.context.get_stream_no_info(stream).await.map_err(|e| failed(&e))?;
        match stream.get_first_raw_message_by_subject(filter, info.ack_floor.stream_seq + 1).await {
            Ok(oldest) => Ok((info.ts - oldest.time).to_std().unwrap_or_default()),
            // It was settled meanwhile, and its stream keeps no settled ones.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(Duration::ZERO),
            Err(error) => Err(failed(&error)),
        }
    }

    /// The sequence up to which this durable consumer has settled every message. It lags behind what was settled out of
    /// order.
    pub async fn ack_floor(&self, stream: &str, durable: &str) -> Result<u64, WireError> {
        Ok(self.consumer_info(stream, durable).await?.ack_floor.stream_seq)
    }

    pub(crate) async fn consumer_info(&self, stream: &str, durable: &str) -> Result<Info, WireError> {
        let subject = format!("CONSUMER.INFO.{stream}.{durable}");
        let answer = self.context.request(subject, &serde_json::json!({})).await;
        match answer.map_err(|e| WireError::request("asking for a consumer", e))? {
            Response::Ok(info) => Ok(info),
            Response::Err { error } => Err(match error.error_code() {
                ErrorCode::STREAM_NOT_FOUND => WireError::NoStream { stream: stream.to_owned() },
                ErrorCode::CONSUMER_NOT_FOUND => {
                    WireError::NoConsumer { stream: stream.to_owned(), durable: durable.to_owned() }
                }
                _ => WireError::request("asking for a consumer", error),
            }),
        }
    }
}
