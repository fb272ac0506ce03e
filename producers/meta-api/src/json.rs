//! Reading Meta's JSON without trusting it: numbers come as strings or bare, and strings hold what no Rust string does.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

/// A JSON object whose values are not decoded until asked for.
pub(crate) struct Object<'a>(HashMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// `None` when the text is no JSON object.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Object)
    }

    /// `None` when the key is missing, or null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.get(key).copied().filter(|raw| raw.get() != "null")
    }

    pub(crate) fn object(&self, key: &str) -> Option<Object<'a>> {
        Object::parse(self.get(key)?.get())
    }

    /// The text of a string or of a number. Lone surrogates and NULs, which no table of ours takes, become U+FFFD.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let raw = self.get(key)?.get();
        match raw.as_bytes().first()? {
            b'"' => serde_json::from_str::<Lossy>(raw).ok().map(|text| text.0),
            b'-' | b'0'..=b'9' => Some(raw.into()),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Option<i64> {
        unquoted(self.get(key)?).parse().ok()
    }

    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|raw| raw.get() == "true")
    }
}

/// The JSON text of a value without the quotes of a string; escapes stay as they are.
pub(crate) fn unquoted(raw: &RawValue) -> &str {
    let text = raw.get();
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Lossy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")))
            }
        }
        // Asked for bytes, serde_json hands out lone surrogates instead of refusing them.
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_meta_sends_them() {
        let text = r#"{"a":"7","b":7,"c":null,"d":"x\u0000\ud800y","e":true,"f":{"g":-1},"h":"\ud83d\ude00"}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!((object.integer("a"), object.integer("b"), object.integer("c")), (Some(7), Some(7), None));
        assert_eq!((object.text("b").as_deref(), object.text("h").as_deref()), (Some("7"), Some("😀")));
        let strange = object.text("d").unwrap();
        assert!(strange.starts_with("x\u{fffd}") && strange.ends_with('y'), "{strange:?}");
        assert!(object.is_true("e") && !object.is_true("a"));
        assert_eq!(object.object("f").unwrap().integer("g"), Some(-1));
        assert!(Object::parse("[]").is_none());
    }
}
