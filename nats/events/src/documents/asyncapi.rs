//! The AsyncAPI 3.0 document.

use serde_json::{Map, Value, json};

use super::{ATTRIBUTES, schema_of};
use crate::catalogue::{CHANNELS, Channel, Published, TOKENS};

/// The document. Its payload schemas are those of `nats/events/schemas`, references put in place.
pub fn asyncapi() -> Value {
    let channels: Map<String, Value> =
        CHANNELS.iter().map(|channel| (channel.name.to_owned(), of_channel(channel))).collect();
    let operations: Map<String, Value> = CHANNELS.iter().flat_map(operations).collect();
    let events = || CHANNELS.iter().flat_map(|channel| channel.events);
    let messages: Map<String, Value> = events().map(|event| (key(event), message(event))).collect();
    let schemas: Map<String, Value> = events().map(|event| (key(event), schema_of(event.event_type))).collect();
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:adledger",
        "info": {
            "title": "adledger",
            "version": "1.0.0",
            "description": "The events of adledger, a ledger of advertising results: CloudEvents 1.0 in binary content mode, \
                            on JetStream streams. Delivery is at least once. docs/EVENTS.md says the same for people.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "localhost:4222",
                "protocol": "nats",
                "description": "The nats-server (2.12 or newer, with JetStream) that NATS_URL names.",
            },
        },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// The event type as a key: some readers of AsyncAPI take no dots there, though it allows them.
fn key(event: &Published) -> String {
    event.event_type.replace('.', "_")
}

fn of_channel(channel: &Channel) -> Value {
    let messages: Map<String, Value> = channel
        .events
        .iter()
        .map(|event| (key(event), json!({ "$ref": format!("#/components/messages/{}", key(event)) })))
        .collect();
    let parameters: Map<String, Value> = TOKENS
        .iter()
        .filter(|(token, _)| channel.subject.contains(&format!("{{{token}}}")))
        .map(|(token, about)| ((*token).to_owned(), json!({ "description": about })))
        .collect();
    json!({
        "address": channel.subject,
        "title": format!("Stream {}", channel.stream),
        "description": channel.about,
        "servers": [{ "$ref": "#/servers/nats" }],
        "parameters": parameters,
        "messages": messages,
        "x-jetstream-stream": channel.stream,
    })
}

/// What adledger does: it sends on each channel, and reads what others publish where it takes that.
fn operations(channel: &Channel) -> Vec<(String, Value)> {
    let messages: Vec<Value> = channel
        .events
        .iter()
        .map(|event| json!({ "$ref": format!("#/channels/{}/messages/{}", channel.name, key(event)) }))
        .collect();
    let operation = |action: &str, summary: &str| {
        let of = json!({
            "action": action,
            "channel": { "$ref": format!("#/channels/{}", channel.name) },
            "summary": summary,
            "messages": messages,
        });
        (format!("{action}_{}", channel.name), of)
    };
    let mut operations = vec![operation("send", "adledger publishes these.")];
    if channel.takes_foreign {
        operations.push(operation("receive", "adledger reads these, whoever published them."));
    }
    operations
}

fn message(event: &Published) -> Value {
    json!({
        "name": event.event_type,
        "title": event.title,
        "summary": event.when,
        "contentType": "application/json",
        "headers": headers(event),
        "payload": { "$ref": format!("#/components/schemas/{}", key(event)) },
        "x-sample": format!("nats/events/tests/samples/{}.json", event.event_type),
    })
}

fn headers(event: &Published) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, about) in ATTRIBUTES {
        let mut property = json!({ "type": "string", "description": about });
        match name {
            "specversion" => property["const"] = "1.0".into(),
            "type" => property["const"] = event.event_type.into(),
            "time" => property["format"] = "date-time".into(),
            _ => {}
        }
        required.push(format!("ce-{name}"));
        properties.insert(format!("ce-{name}"), property);
    }
    for (name, about) in event.attributes {
        properties.insert(format!("ce-{name}"), json!({ "type": "string", "description": about }));
    }
    let content_type = json!({ "type": "string", "const": "application/json" });
    properties.insert("content-type".to_owned(), content_type);
    let id = json!({ "type": "string", "description": "the event's id: JetStream stores what comes twice once" });
    properties.insert("Nats-Msg-Id".to_owned(), id);
    json!({ "type": "object", "properties": properties, "required": required })
}
