//! Streams and consumers as data files, made by one command and compared with what the server really has.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde::Deserialize;
use serde_json::Value;

use crate::{Wire, WireError};

/// The part of the server's configuration that every nats-server of adledger shares.
pub const SERVER_CONF: &str = include_str!("../../topology/server.conf");
const STREAMS: &str = include_str!("../../topology/streams.toml");
const CONSUMERS: &str = include_str!("../../topology/consumers.toml");
/// Older servers drop options in silence (2.9) or lose streams on a plain kill (2.10).
const OLDEST_SERVER: (u64, u64) = (2, 12);

/// What the settings decide about the streams. What is `None` stays as a stream has it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the insights log; -1 is as much as the server gives.
    pub log_max_bytes: Option<i64>,
    /// Copies of each stream.
    pub replicas: Option<usize>,
    /// How long WAREHOUSE keeps what changed in the tables; zero is for ever.
    pub warehouse_max_age: Option<Duration>,
}

/// How long that is where nobody decided.
const WAREHOUSE_MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

impl Limits {
    /// What nobody decided is as a new stream has it. For whoever asks for the streams as they should be; a process
    /// that only starts without a setting has decided nothing.
    pub fn or_default(self) -> Limits {
        Limits {
            log_max_bytes: self.log_max_bytes.or(Some(-1)),
            replicas: self.replicas.or(Some(1)),
            warehouse_max_age: self.warehouse_max_age.or(Some(WAREHOUSE_MAX_AGE)),
        }
    }
}

/// A durable consumer and the stream it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    pub stream: String,
    pub name: String,
}

/// One difference between what was asked and what the server says it has.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    pub object: String,
    pub field: String,
    pub wanted: String,
    pub found: String,
}

impl Difference {
    const EXISTENCE: &str = "existence";

