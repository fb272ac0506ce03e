//! Whether a value fits a schema.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// Holds a value against as much of JSON Schema as our types use: references, choices, types, properties and items. The value
/// stays raw, because a row may hold what no parsed string can.
pub fn fit(root: &Value, schema: &Value, value: &RawValue, place: &str, misfits: &mut Vec<String>) {
    if let Some(pointer) = schema["$ref"].as_str() {
        let target = root.pointer(pointer.trim_start_matches('#')).expect("a reference leads somewhere");
        return fit(root, target, value, place, misfits);
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = |choice: &&Value| {
            let mut wrong = Vec::new();
            fit(root, choice, value, place, &mut wrong);
            wrong.is_empty()
        };
        if choices.iter().find(fits).is_none() {
            misfits.push(format!("{place} fits no choice"));
        }
        return;
    }
    let found = kind(value);
    let types = schema["type"].as_array().map_or_else(|| vec![&schema["type"]], |types| types.iter().collect());
    if !types.iter().any(|wanted| *wanted == found || (*wanted == "number" && found == "integer")) {
        misfits.push(format!("{place} is of type {found}, not {}", schema["type"]));
        return;
    }
    let constant = schema.get("const").map(std::slice::from_ref);
    if let Some(allowed) = schema["enum"].as_array().map(Vec::as_slice).or(constant)
        && !allowed.iter().any(|allowed| allowed.as_str() == Some(value.get().trim_matches('"')))
    {
        misfits.push(format!("{place} is {value}, which is none of {allowed:?}"));
    }
    if found == "array" {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).expect("an array");
        for (index, item) in items.into_iter().enumerate() {
            fit(root, &schema["items"], item, &format!("{place}[{index}]"), misfits);
        }
    }
    if found == "object" {
        let members: BTreeMap<&str, &RawValue> = serde_json::from_str(value.get()).expect("an object");
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(required) {
                misfits.push(format!("{place} lacks {required}"));
            }
        }
        for (name, member) in members {
            match schema["properties"].get(name) {
                Some(schema) => fit(root, schema, member, &format!("{place}.{name}"), misfits),
                None if schema["additionalProperties"] == true => {}
                None => misfits.push(format!("{place} has {name}, of which the schema knows nothing")),
            }
        }
    }
}

fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes() {
        [b'{', ..] => "object",
        [b'[', ..] => "array",
        [b'"', ..] => "string",
        [b't' | b'f', ..] => "boolean",
        [b'n', ..] => "null",
        number if number.iter().any(|byte| b".eE".contains(byte)) => "number",
        _ => "integer",
    }
}
