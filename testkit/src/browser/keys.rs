//! Keys, as the browser wants to be told of them.

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Name, code, the number of old, and the character that it types.
const NAMED: [(&str, &str, u32, &str); 13] = [
    ("Tab", "Tab", 9, ""),
    ("Enter", "Enter", 13, "\r"),
    ("Escape", "Escape", 27, ""),
    ("Space", "Space", 32, " "),
    ("Backspace", "Backspace", 8, ""),
    ("Delete", "Delete", 46, ""),
    ("ArrowUp", "ArrowUp", 38, ""),
    ("ArrowDown", "ArrowDown", 40, ""),
    ("ArrowLeft", "ArrowLeft", 37, ""),
    ("ArrowRight", "ArrowRight", 39, ""),
    ("Home", "Home", 36, ""),
    ("End", "End", 35, ""),
    ("F5", "F5", 116, ""),
];
const SHIFT: u32 = 8;

/// The events of a key's way down and up.
pub fn events(name: &str) -> Result<[Value; 2]> {
    let (modifiers, plain) = name.strip_prefix("Shift+").map_or((0, name), |plain| (SHIFT, plain));
    let named = NAMED.iter().find(|(known, ..)| *known == plain);
    let (key, code, number, text) = match named {
        Some((_, code, number, text)) => (if plain == "Space" { " " } else { plain }, *code, *number, *text),
        None if plain.chars().count() == 1 => (plain, "", 0, plain),
        None => bail!("{name:?} is no key that testkit::browser::keys knows: add it there"),
    };
    let event = |kind: &str, text: &str| {
        let mut event =
            json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers});
        if !text.is_empty() {
            event["text"] = text.into();
        }
        event
    };
    Ok([event(if text.is_empty() { "rawKeyDown" } else { "keyDown" }, text), event("keyUp", "")])
}
