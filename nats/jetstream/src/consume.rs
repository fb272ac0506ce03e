use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::pull::BATCH_BYTES;
use crate::{ClaimError, Delivery, Disposition, Message, Puller, Wire, WireError};

/// How much one batch may hold, and how long it may take. `max_bytes` must be above the server's `max_payload`. A
/// payload that travels beside its event is loaded when its turn comes, and its message handled alone.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    pub max_messages: usize,
    pub max_bytes: usize,
    /// After this a handler is taken for hung, and its messages are delivered again.
    pub handle_within: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { max_messages: 32, max_bytes: BATCH_BYTES, handle_within: Duration::from_secs(120) }
    }
}

/// What a batch is to hold, if its messages are as large as those before: each batch is in memory several times over
/// while it is handled. Many small messages a transaction are worth having; of large ones, a few are as good.
const USUAL_BATCH_BYTES: usize = 256 << 10;
/// Messages of the first batch, before anything is known of them.
const FIRST_BATCH: usize = 4;
/// How long an idle pull waits for the first message. Whoever is asked to end waits it out, so it is short.
const PATIENCE: Duration = Duration::from_millis(500);
/// A message that was handed out so often without a result may be what its handlers died of: it is handled by itself,
/// so that it takes nothing along.
const SUSPECT_AFTER: u64 = 3;
/// And after so many it is parked. Far above the other, because whoever handled it may have been killed for other
/// reasons.
const HOPELESS_AFTER: u64 = 20;
/// How long a batch in hand may take to be finished once the process is asked to end; then it is given back.
const FINISH_WITHIN: Duration = Duration::from_secs(4);
/// How long the last acknowledgements may take to leave.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// Well below the consumers' ack_wait.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(6);

impl Wire {
    /// Pulls batches of a durable consumer and hands them to `handle` until cancelled.
    ///
    /// `handle` answers a disposition for each message, in order, once its effect is committed; or an error, which says
    /// that the world is not ready: then the messages are kept alive and the same batch is tried again, as often as it
    /// takes, and none of it counts against a message. A handler that dies or hangs leaves its messages to be delivered
    /// again; one that this happens to again and again is handled alone, and parked in the end. When cancelled, the
    /// batch in hand is finished, or given back for somebody else to take at once.
    pub async fn consume<H, F, E>(
        &self,
        stream: &str,
        durable: &str,
        limits: BatchLimits,
        cancel: &CancellationToken,
        handle: H,
    ) where
        H: Fn(Vec<Message>) -> F,
        F: Future<Output = Result<Vec<Disposition>, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let handling = Handling { limits, cancel, handle };
        let mut delays = delays();
        while let Some(puller) = cancel.run_until_cancelled(self.puller(stream, durable)).await {
            let ended = match puller {
                Ok(puller) => handling.pull_from(&puller).await,
                Err(error) => Err(error),
            };
            let Err(error) = ended else { break };
            let delay = delays.next().unwrap_or(KEEP_ALIVE_EVERY);
            tracing::warn!(stream, durable, %error, delay_ms = delay.as_millis(), "cannot pull now");
            if cancel.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                break;
            }
        }
        // The process may end now, and what was settled last not have left it. Where the server is away, it comes again.
        if !matches!(tokio::time::timeout(FLUSH_WITHIN, self.flush()).await, Ok(Ok(()))) {
            tracing::debug!(stream, durable, "the last acknowledgements may not have left; their messages come again");
        }
    }
}

/// What is done with the batches that are pulled.
struct Handling<'a, H> {
    limits: BatchLimits,
    cancel: &'a CancellationToken,
    handle: H,
}

