use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use events::headers::{DATACODEC, carries};
use events::payload;
use jetstream::{DeadLetters, Letter, LetterError, Original};
use serde_json::Value;

use super::{Entry, no_letter};
use crate::output;

/// Decompressed size up to which a payload is shown.
const MOST_BYTES: u64 = 16 << 20;
/// How much of it is shown: lines of JSON, bytes of anything else.
const MOST_LINES: usize = 60;
const MOST_HEX_BYTES: usize = 256;

pub async fn show(letters: &DeadLetters, id: u64, json: bool, file: Option<&Path>) -> Result<()> {
    let letter = letters.letter(id).await?.with_context(|| no_letter(id).to_string())?;
    let original = letters.original(&letter).await;
    if let Some(file) = file {
        return write(&original?.payload, file);
    }
    let (original, missing) = match original {
        Ok(original) => (Some(original), None),
        // The rest of the letter can be shown all the same.
        Err(error @ (LetterError::Gone { .. } | LetterError::NoOrigin { .. })) => (None, Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    if json { as_json(&letter, original.as_ref(), missing) } else { as_text(&letter, original.as_ref(), missing) }
}

fn write(payload: &[u8], file: &Path) -> Result<()> {
    if file.as_os_str() == "-" {
        let mut out = std::io::stdout();
        return match out.write_all(payload).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            outcome => Ok(outcome?),
        };
    }
    std::fs::write(file, payload).with_context(|| format!("cannot write {}", file.display()))?;
    output::line(&format!("{} bytes are in {}.", payload.len(), file.display()))
}

fn as_json(letter: &Letter, original: Option<&Original>, missing: Option<String>) -> Result<()> {
    let mut shown = serde_json::to_value(Entry::from(letter))?;
    if let Some(original) = original {
        // A header may have several values.
        shown["headers"] =
            original.headers().into_iter().map(|(name, value)| serde_json::json!([name, value])).collect();
        match read(original) {
            Ok(data) => shown["data"] = data,
            Err(reason) => shown["not_json"] = reason.into(),
        }
    }
    if let Some(missing) = missing {
        shown["missing"] = missing.into();
    }
    output::json(&shown)
}

fn as_text(letter: &Letter, original: Option<&Original>, missing: Option<String>) -> Result<()> {
    let say = |name: &str, text: &str| output::line(&format!("{name:<10} {}", output::printable(text)));
    say("letter", &letter.id.to_string())?;
    say("parked", &format!("{}, by consumer {} of stream {}", letter.parked_at, letter.consumer, letter.stream))?;
    say("reason", letter.reason.as_deref().unwrap_or("the letter does not say"))?;
    if let Some(origin) = &letter.origin {
        say("message", &format!("{} of {}, stored {}", origin.sequence, letter.stream, origin.stored_at))?;
        say("subject", &origin.subject)?;
    }
    if let Some(missing) = missing {
        return say("payload", &missing);
    }
    let Some(original) = original else { return Ok(()) };
    for (name, value) in original.headers() {
        say("header", &format!("{name}: {value}"))?;
    }
    let place = if letter.is_whole { "" } else { "; it did not fit into the letter, and was read from its stream" };
    say("payload", &format!("{} bytes{place}", original.payload.len()))?;
    match read(original) {
        Ok(data) => {
            let text = serde_json::to_string_pretty(&data)?;
            for line in text.lines().take(MOST_LINES) {
                output::line(&format!("  {}", output::shortened(line, 200)))?;
            }
            let more = text.lines().count().saturating_sub(MOST_LINES);
            if more > 0 {
                output::line(&format!("  … and {more} lines more: --payload FILE writes the bytes."))?;
            }
            Ok(())
        }
        Err(reason) => {
            output::line(&format!("  {}", output::printable(&reason)))?;
            let head = &original.payload[..original.payload.len().min(MOST_HEX_BYTES)];
            head.chunks(16).try_for_each(|bytes| output::line(&format!("  {}", hex(bytes))))
        }
    }
}

/// The data as JSON, decompressed as the message says; or why it is none.
fn read(original: &Original) -> Result<Value, String> {
    let headers = original.headers();
    let codec = headers.iter().find(|(name, _)| carries(name, DATACODEC));
    let codec = codec.map_or("plain", |(_, value)| value.as_str()).parse().map_err(said)?;
    let json = payload::decode(codec, &original.payload, MOST_BYTES).map_err(said)?;
    serde_json::from_str(&payload::text(&json)).map_err(|error| format!("payload is not JSON: {error}"))
}

fn said(error: payload::PayloadError) -> String {
    crate::exit::sentence(&error.into())
}

/// Bytes as hex, and beside it as text where they are some.
fn hex(bytes: &[u8]) -> String {
    let mut line = String::new();
    for byte in bytes {
        let _ = write!(line, "{byte:02x} ");
    }
    let text: String = bytes.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect();
    format!("{line:<48} {text}")
}
