use std::time::Duration;

use async_nats::StatusCode;
use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{self, AckKind};
use futures_util::{StreamExt, future};

use crate::{Message, REQUEST_TIMEOUT, Wire, WireError};

/// What a batch may hold: above the largest `max_payload` that a server of ours is advised to have.
pub const BATCH_BYTES: usize = 9 << 20;

/// What becomes of a message: the one value a handler returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It is handled, durably.
    Ack,
    /// The world was not ready (never the message's fault); deliver it again later.
    Retry { after: Duration },
    /// It can never be handled; keep it aside with this reason, and go on.
    Park { reason: String },
}

/// A message on loan: until it is settled, the server will deliver it again.
pub struct Delivery {
    pub message: Message,
    /// How often the server has handed it out, this time included.
    pub deliveries: u64,
    acker: async_nats::jetstream::message::Acker,
}

/// Pulls a durable consumer's messages in batches. Nothing is fetched before it is asked for, so that memory is bounded
/// by the batch and a waiting message is never charged for a slow one before it.
#[derive(Debug, Clone)]
pub struct Puller {
    wire: Wire,
    stream: String,
    durable: String,
    consumer: Consumer<pull::Config>,
}

impl Wire {
    /// The durable consumer of that name, which `streams apply` has made.
    pub async fn puller(&self, stream: &str, durable: &str) -> Result<Puller, WireError> {
        let handle = self.stream(stream).await?;
        // Asked first, because its error can be told apart and that of the client's own call is a boxed one.
        self.consumer_info(stream, durable).await?;
        let consumer =
            handle.get_consumer::<Config>(durable).await.map_err(|e| WireError::request("asking for a consumer", e))?;
        Ok(Puller { wire: self.clone(), stream: stream.to_owned(), durable: durable.to_owned(), consumer })
    }
}

impl Puller {
    pub fn durable(&self) -> &str {
        &self.durable
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The next messages: those that wait, up to the limits; or, when none does, the first that comes within
    /// `patience`. Empty when none came. `max_bytes` must be above the server's largest message.
    pub async fn next_batch(
        &self,
        max_messages: usize,
        max_bytes: usize,
        patience: Duration,
    ) -> Result<Vec<Delivery>, WireError> {
        let waiting = BatchConfig { batch: max_messages, max_bytes, no_wait: true, ..BatchConfig::default() };
        let batch = self.pull(waiting, Duration::ZERO).await?;
        if !batch.is_empty() {
            return Ok(batch);
        }
        let first = BatchConfig { batch: 1, expires: Some(patience), ..BatchConfig::default() };
        self.pull(first, patience).await
    }

    /// One request, and what the server answers to it.
    ///
    /// The client's own batches end at the first status. A cluster hands a message out when a majority has written that
    /// down, and sends the status that ends the batch ahead of the messages in it: they would be dropped here, and
    /// delivered again and again. The status says how many there are, so that they can be waited for.
    async fn pull(&self, request: BatchConfig, patience: Duration) -> Result<Vec<Delivery>, WireError> {
        let failed = |reason: &dyn ToString| WireError::request("pulling messages", reason.to_string());
        let asked = request.batch;
        let inbox = self.wire.client.new_inbox();
        let mut answers = self.wire.client.subscribe(inbox.clone()).await.map_err(|e| failed(&e))?;
        self.consumer.request_batch(request, inbox.into()).await.map_err(|e| failed(&e))?;
        let mut batch = Vec::new();
        let mut coming = asked;
        // The client waits without an end where a reply was lost together with the connection that it was to come on.
        let mut limit = patience + REQUEST_TIMEOUT;
        while batch.len() < coming {
            let answer = match tokio::time::timeout(limit, answers.next()).await {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(_) if batch.is_empty() => return Err(failed(&"no answer in time")),
                Err(_) => break,
            };
            match answer.status {
                None | Some(StatusCode::OK) => {
                    let context = self.wire.context.clone();
                    batch.push(delivery(jetstream::Message { message: answer, context })?);
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                // It is over: because the batch is full, or because its time is. What was sent of it may still be on
                // its way.
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND | StatusCode::REQUEST_TERMINATED)
                    if not_sent(&answer).is_some() =>
                {
                    coming = asked.saturating_sub(not_sent(&answer).unwrap_or_default());
                    limit = REQUEST_TIMEOUT;
                }
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => break,
                // What came before is good; the next pull meets the trouble again if it lasts.
                Some(_) if !batch.is_empty() => break,
                Some(status) => {
                    let said = answer.description.as_deref().unwrap_or("without a word");
                    return Err(failed(&format!("{status}: {said}")));
                }
            }
        }
        Ok(batch)
    }

    /// Turns a disposition into the server's verbs. Only call it once the effect is committed.
    ///
    /// A lost acknowledgement is no error: the message comes again, and every handler is idempotent.
    pub async fn settle(&self, delivery: &Delivery, disposition: Disposition) {
        let verb = match disposition {
            Disposition::Ack => AckKind::Ack,
            Disposition::Retry { after } => AckKind::Nak(Some(after)),
            Disposition::Park { reason } => {
                match self.wire.park(&self.stream, &self.durable, &delivery.message, &reason).await {
                    Ok(()) => AckKind::Ack,
                    Err(error) => {
                        tracing::warn!(%error, reason, "cannot park a message now");
                        AckKind::Nak(Some(Duration::from_secs(5)))
                    }
                }
            }
        };
        if let Err(error) = delivery.acker.ack_with(verb).await {
            tracing::debug!(%error, "an acknowledgement did not leave; the message comes again");
        }
    }

    /// Tells the server that these are still being worked on.
    pub(crate) async fn keep_alive(&self, deliveries: &[Delivery]) {
        future::join_all(deliveries.iter().map(|delivery| delivery.acker.ack_with(AckKind::Progress))).await;
    }

    /// The configuration the server echoed.
    pub(crate) fn config(&self) -> pull::Config {
        use async_nats::jetstream::consumer::FromConsumer;
        // Only a push consumer's configuration fails to convert, and this one was asked for as a pull consumer.
        pull::Config::try_from_consumer_config(self.consumer.cached_info().config.clone()).unwrap_or_default()
    }
}

/// How many messages of a request the server says it has not sent; `None` where it says nothing of it.
fn not_sent(status: &async_nats::Message) -> Option<usize> {
    status.headers.as_ref()?.get("Nats-Pending-Messages")?.as_str().parse().ok()
}

fn delivery(message: async_nats::jetstream::Message) -> Result<Delivery, WireError> {
    let (sequence, stored_at, deliveries) = {
        let info = message.info().map_err(|e| WireError::request("reading a message's place", e))?;
        (info.stream_sequence, info.published, u64::try_from(info.delivered).unwrap_or(1))
    };
    let (message, acker) = message.split();
    let headers = message.headers.unwrap_or_default();
    let message = Message::new(message.subject.to_string(), sequence, stored_at, message.payload, headers);
    Ok(Delivery { message, deliveries, acker })
}
