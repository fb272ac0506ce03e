//! What others read of our events, written from the types: `docs/EVENTS.md` for people, `docs/asyncapi.json` for
//! programs.

mod asyncapi;
mod page;

use serde_json::{Map, Value};

pub use asyncapi::asyncapi;
pub use page::page;

/// The schema with what it refers to in the place of the references. No type of ours holds itself.
fn inlined(schema: &Value) -> Value {
    let mut whole = resolve(schema, schema);
    if let Some(fields) = whole.as_object_mut() {
        for name in ["$schema", "$id", "$defs"] {
            fields.remove(name);
        }
    }
    whole
}

fn resolve(root: &Value, schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let target =
                fields.get("$ref").and_then(Value::as_str).and_then(|to| root.pointer(to.trim_start_matches('#')));
            let mut resolved = match target.map(|target| resolve(root, target)) {
                Some(Value::Object(resolved)) => resolved,
                _ => Map::new(),
            };
            // What stands beside a reference says it more exactly.
            for (name, value) in fields.iter().filter(|(name, _)| *name != "$ref" && *name != "$defs") {
                resolved.insert(name.clone(), resolve(root, value));
            }
            Value::Object(resolved)
        }
        Value::Array(items) => items.iter().map(|item| resolve(root, item)).collect(),
        other => other.clone(),
    }
}

/// The schema of an event type's data, inlined.
fn schema_of(event_type: &str) -> Value {
    let schemas = crate::schemas();
    let schema = schemas.iter().find(|(of, _)| *of == event_type);
    schema.map(|(_, schema)| inlined(schema)).unwrap_or_default()
}

/// The attributes that every event has, and what they say.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("specversion", "always `1.0`"),
    ("id", "the event's own; whoever has handled an id passes it over"),
    ("type", "which event it is, and its version"),
    ("source", "which part of adledger wrote it"),
    ("time", "when it happened, RFC 3339"),
];