    /// The object is not there at all.
    pub fn is_missing(&self) -> bool {
        self.field == Self::EXISTENCE
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error(
        "nats-server {found} is too old: adledger needs 2.12 or newer, because older ones drop stream options without saying so"
    )]
    OldServer { found: String },
    #[error(
        "the nats-server at NATS_URL keeps no streams: start it with a `jetstream` block, and `sync_interval: always` in it"
    )]
    NoJetStream,
    #[error("topology file {file} is not valid: {reason}")]
    File { file: &'static str, reason: String },
    #[error("{object} could not be made: {reason}")]
    Make { object: String, reason: String },
    #[error(transparent)]
    Wire(#[from] WireError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Streams {
    stream: Vec<StreamFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamFile {
    name: String,
    subjects: Vec<String>,
    retention: RetentionPolicy,
    discard: DiscardPolicy,
    bounded_by_settings: bool,
    #[serde(default)]
    aged_by_settings: bool,
    max_messages_per_subject: Option<i64>,
    duplicate_window_seconds: u64,
    allow_direct: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consumers {
    consumer: Vec<ConsumerFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumerFile {
    stream: String,
    durable: String,
    ack_wait_seconds: u64,
    max_ack_pending: i64,
}

fn stream_files() -> Result<Vec<StreamFile>, TopologyError> {
    let file: Streams =
        toml::from_str(STREAMS).map_err(|e| TopologyError::File { file: "streams.toml", reason: e.to_string() })?;
    Ok(file.stream)
}

impl StreamFile {
    /// What the stream is to be, given what it is; `None` when it is to be made.
    fn wanted(self, limits: &Limits, found: Option<&Config>) -> Config {
        let max_bytes = if self.bounded_by_settings {
            limits.log_max_bytes.or(found.map(|found| found.max_bytes)).unwrap_or(-1)
        } else {
            -1
        };
        let max_age = if self.aged_by_settings {
            limits.warehouse_max_age.or(found.map(|found| found.max_age)).unwrap_or(WAREHOUSE_MAX_AGE)
        } else {
            Duration::ZERO
        };
        Config {
            name: self.name,
            subjects: self.subjects,
            retention: self.retention,
            discard: self.discard,
            storage: StorageType::File,
            max_bytes,
            max_age,
            max_messages: -1,
            max_messages_per_subject: self.max_messages_per_subject.unwrap_or(-1),
            max_consumers: -1,
            max_message_size: -1,
            num_replicas: limits.replicas.or(found.map(|found| found.num_replicas)).unwrap_or(1),
            duplicate_window: Duration::from_secs(self.duplicate_window_seconds),
            allow_direct: self.allow_direct,
            ..Config::default()
        }
    }
}

/// Every durable consumer there is, in the order of the file: what status, doctor and the metrics look at.
pub fn durables() -> Result<Vec<Durable>, TopologyError> {
    Ok(consumer_files()?.into_iter().map(|c| Durable { stream: c.stream, name: c.durable }).collect())
}

fn consumer_files() -> Result<Vec<ConsumerFile>, TopologyError> {
    let file: Consumers =
        toml::from_str(CONSUMERS).map_err(|e| TopologyError::File { file: "consumers.toml", reason: e.to_string() })?;
    Ok(file.consumer)
}

fn consumers() -> Result<Vec<(String, pull::Config)>, TopologyError> {
    Ok(consumer_files()?
        .into_iter()
        .map(|c| {
            let config = pull::Config {
                durable_name: Some(c.durable.clone()),
                name: Some(c.durable),
                deliver_policy: DeliverPolicy::All,
                ack_policy: AckPolicy::Explicit,
                ack_wait: Duration::from_secs(c.ack_wait_seconds),
                max_deliver: -1,
                max_ack_pending: c.max_ack_pending,
                ..pull::Config::default()
            };
            (c.stream, config)
        })
        .collect())
}

/// Refuses a server that would take the options and drop them, or that has no JetStream.
pub fn check_server(wire: &Wire) -> Result<(), TopologyError> {
    let found = wire.server_version();
    if !new_enough(&found) {
        return Err(TopologyError::OldServer { found });
    }
    if wire.has_jetstream() { Ok(()) } else { Err(TopologyError::NoJetStream) }
}

/// Whether a version as servers write it (`2.12.0`, `2.14.0-RC.1`) is new enough; one that cannot be read is not.
fn new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST_SERVER
}

/// Creates what is missing, updates what differs, deletes nothing; then compares what the server echoes with what was
/// asked. An empty list is agreement.
pub async fn apply(wire: &Wire, limits: &Limits) -> Result<Vec<Difference>, TopologyError> {
    check_server(wire)?;
    for file in stream_files()? {
        let object = format!("stream {}", file.name);
        let made = match wire.stream(&file.name).await {
            Err(WireError::NoStream { .. }) => {
                wire.context.create_stream(file.wanted(limits, None)).await.map(drop).map_err(|e| e.to_string())
            }
            Err(error) => return Err(error.into()),
            Ok(stream) => {
                let found = &stream.cached_info().config;
                let wanted = file.wanted(limits, Some(found));
                if differences(&object, &wanted, found)?.is_empty() {
                    Ok(())
                } else {
                    wire.context.update_stream(&wanted).await.map(drop).map_err(|e| e.to_string())
                }
            }
        };
        made.map_err(|reason| TopologyError::Make { object, reason })?;
    }
    for (stream, wanted) in consumers()? {
        let object = format!("consumer {}", wanted.durable_name.as_deref().unwrap_or_default());
        let handle = wire.stream(&stream).await?;
        handle.create_consumer(wanted).await.map_err(|e| TopologyError::Make { object, reason: e.to_string() })?;
    }
    check(wire, limits).await
}

/// Compares the server's streams and consumers with the files, field by field, and changes nothing.
pub async fn check(wire: &Wire, limits: &Limits) -> Result<Vec<Difference>, TopologyError> {
    check_server(wire)?;
    let missing = |object: String| Difference {
        object,
        field: Difference::EXISTENCE.to_owned(),
        wanted: "exists".to_owned(),
        found: "missing".to_owned(),
    };
    let mut found = Vec::new();
    for file in stream_files()? {
        let object = format!("stream {}", file.name);
        match wire.stream(&file.name).await {
            Ok(stream) => {
                let config = &stream.cached_info().config;
                found.extend(differences(&object, &file.wanted(limits, Some(config)), config)?);
            }
            Err(WireError::NoStream { .. }) => found.push(missing(object)),
            Err(error) => return Err(error.into()),
        }
    }
    for (stream, wanted) in consumers()? {
        let durable = wanted.durable_name.clone().unwrap_or_default();
        let object = format!("consumer {durable}");
        match wire.puller(&stream, &durable).await {
            Ok(puller) => {
                let echoed = puller.config();
                found.extend(differences(&object, &wanted, &echoed)?);
            }
            Err(WireError::NoConsumer { .. } | WireError::NoStream { .. }) => found.push(missing(object)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Fields that the server fills in by itself where none was asked for.
const SERVER_OWNED: [&str; 4] = ["metadata", "consumer_limits", "max_waiting", "num_replicas_consumer"];

/// Compares every field that either side states: an option that somebody set by hand is a difference, too.
fn differences<T: serde::Serialize>(object: &str, wanted: &T, found: &T) -> Result<Vec<Difference>, TopologyError> {
    let fields = |config: &T| match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => {
            Err(TopologyError::Make { object: object.to_owned(), reason: format!("{other} is no configuration") })
        }
        Err(error) => Err(TopologyError::Make { object: object.to_owned(), reason: error.to_string() }),
    };
    let (wanted, found) = (fields(wanted)?, fields(found)?);
    let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let said = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    Ok(names
        .into_iter()
        .filter(|field| !SERVER_OWNED.contains(&field.as_str()))
        .map(|field| (field, wanted.get(field), found.get(field)))
        .filter(|(_, wanted, found)| wanted != found && !(unset(*wanted) && unset(*found)))
        .map(|(field, wanted, found)| Difference {
            object: object.to_owned(),
            field: field.clone(),
            wanted: said(wanted),
            found: said(found),
        })
        .collect())
}

/// Whether a field says what it would say were it not there: servers spell out some of these, and leave out others.
fn unset(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(text)) => text.is_empty() || text == "none",
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Bool(true)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn versions_are_compared_as_numbers() {
        for version in ["2.12.0", "2.12.0-RC.1", "2.12-beta", "2.15.1", "2.100.0", "3.0.0", "10.1.0"] {
            assert!(new_enough(version), "{version}");
        }
        for version in ["2.9.10", "2.11.9", "1.99.0", "0.0.0", "", "unknown", "v2.12.0"] {
            assert!(!new_enough(version), "{version}");
        }
    }
}
