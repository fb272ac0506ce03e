//! The committed documents are those of the types, and the AsyncAPI document is whole: every reference leads somewhere,
//! every operation is one of its channel, every sample is an event of its message.

mod fit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use events::catalogue::{CHANNELS, TOKENS};
use events::documents;
use serde_json::Value;
use serde_json::value::RawValue;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn committed(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_default()
}

#[test]
fn the_committed_documents_are_those_of_the_types() {
    let asyncapi = format!("{:#}\n", documents::asyncapi());
    let page = documents::page().expect("every sample is read");
    for (file, written) in [("docs/EVENTS.md", page), ("docs/asyncapi.json", asyncapi)] {
        assert!(
            committed(file) == written,
            "{file} is not what the types say: run `cargo run -p events --example write_documents` and commit it"
        );
    }
}

#[test]
fn the_catalogue_has_every_type_and_its_stream() {
    let listed: Vec<&str> = CHANNELS.iter().flat_map(|channel| channel.events).map(|event| event.event_type).collect();
    let types: BTreeSet<&str> = events::schemas().into_iter().map(|(event_type, _)| event_type).collect();
    assert_eq!((listed.len(), listed.into_iter().collect::<BTreeSet<_>>()), (types.len(), types));
    let topology = committed("nats/topology/streams.toml");
    for channel in &CHANNELS {
        let mut filter = channel.subject.to_owned();
        for (token, _) in TOKENS {
            filter = filter.replace(&format!("{{{token}}}"), "*");
        }
        let (_, stream) =
            topology.split_once(&format!("name = \"{}\"\n", channel.stream)).expect("the stream is there");
        let (subjects, _) = stream.split_once('\n').expect("its subjects come next");
        assert_eq!(subjects, format!("subjects = [\"{filter}\"]"), "{}", channel.stream);
    }
}

/// Every `$ref`, with the place it stands at.
fn references(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str().filter(|_| name == "$ref") {
                    Some(target) => found.push((place.to_owned(), target.to_owned())),
                    None => references(field, &format!("{place}/{name}"), found),
                }
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| references(item, &format!("{place}/{at}"), found));
        }
        _ => {}
    }
}

/// What AsyncAPI 3.0 knows of an object of each kind; extensions begin with `x-`.
const ROOT: &[&str] =
    &["asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"];
const INFO: &[&str] =
    &["title", "version", "description", "termsOfService", "contact", "license", "tags", "externalDocs"];
const SERVER: &[&str] =
    &["host", "protocol", "protocolVersion", "pathname", "description", "title", "summary", "variables"];
const CHANNEL: &[&str] = &[
    "address",
    "messages",
    "title",
    "summary",
    "description",
    "servers",
    "parameters",
    "tags",
    "externalDocs",
    "bindings",
];
const OPERATION: &[&str] = &[
    "action",
    "channel",
    "title",
    "summary",
    "description",
    "security",
    "tags",
    "externalDocs",
    "bindings",
    "messages",
    "reply",
];
const MESSAGE: &[&str] = &[
    "headers",
    "payload",
    "correlationId",
    "contentType",
    "name",
    "title",
    "summary",
    "description",
    "tags",
    "bindings",
    "examples",
    "traits",
];

fn knows(value: &Value, known: &[&str], place: &str, findings: &mut Vec<String>) {
    let Some(fields) = value.as_object() else { return findings.push(format!("{place} is no object")) };
    for name in fields.keys().filter(|name| !known.contains(&name.as_str()) && !name.starts_with("x-")) {
        findings.push(format!("{place} has {name}, which AsyncAPI does not know there"));
    }
}

/// Everything that is wrong with a document.
fn findings(document: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    knows(document, ROOT, "the document", &mut findings);
    knows(&document["info"], INFO, "info", &mut findings);
    if document["asyncapi"] != "3.0.0"
        || !document["info"]["title"].is_string()
        || !document["info"]["version"].is_string()
    {
        findings.push("it says no version of AsyncAPI, no title or no version of its own".to_owned());
    }
    let mut found = Vec::new();
    references(document, "#", &mut found);
    for (place, target) in &found {
        if target.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).is_none() {
            findings.push(format!("{place} refers to {target}, which is not there"));
        }
    }
    let each = |value: &Value| value.as_object().cloned().unwrap_or_default();
    for (name, server) in each(&document["servers"]) {
        knows(&server, SERVER, &name, &mut findings);
        if !server["host"].is_string() || !server["protocol"].is_string() {
            findings.push(format!("server {name} has no host or no protocol"));
        }
    }
    let mut addresses = BTreeSet::new();
    for (name, channel) in each(&document["channels"]) {
        knows(&channel, CHANNEL, &name, &mut findings);
        let address = channel["address"].as_str().unwrap_or_default().to_owned();
        let tokens: BTreeSet<&str> =
            address.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(token, _)| token).collect();
        let parameters = each(&channel["parameters"]);
        if tokens != parameters.keys().map(String::as_str).collect() {
            findings.push(format!("channel {name} has other parameters than its address {address}"));
        }
        if address.is_empty() || !addresses.insert(address) {
            findings.push(format!("channel {name} has no address of its own"));
        }
        if each(&channel["messages"]).is_empty() {
            findings.push(format!("channel {name} has no message"));
        }
    }
    for (name, operation) in each(&document["operations"]) {
        knows(&operation, OPERATION, &name, &mut findings);
        if operation["action"] != "send" && operation["action"] != "receive" {
            findings.push(format!("operation {name} neither sends nor receives"));
        }
        let channel = operation["channel"]["$ref"].as_str().unwrap_or_default();
        if !channel.starts_with("#/channels/") {
            findings.push(format!("operation {name} is of no channel"));
        }
        for message in operation["messages"].as_array().into_iter().flatten() {
            // AsyncAPI wants the channel's own message here, not the component behind it.
            if !message["$ref"].as_str().is_some_and(|target| target.starts_with(&format!("{channel}/messages/"))) {
                findings.push(format!("operation {name} has a message of another channel: {message}"));
            }
        }
    }
    let mut names = BTreeSet::new();
    for (key, message) in each(&document["components"]["messages"]) {
        knows(&message, MESSAGE, &key, &mut findings);
        if message["headers"]["type"] != "object" {
            findings.push(format!("the headers of message {key} are no object"));
        }
        if !names.insert(message["name"].to_string())
            || message["name"].as_str().map(|name| name.replace('.', "_")) != Some(key.clone())
        {
            findings.push(format!("message {key} has no name of its own"));
        }
        if message["payload"]["$ref"] != format!("#/components/schemas/{key}") {
            findings.push(format!("message {key} has another's payload"));
        }
    }
    findings
}

