//! The way to and from JetStream, and the only crate that names its client.
//!
//! Here live: connecting ([`Wire`]), publishing an event once ([`Wire::publish`]), pulling batches of a durable
//! consumer and what becomes of each message ([`Puller`], [`Disposition`]), reading the log by subject ([`Log`]),
//! parked messages ([`DeadLetters`]), payloads that fit into no message ([`Objects`]), the trace that an event belongs
//! to ([`traceparent`], [`spans`]), and the topology (streams and consumers as data). What must not live here: SQL,
//! what an event means, or a decision about one. Nothing here creates or changes a stream but [`topology::apply`].

mod consume;
mod dead_letters;
mod lag;
mod log;
mod log_room;
mod message;
mod objects;
mod permissions;
mod publish;
mod pull;
pub mod topology;
mod trace;

use std::time::Duration;

use async_nats::jetstream;

use self::objects::Budget;

pub use consume::BatchLimits;
pub use dead_letters::{DeadLetters, Letter, LetterError, Origin, Original, Reading, Which};
pub use lag::Lag;
pub use log::{Level, Log};
pub use log_room::{LogRoom, Verdict};
pub use message::Message;
pub use objects::{ClaimError, Objects, Orphans, Room};
pub use publish::{PUBLISH_WITHIN, PublishError, Published};
pub use pull::{BATCH_BYTES, Delivery, Disposition, Puller};
pub use trace::{spans, traceparent};

/// The stream that holds every insights event.
pub const META_INSIGHTS: &str = "META_INSIGHTS";
/// The stream behind the bucket of payloads that fit into no message.
pub const OBJ_META_PAYLOADS: &str = "OBJ_META_PAYLOADS";
/// The stream of what happens to connections.
pub const META_CONNECT: &str = "META_CONNECT";
/// The fetchers' doorbell.
pub const META_SYNC: &str = "META_SYNC";
/// The stream of what changed in the tables.
pub const WAREHOUSE: &str = "WAREHOUSE";
/// The stream of parked messages.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";

/// How often an idle connection is asked whether it still stands; after two silences it is made anew.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How many bytes of large payloads a process works on at once: one that comes near the largest there are, or some
/// smaller ones.
const LOADED_BYTES: u64 = 16 << 20;
/// How long one request to the server may take; a stream of many subjects is slow to describe.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Something asked of JetStream did not work out. The next try may.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("cannot connect to NATS at {url}: {reason}")]
    Connect { url: String, reason: String },
    #[error("{operation} failed: {reason}")]
    Request { operation: &'static str, reason: String },
    #[error("stream {stream} does not exist: run `adledger streams apply`")]
    NoStream { stream: String },
    #[error("consumer {durable} of stream {stream} does not exist: run `adledger streams apply`")]
    NoConsumer { stream: String, durable: String },
}

impl WireError {
    /// The client's errors print their source and return it too: their text is taken once, here.
    fn request(operation: &'static str, reason: impl ToString) -> Self {
        WireError::Request { operation, reason: reason.to_string() }
    }
}

/// A connection to NATS, with JetStream on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wire {
    client: async_nats::Client,
    context: jetstream::Context,
    budget: Budget,
}

impl Wire {
    /// Connects, and goes on connecting when the connection is lost later.
    ///
    /// `credentials` is the text of a `.creds` file. The URL may hold a user and password, percent-encoded where it has
    /// to be; errors show it without them. `role` is who speaks: answers come to an inbox of its own
    /// (`_INBOX_<role>.…`), so that the permissions of one role let it hear no other's.
    pub async fn connect(url: &str, credentials: Option<&str>, role: &str) -> Result<Wire, WireError> {
        let failed = |reason: String| WireError::Connect { url: without_userinfo(url), reason };
        let mut options = async_nats::ConnectOptions::new()
            .name(format!("adledger-{role}"))
            .custom_inbox_prefix(format!("_INBOX_{role}"))
            .event_callback(permissions::warn_of(role))
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(PING_EVERY);
        if let Some(text) = credentials {
            options = options.credentials(text).map_err(|e| failed(format!("NATS_CREDS cannot be used: {e}")))?;
        }
        // The client takes credentials from its options only, and writes the address into its log: it gets one without.
        let address: async_nats::ServerAddr = url.parse().map_err(|e: std::io::Error| failed(e.to_string()))?;
        if let (Some(user), Some(password)) = (address.username(), address.password()) {
            let decoded = |text: &str| {
                let text = percent_encoding::percent_decode_str(text).decode_utf8();
                text.map(String::from)
                    .map_err(|_| failed("its user or password is not UTF-8: write it anew".to_owned()))
            };
            options = options.user_and_password(decoded(user)?, decoded(password)?);
        }
        let bare: async_nats::ServerAddr =
            without_userinfo(url).parse().map_err(|e: std::io::Error| failed(e.to_string()))?;
        let client = options.connect(bare).await.map_err(|e| failed(e.to_string()))?;
        let context = jetstream::ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
        Ok(Wire { client, context, budget: Budget::of(LOADED_BYTES) })
    }

    /// The server's version, as it introduced itself.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Whether the server keeps streams at all.
    pub(crate) fn has_jetstream(&self) -> bool {
        self.client.server_info().jetstream
    }

    /// The largest message the server takes, headers included.
    pub fn max_payload_bytes(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Waits until everything handed to the client has left it.
    pub async fn flush(&self) -> Result<(), WireError> {
        self.client.flush().await.map_err(|e| WireError::request("flushing", e))
    }

    async fn stream(&self, name: &str) -> Result<jetstream::stream::Stream, WireError> {
        self.context.get_stream(name).await.map_err(|e| match e.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(error)
                if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
            {
                WireError::NoStream { stream: name.to_owned() }
            }
            _ => WireError::request("asking for a stream", e),
        })
    }
}

/// The URL without user and password.
fn without_userinfo(url: &str) -> String {
    let (scheme, rest) = url.find("://").map_or(("", url), |at| url.split_at(at + 3));
    format!("{scheme}{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
}