impl<H, F, E> Handling<'_, H>
where
    H: Fn(Vec<Message>) -> F,
    F: Future<Output = Result<Vec<Disposition>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Handles batch after batch until pulling fails, or until cancelled.
    async fn pull_from(&self, puller: &Puller) -> Result<(), WireError> {
        let (limits, cancel) = (self.limits, self.cancel);
        let mut messages = FIRST_BATCH.min(limits.max_messages);
        while !cancel.is_cancelled() {
            // The server may be handing out a message at any moment of a pull. Dropped, it would reach nobody, and be
            // delivered again only when its time is over; so the pull is waited out, and what came of it handled. Not
            // for long: the server may be away.
            let stopped = async {
                cancel.cancelled().await;
                tokio::time::sleep(2 * PATIENCE).await;
            };
            let mut batch = tokio::select! {
                batch = puller.next_batch(messages, limits.max_bytes, PATIENCE) => batch?,
                () = stopped => return Ok(()),
            };
            let bytes = batch.iter().map(|delivery| delivery.message.payload.len()).sum();
            messages = messages_like(batch.len(), bytes).unwrap_or(messages).min(limits.max_messages);
            batch.sort_by_key(|delivery| delivery.deliveries > SUSPECT_AFTER);
            let grace = async {
                cancel.cancelled().await;
                tokio::time::sleep(FINISH_WITHIN).await;
            };
            // Dropped in between, what is unsettled is delivered again when its time is over; here it is given back at
            // once.
            let settled = AtomicUsize::new(0);
            tokio::select! {
                () = self.handle_all(puller, &batch, &settled) => {}
                () = grace => give_back(puller, &batch[settled.load(Ordering::Relaxed)..]).await,
            }
        }
        Ok(())
    }

    /// Handles what was pulled: first together what nothing speaks against, then each suspect by itself. `settled`
    /// counts what is done with.
    async fn handle_all(&self, puller: &Puller, batch: &[Delivery], settled: &AtomicUsize) {
        let mut from = 0;
        while from < batch.len() {
            let alike =
                |delivery: &&Delivery| delivery.deliveries <= SUSPECT_AFTER && delivery.message.claim().is_none();
            let alike = batch[from..].iter().take_while(alike).count();
            let until = from + alike.max(1);
            self.handle_batch(puller, &batch[from..until], &batch[from..]).await;
            from = until;
            settled.store(from, Ordering::Relaxed);
        }
    }

    /// Handles a part of what is held for as long as it takes, then settles each of its messages.
    async fn handle_batch(&self, puller: &Puller, batch: &[Delivery], held: &[Delivery]) {
        if let [delivery] = batch
            && delivery.deliveries > HOPELESS_AFTER
        {
            let times = delivery.deliveries - 1;
            let reason =
                format!("it was delivered {times} times without a result: whoever handled it, alone too, died or hung");
            return puller.settle(delivery, Disposition::Park { reason }).await;
        }
        let within = self.limits.handle_within;
        let mut delays = delays();
        let dispositions = loop {
            let opened = kept_alive(puller, held, opened(puller, batch)).await;
            let handling = async {
                match opened {
                    Ok(messages) => (self.handle)(messages).await.map_err(Into::into),
                    Err(ClaimError::Lost { claim, what }) => {
                        Ok(vec![lost(&batch[0], ClaimError::Lost { claim, what })])
                    }
                    Err(ClaimError::Wire(error)) => Err(error.into()),
                }
            };
            let handled = tokio::time::timeout(within, kept_alive(puller, held, handling));
            let error: Box<dyn std::error::Error + Send + Sync> = match handled.await {
                Ok(Ok(dispositions)) => break dispositions,
                Ok(Err(error)) => error,
                Err(_) => {
                    tracing::warn!(
                        durable = puller.durable(),
                        messages = batch.len(),
                        within_ms = within.as_millis(),
                        "a batch hangs; it is delivered again"
                    );
                    return give_back(puller, batch).await;
                }
            };
            let delay = delays.next().unwrap_or(KEEP_ALIVE_EVERY);
            tracing::warn!(
                durable = puller.durable(),
                error = &*error as &(dyn std::error::Error + 'static),
                delay_ms = delay.as_millis(),
                "cannot handle a batch now"
            );
            puller.keep_alive(held).await;
            if self.cancel.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                return give_back(puller, batch).await;
            }
        };
        for (delivery, disposition) in batch.iter().zip(dispositions) {
            puller.settle(delivery, disposition).await;
        }
    }
}

/// The messages with their payloads. That room for a payload has to be waited for is nobody's fault, so it takes its
/// time.
async fn opened(puller: &Puller, batch: &[Delivery]) -> Result<Vec<Message>, ClaimError> {
    let mut messages = Vec::with_capacity(batch.len());
    for delivery in batch {
        messages.push(puller.wire().whole(delivery.message.clone()).await?);
    }
    Ok(messages)
}

/// What becomes of a message whose payload is not to be had. The first times it comes again: a replica of the object
/// store can be behind.
fn lost(delivery: &Delivery, error: ClaimError) -> Disposition {
    if delivery.deliveries > SUSPECT_AFTER {
        return Disposition::Park { reason: error.to_string() };
    }
    tracing::warn!(sequence = delivery.message.sequence, %error, "a payload cannot be loaded yet");
    Disposition::Retry { after: Duration::from_secs(delivery.deliveries) }
}

/// How many messages of the size of these make a usual batch; `None` where there are none to go by.
fn messages_like(messages: usize, bytes: usize) -> Option<usize> {
    let average = bytes.checked_div(messages)?;
    Some((USUAL_BATCH_BYTES / average.max(1)).max(1))
}

async fn give_back(puller: &Puller, batch: &[Delivery]) {
    for delivery in batch {
        puller.settle(delivery, Disposition::Retry { after: Duration::ZERO }).await;
    }
}

async fn kept_alive<T>(puller: &Puller, batch: &[Delivery], handling: impl Future<Output = T>) -> T {
    let mut handling = std::pin::pin!(handling);
    loop {
        match tokio::time::timeout(KEEP_ALIVE_EVERY, &mut handling).await {
            Ok(done) => return done,
            Err(_) => puller.keep_alive(batch).await,
        }
    }
}

/// From 100 ms to 5 s, without an end: whoever tries again decides how often.
pub(crate) fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_as_many_messages_as_fit_by_the_size_of_those_before() {
        for (messages, bytes, next) in [
            (0, 0, None),
            (4, 4 * 64 * 1024, Some(4)),
            (1, 1024, Some(256)),
            (1, 6 << 20, Some(1)),
            // Payloads that travel beside their events.
            (3, 0, Some(USUAL_BATCH_BYTES)),
        ] {
            assert_eq!(messages_like(messages, bytes), next, "{messages} messages of {bytes} bytes");
        }
    }
}