#[test]
fn the_asyncapi_document_is_whole() {
    let document: Value = serde_json::from_str(&committed("docs/asyncapi.json")).expect("it is JSON");
    assert_eq!(findings(&document), Vec::<String>::new());
    let mut found = Vec::new();
    references(&document, "#", &mut found);
    let types = events::schemas().len();
    assert!(found.len() > 3 * types, "each message is named by its channel and its operations: {}", found.len());
}

#[test]
fn what_is_wrong_with_a_document_is_found() {
    let whole = documents::asyncapi();
    let summary = "adledger_warehouse_daily_summary_changed_v1";
    for (place, value, said) in [
        ("/asyncapi".to_owned(), "2.6.0".into(), "no version of AsyncAPI"),
        ("/channels/insights/address".to_owned(), Value::Null, "has no address"),
        (
            "/channels/insights/address".to_owned(),
            "warehouse.daily_summary.{account_id}.{date}".into(),
            "other parameters",
        ),
        ("/channels/insights/messages".to_owned(), serde_json::json!({}), "is not there"),
        ("/operations/send_insights/action".to_owned(), "publish".into(), "neither sends"),
        ("/operations/send_insights/channel/$ref".to_owned(), "#/channels/connections".into(), "another channel"),
        (format!("/channels/daily_summary/messages/{summary}/$ref"), "#/components/messages/x".into(), "is not there"),
        (format!("/components/messages/{summary}/payload/$ref"), "#/components/schemas/x".into(), "another's payload"),
        (format!("/components/messages/{summary}/name"), "x".into(), "no name of its own"),
        ("/servers/nats/protocol".to_owned(), Value::Null, "no protocol"),
    ] {
        let mut document = whole.clone();
        *document.pointer_mut(&place).expect("the place is there") = value;
        let found = findings(&document).join("; ");
        assert!(found.contains(said), "{place}: {found:?}");
    }
    let mut document = whole;
    document["channels"]["insights"]["adress"] = "x".into();
    assert_eq!(findings(&document).len(), 1);
}

/// A sample fits the headers and the payload that the document gives its message.
#[test]
fn every_sample_fits_its_message() {
    let document: Value = serde_json::from_str(&committed("docs/asyncapi.json")).expect("it is JSON");
    for event in CHANNELS.iter().flat_map(|channel| channel.events) {
        let sample: BTreeMap<&str, &RawValue> = serde_json::from_str(event.sample).expect("it is JSON");
        let headers: Vec<(String, String)> = serde_json::from_str(sample["headers"].get()).expect("pairs of texts");
        let headers: BTreeMap<String, String> = headers.into_iter().collect();
        let message = &document["components"]["messages"][event.event_type.replace('.', "_")];
        let schema = &document["components"]["schemas"][event.event_type.replace('.', "_")];
        let headers = RawValue::from_string(serde_json::json!(headers).to_string()).expect("it is JSON");
        let mut misfits = Vec::new();
        fit::fit(&message["headers"], &message["headers"], &headers, "headers", &mut misfits);
        fit::fit(schema, schema, sample["data"], event.event_type, &mut misfits);
        assert_eq!(misfits, Vec::<String>::new(), "{}", event.event_type);
        assert!(headers.get().contains(event.source), "{}", event.source);

        // And what is no such event does not.
        let mut wrong = Vec::new();
        let nothing = RawValue::from_string("{}".to_owned()).expect("it is JSON");
        fit::fit(&message["headers"], &message["headers"], &nothing, "headers", &mut wrong);
        fit::fit(schema, schema, &nothing, "data", &mut wrong);
        assert!(wrong.len() >= 8, "{wrong:?}");
    }
}
