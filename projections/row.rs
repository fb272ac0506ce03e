//! One of Meta's rows, borrowed from the event's data.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::purchases::{MOST_TYPES, PurchaseRule};

/// The fields of a row that the folds use, in the form Meta sends them.
#[derive(Deserialize)]
pub(crate) struct MetaRow<'a> {
    #[serde(borrow)]
    pub ad_id: &'a RawValue,
    #[serde(borrow)]
    pub adset_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub campaign_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub ad_name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub adset_name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub campaign_name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub account_currency: Option<&'a RawValue>,
    #[serde(borrow)]
    pub spend: Option<&'a RawValue>,
    #[serde(borrow)]
    pub impressions: Option<&'a RawValue>,
    #[serde(borrow)]
    pub clicks: Option<&'a RawValue>,
    #[serde(borrow)]
    pub inline_link_clicks: Option<&'a RawValue>,
    #[serde(borrow)]
    pub actions: Option<&'a RawValue>,
    #[serde(borrow)]
    pub action_values: Option<&'a RawValue>,
}

/// A number as Meta sends it: a string, or bare.
pub(crate) fn decimal(raw: &RawValue) -> Result<Decimal, String> {
    let text = raw.get().trim_matches('"');
    Decimal::from_str_exact(text)
        .or_else(|_| Decimal::from_scientific(text))
        .map_err(|_| format!("{} is not a number this version can hold", raw.get()))
}

/// A whole number, as a string or bare.
pub(crate) fn whole(raw: &RawValue) -> Result<i64, String> {
    let text = raw.get().trim_matches('"');
    i64::from_str(text).or_else(|_| {
        let number = decimal(raw)?;
        let whole = number.trunc();
        if whole == number { i64::try_from(whole).map_err(|e| e.to_string()) } else { Err(format!("{} is not whole", raw.get())) }
    })
}

/// A text or id. PostgreSQL's text takes neither `\u0000` nor lone surrogates, both of which Meta can send in a name:
/// they become U+FFFD here, and stay what they were in the raw log.
pub(crate) fn text(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    let json = raw.get();
    let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return if json.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Cow::Borrowed(json))
        } else {
            Err(format!("{json} is not a text"))
        };
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    // Read as bytes, serde_json lets lone surrogates pass as three bytes each that are no UTF-8.
    let bytes = serde_json::Deserializer::from_str(json).deserialize_bytes(Wtf8).map_err(|e| e.to_string())?;
    Ok(Cow::Owned(String::from_utf8_lossy(&bytes).replace('\0', "\u{FFFD}")))
}

struct Wtf8;

impl Visitor<'_> for Wtf8 {
    type Value = Vec<u8>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// What a rule needs of an `actions` or `action_values` list: Meta's value of each type it names. The other types, most
/// of the list, are skipped without being kept.
pub(crate) fn of_rule(raw: Option<&RawValue>, rule: &PurchaseRule) -> Result<[Option<Decimal>; MOST_TYPES], String> {
    match raw {
        None => Ok([None; MOST_TYPES]),
        Some(raw) => {
            OfRule(rule).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).map_err(|e| e.to_string())
        }
    }
}

struct OfRule<'r>(&'r PurchaseRule);

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow)]
    action_type: Cow<'a, str>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

impl<'de> DeserializeSeed<'de> for OfRule<'_> {
    type Value = [Option<Decimal>; MOST_TYPES];
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OfRule<'_> {
    type Value = [Option<Decimal>; MOST_TYPES];
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of actions")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok([None; MOST_TYPES])
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; MOST_TYPES];
        while let Some(action) = list.next_element::<Action<'de>>()? {
            let (Some(place), Some(value)) = (self.0.index(&action.action_type), action.value) else { continue };
            found[place] = Some(decimal(value).map_err(serde::de::Error::custom)?);
        }
        Ok(found)
    }
}
