//! JSON, read plainly: the members of an object in their order, each value as it stands, and from there texts and numbers.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Sums of a million amounts or counts below these are still exact.
const MOST_AMOUNT: i64 = 1_000_000_000_000_000;
const MOST_COUNT: i64 = 1_000_000_000_000;

/// An object's members, doubled ones included.
pub struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    pub fn read(raw: &'a RawValue) -> Result<Self, String> {
        serde_json::Deserializer::from_str(raw.get()).deserialize_map(Members).map_err(|e| e.to_string())
    }

    /// A member's value; `null` is none. Nobody knows which of two is meant.
    pub fn get(&self, name: &str) -> Result<Option<&'a RawValue>, String> {
        let mut found = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| *value);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("{name} stands twice")),
            (value, None) => Ok(value.filter(|value| value.get() != "null")),
        }
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<String, &RawValue>()? {
            members.push(member);
        }
        Ok(Object(members))
    }
}

/// The elements of a list; nothing in place of a list is an empty one.
pub fn list(raw: Option<&RawValue>) -> Result<Vec<&RawValue>, String> {
    raw.map_or(Ok(Vec::new()), |raw| serde_json::from_str(raw.get()).map_err(|e| e.to_string()))
}

/// A text, or a number in the digits that stand there. `None`: it is neither.
///
/// What PostgreSQL's text cannot hold becomes U+FFFD: NUL once, half of a surrogate pair for each of its three bytes.
pub fn text(raw: &RawValue) -> Option<String> {
    let json = raw.get();
    if json.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(json.to_owned());
    }
    let mut rest = json.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (read, escape) = unescape(&rest[at..])?;
        rest = &rest[at + read..];
        match escape {
            Some('\0') => text.push('\u{FFFD}'),
            Some(c) => text.push(c),
            None => text.push_str("\u{FFFD}\u{FFFD}\u{FFFD}"),
        }
    }
    text.push_str(rest);
    Some(text)
}

/// Reads the escape that the text begins with: how many bytes it takes, and what it stands for; `None` for half of a
/// surrogate pair.
fn unescape(text: &str) -> Option<(usize, Option<char>)> {
    let unit = |text: &str| u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    if let Some(first) = unit(text) {
        if !(0xD800..0xE000).contains(&first) {
            return Some((6, char::from_u32(first)));
        }
        let second = text.get(6..).and_then(unit).filter(|second| (0xDC00..0xE000).contains(second));
        return Some(match second {
            Some(second) if first < 0xDC00 => {
                (12, char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)))
            }
            _ => (6, None),
        });
    }
    let c = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other => char::from(*other),
    };
    Some((2, Some(c)))
}

/// A name: what is no text stands as the JSON it is.
pub fn name(raw: &RawValue) -> String {
    text(raw).unwrap_or_else(|| raw.get().to_owned())
}

/// An amount: bare, or as a text, which says nothing when it is empty. It is exact, or refused.
pub fn amount(raw: Option<&RawValue>) -> Result<Option<Decimal>, String> {
    let Some(json) = raw.map(RawValue::get) else { return Ok(None) };
    let digits = json.trim_matches('"');
    if digits.is_empty() {
        return Ok(None);
    }
    let refused = || format!("{json:.60} is no number that can be held exactly");
    let before_exponent = digits.split(['e', 'E']).next().unwrap_or_default();
    let mut number = Decimal::from_str_exact(before_exponent).map_err(|_| refused())?;
    if before_exponent.contains('_') {
        return Err(refused());
    }
    if before_exponent != digits {
        number = Decimal::from_scientific(digits).map_err(|_| refused())?;
    }
    if number.abs() >= Decimal::from(MOST_AMOUNT) { Err(format!("{json:.60} is too large")) } else { Ok(Some(number)) }
}

/// A whole number.
pub fn count(raw: Option<&RawValue>) -> Result<Option<i64>, String> {
    let Some(number) = amount(raw)? else { return Ok(None) };
    if !number.is_integer() {
        return Err(format!("{number} is not whole"));
    }
    match i64::try_from(number.normalize()) {
        Ok(count) if count.abs() < MOST_COUNT => Ok(Some(count)),
        _ => Err(format!("{number} is too large for a count")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn texts_are_read_as_the_tables_can_hold_them() {
        for (json, said) in [
            (r#""plain""#, Some("plain")),
            (r#""tab\t quote\" slash\/ back\\ \u00e9""#, Some("tab\t quote\" slash/ back\\ é")),
            (r#""\ud83d\ude00""#, Some("😀")),
            (r#""a\u0000b""#, Some("a\u{FFFD}b")),
            (r#""\ud83d!""#, Some("\u{FFFD}\u{FFFD}\u{FFFD}!")),
            (r#""\ud83d\ud83d\ude00""#, Some("\u{FFFD}\u{FFFD}\u{FFFD}😀")),
            (r#""\ude00""#, Some("\u{FFFD}\u{FFFD}\u{FFFD}")),
            ("12345678901234567890", Some("12345678901234567890")),
            ("-1", None),
            ("true", None),
            ("{}", None),
        ] {
            assert_eq!(text(&raw(json)).as_deref(), said, "{json}");
        }
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        for (json, said) in [
            ("\"12.50\"", Some("12.5")),
            ("12.5", Some("12.5")),
            ("\"1.25e2\"", Some("125")),
            ("\"-3\"", Some("-3")),
            ("\"\"", None),
        ] {
            let found = amount(Some(&raw(json))).expect("a number").map(|n| n.normalize().to_string());
            assert_eq!(found.as_deref(), said, "{json}");
        }
        for json in ["\"12,34\"", "\"1_000\"", "true", "\"123456789012345678901234567890\"", "1000000000000000", "{}"] {
            assert!(amount(Some(&raw(json))).is_err(), "{json}");
        }
        assert_eq!(count(Some(&raw("\"3.0\""))), Ok(Some(3)));
        assert!(count(Some(&raw("1.5"))).is_err() && count(Some(&raw("1000000000000"))).is_err());
    }

    #[test]
    fn nobody_knows_which_of_two_members_is_meant() {
        let json = raw(r#"{"a":1,"a":2,"b":null}"#);
        let object = Object::read(&json).expect("an object");
        assert!(object.get("a").is_err() && object.get("b").expect("once").is_none());
    }
}
