//! Listens to `adledger.warehouse.daily_summary.changed.v1` and prints each tenant's day as it changes.
//!
//! It is written as a program outside of adledger would be: nothing of adledger's is linked in, and the event is what
//! `docs/EVENTS.md` says.

mod days;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{ConnectOptions, ServerAddr};
use clap::Parser;
use days::{Change, Days};
use futures_util::StreamExt;

const STREAM: &str = "WAREHOUSE";
const SUBJECTS: &str = "warehouse.daily_summary.*.*";
const TYPE: &str = "adledger.warehouse.daily_summary.changed.v1";

/// Prints each tenant's day as it changes.
#[derive(Parser)]
struct Arguments {
    /// Where the nats-server is.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats: String,
    /// A .creds file.
    #[arg(long, env = "NATS_CREDS")]
    creds: Option<PathBuf>,
    /// Where answers are heard, if the user may not hear all.
    #[arg(long, default_value = "_INBOX")]
    inbox_prefix: String,
    /// The name under which the server keeps our place.
    #[arg(long, default_value = "example-rust")]
    durable: String,
    /// Where the newest version of each day is kept.
    #[arg(long, default_value = "days.json")]
    store: PathBuf,
    /// End after this many messages; without it, never.
    #[arg(long)]
    count: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut options = ConnectOptions::new().custom_inbox_prefix(&arguments.inbox_prefix);
    let server: ServerAddr = arguments.nats.parse().context("reading --nats")?;
    if let (Some(user), Some(password)) = (server.username(), server.password()) {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    if let Some(file) = &arguments.creds {
        options = options.credentials_file(file).await?;
    }
    let client = options.connect(server).await.context("connecting to NATS")?;
    let stream = jetstream::new(client).get_stream_no_info(STREAM).await?;
    // The durable consumer keeps our place. A message that is not acknowledged within 30 s comes again.
    let config = pull::Config {
        durable_name: Some(arguments.durable.clone()),
        filter_subject: SUBJECTS.to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        deliver_policy: DeliverPolicy::All,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = stream.create_consumer(config).await.context("making the consumer")?;

    let mut days = Days::open(&arguments.store)?;
    let mut left = arguments.count;
    while left != Some(0) {
        let most = left.unwrap_or(100).min(100);
        let mut batch = consumer.batch().max_messages(most).expires(Duration::from_secs(5)).messages().await?;
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            messages.push(message.map_err(anyhow::Error::from_boxed)?);
        }
        let mut taken = Vec::new();
        for message in &messages {
            match read(message) {
                Ok(change) => {
                    if let Some(change) = change.filter(|change| days.apply(change)) {
                        println!("{change}");
                    }
                    taken.push(message);
                }
                Err(error) => {
                    // No event, or not one that this program can read: it never will be.
                    eprintln!("{} cannot be read: {error:#}", message.subject);
                    message.ack_with(AckKind::Term).await.map_err(anyhow::Error::from_boxed)?;
                }
            }
        }
        // What was taken over is on the disk before it is acknowledged. Who dies in between is given it again, and knows
        // it by its version.
        if !taken.is_empty() {
            days.save()?;
        }
        for message in taken {
            message.double_ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        left = left.map(|left| left.saturating_sub(messages.len()));
    }
    Ok(())
}

/// The change that a message carries; `None` where it is an event of another type, which is not for us.
fn read(message: &Message) -> Result<Option<Change>> {
    // Attributes are headers `ce-…`, percent-encoded; a type has nothing in it that would be.
    let headers = message.headers.as_ref().context("it has no headers")?;
    let of_type = headers.get("ce-type").context("it has no header ce-type")?;
    if of_type.as_str() != TYPE {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&message.payload)?))
}
