//! `docs/EVENTS.md`.

use std::fmt::{self, Write};

use serde_json::Value;

use super::{ATTRIBUTES, schema_of};
use crate::catalogue::{CHANNELS, Published, TOKENS};

/// What stands before the events, and after them.
const BEFORE: &str = include_str!("before.txt");
const AFTER: &str = include_str!("after.txt");

/// The page. An error says that a sample is no event.
pub fn page() -> Result<String, fmt::Error> {
    let mut page = BEFORE.to_owned();
    page += "\n| attribute | says |\n|---|---|\n";
    for (name, about) in ATTRIBUTES {
        writeln!(page, "| `ce-{name}` | {about} |")?;
    }
    page += "\nSubjects name what an event is about, so that a filter finds a tenant's or a day's:\n\n| token | is |\n|---|---|\n";
    for (token, about) in TOKENS {
        writeln!(page, "| `{{{token}}}` | {about} |")?;
    }
    page += "\n## The events\n\n| type | stream | subject |\n|---|---|---|\n";
    for channel in &CHANNELS {
        for event in channel.events {
            let anchor = event.event_type.replace('.', "");
            writeln!(page, "| [`{}`](#{anchor}) | `{}` | `{}` |", event.event_type, channel.stream, channel.subject)?;
        }
    }
    for channel in &CHANNELS {
        writeln!(page, "\n## Stream {}\n\n{}", channel.stream, wrapped(channel.about))?;
        for event in channel.events {
            section(&mut page, event)?;
        }
    }
    page.push('\n');
    page += AFTER;
    Ok(page)
}

fn section(page: &mut String, event: &Published) -> fmt::Result {
    let about = wrapped(&format!("{}. {}", event.title, event.when));
    writeln!(page, "\n### {}\n\n{about}\n", event.event_type)?;
    writeln!(
        page,
        "Source: `{}`. Schema: [`{1}.json`](../nats/events/schemas/{1}.json).",
        event.source, event.event_type
    )?;
    if !event.attributes.is_empty() {
        page.write_str("\n| further attribute | says |\n|---|---|\n")?;
        for (name, about) in event.attributes {
            writeln!(page, "| `ce-{name}` | {about} |")?;
        }
    }
    page.write_str("\n| field | is | says |\n|---|---|---|\n")?;
    fields(page, "", &schema_of(event.event_type))?;
    let travelled = event.travelled().map_err(|_| fmt::Error)?;
    writeln!(page, "\nOne as it travelled, under `{}`:\n\n```text", travelled.subject)?;
    for (name, value) in &travelled.headers {
        writeln!(page, "{name}: {value}")?;
    }
    writeln!(page, "```\n\n```json\n{}\n```", indented(travelled.data.get()))
}

/// Prose in lines of 120 signs at most.
fn wrapped(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let joined = width + 1 + word.chars().count();
        let breaks = joined > 120;
        if width > 0 {
            lines.push(if breaks { '\n' } else { ' ' });
        }
        width = if breaks || width == 0 { word.chars().count() } else { joined };
        lines += word;
    }
    lines
}

/// A row for each field of an object, and for those of the objects in it.
fn fields(page: &mut String, prefix: &str, schema: &Value) -> fmt::Result {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    // Those that are always there come first, in their own order.
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let others = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
    for name in required.iter().copied().chain(others) {
        let field = &properties[name];
        let path = format!("{prefix}{name}");
        let about = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        writeln!(page, "| `{path}` | {} | {} |", kind(field), about)?;
        fields(page, &format!("{path}."), object_of(field))?;
    }
    Ok(())
}

/// The object that a field holds: itself, or the choice of it that is not null.
fn object_of(field: &Value) -> &Value {
    let choices = field["anyOf"].as_array();
    choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null")).unwrap_or(field)
}

/// What a value can be, in words.
fn kind(field: &Value) -> String {
    if let Some(choices) = field["anyOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(choices) = field["oneOf"].as_array() {
        let said = |choice: &Value| match choice["description"].as_str() {
            Some(about) => {
                format!("`{}` ({})", choice["const"].as_str().unwrap_or_default(), about.trim_end_matches('.'))
            }
            None => kind(choice),
        };
        return choices.iter().map(said).collect::<Vec<_>>().join(", ");
    }
    if let Some(allowed) = field["enum"].as_array() {
        return allowed
            .iter()
            .map(|one| format!("`{}`", one.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let format = field["format"].as_str();
    let named = |name: &str| match (name, format) {
        ("string", Some(format)) => format!("string ({format})"),
        ("array", _) => format!("list of {}", kind(&field["items"])),
        _ => name.to_owned(),
    };
    match &field["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(named).collect::<Vec<_>>().join(" or "),
        name => named(name.as_str().unwrap_or("any value")),
    }
}

/// JSON with a line a member. It is not parsed for that: Meta's strings can hold what no parsed string does.
fn indented(json: &str) -> String {
    let (mut text, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let mut before = ' ';
    for sign in json.chars() {
        if in_string {
            text.push(sign);
            (in_string, escaped) = (escaped || sign != '"', !escaped && sign == '\\');
            before = sign;
            continue;
        }
        let broken = |depth: usize| format!("\n{}", "  ".repeat(depth));
        match sign {
            '"' => {
                in_string = true;
                text.push(sign);
            }
            '{' | '[' => {
                depth += 1;
                text.push(sign);
                text += &broken(depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if before == '{' || before == '[' {
                    text.truncate(text.trim_end().len());
                } else {
                    text += &broken(depth);
                }
                text.push(sign);
            }
            ',' => text += &format!(",{}", broken(depth)),
            ':' => text += ": ",
            _ => text.push(sign),
        }
        before = sign;
    }
    text
}
