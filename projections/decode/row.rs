//! One of Meta's rows, borrowed from the event's data.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::purchases::{MOST_TYPES, PurchaseRule, Purchases};

/// The fields of a row that the folds use, in the form Meta sends them.
pub(crate) struct MetaRow<'a> {
    fields: [Option<&'a RawValue>; FIELDS],
    pub purchases: Purchases,
}

/// Fields that are kept as they came; then the two lists, of which only the purchases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(crate) enum Field {
    AdId,
    AdsetId,
    CampaignId,
    AdName,
    AdsetName,
    CampaignName,
    AccountCurrency,
    Spend,
    Impressions,
    Clicks,
    InlineLinkClicks,
    Actions,
    ActionValues,
    #[serde(other)]
    Other,
}

impl Field {
    /// The field as Meta calls it, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Field::AdId => "ad_id",
            Field::AdsetId => "adset_id",
            Field::CampaignId => "campaign_id",
            Field::AdName => "ad_name",
            Field::AdsetName => "adset_name",
            Field::CampaignName => "campaign_name",
            Field::AccountCurrency => "account_currency",
            Field::Spend => "spend",
            Field::Impressions => "impressions",
            Field::Clicks => "clicks",
            Field::InlineLinkClicks => "inline_link_clicks",
            Field::Actions => "actions",
            Field::ActionValues => "action_values",
            Field::Other => "a field",
        }
    }
}

/// How many fields are kept as they came.
const FIELDS: usize = Field::Actions as usize;

/// A row's ad, whatever else there is in it.
#[derive(Deserialize)]
pub(crate) struct AdOfRow<'a> {
    #[serde(borrow)]
    pub ad_id: &'a RawValue,
}

impl<'a> MetaRow<'a> {
    /// What Meta sent in a field, if anything.
    pub fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.fields.get(field as usize).copied().flatten()
    }
}

/// Reads a row in one pass: its lists, most of its bytes, are not kept and not read twice.
pub(crate) struct OfRow<'r>(pub &'r PurchaseRule);

impl<'de> DeserializeSeed<'de> for OfRow<'_> {
    type Value = MetaRow<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfRow<'_> {
    type Value = MetaRow<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<Self::Value, A::Error> {
        let mut fields: [Option<Option<&RawValue>>; FIELDS] = [None; FIELDS];
        let (mut counts, mut values) = (None, None);
        while let Some(field) = row.next_key::<Field>()? {
            let again = match field {
                Field::Actions => counts.replace(row.next_value_seed(OfRule(self.0))?).is_some(),
                Field::ActionValues => values.replace(row.next_value_seed(OfRule(self.0))?).is_some(),
                Field::Other => row.next_value::<IgnoredAny>().map(|_| false)?,
                kept => fields[kept as usize].replace(row.next_value()?).is_some(),
            };
            if again {
                return Err(A::Error::custom(format_args!("{} stands twice in the row", field.name())));
            }
        }
        let purchases = self.0.choose(&counts.unwrap_or_default(), &values.unwrap_or_default());
        Ok(MetaRow { fields: fields.map(Option::flatten), purchases })
    }
}

/// What a number of Meta's may come to: sums of a million of them are still exact, in PostgreSQL and here. No amount of
/// money and no count of a day comes near.
const MOST: i64 = 1_000_000_000_000_000;
const MOST_COUNT: i64 = 1_000_000_000_000;

/// A number as Meta sends it: a string, or bare. An empty string says nothing, as a field that is left out. Never
/// rounded: a number with more digits than can be kept is refused.
pub(crate) fn decimal(raw: &RawValue) -> Result<Option<Decimal>, String> {
    let text = raw.get().trim_matches('"');
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || format!("{} is not a number this version can hold", short(raw));
    let (base, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(base, exponent)| (base, Some(exponent)));
    // Underscores, which are no part of a number in JSON, would be read over.
    let exact = Decimal::from_str_exact(base).ok().filter(|_| !base.contains('_')).ok_or_else(refuse)?;
    let number = match exponent {
        None => exact,
        Some(_) => Decimal::from_scientific(text).map_err(|_| refuse())?,
    };
    if number.abs() >= Decimal::from(MOST) {
        return Err(format!("{} is larger than any amount", short(raw)));
    }
    // PostgreSQL has one zero, and what it says is compared with what was written, byte by byte.
    Ok(Some(if number.is_zero() { number.abs() } else { number }))
}

/// A whole number, as a string or bare.
pub(crate) fn whole(raw: &RawValue) -> Result<Option<i64>, String> {
    let Some(number) = decimal(raw)? else { return Ok(None) };
    if number.trunc() != number {
        return Err(format!("{} is not whole", short(raw)));
    }
    let count = i64::try_from(number.trunc()).ok().filter(|count| count.abs() < MOST_COUNT);
    count.map(Some).ok_or_else(|| format!("{} is larger than any count", short(raw)))
}

/// A value for a message, which is read by people.
fn short(raw: &RawValue) -> Cow<'_, str> {
    const MOST_CHARS: usize = 60;
    match raw.get().char_indices().nth(MOST_CHARS) {
        None => Cow::Borrowed(raw.get()),
        Some((end, _)) => Cow::Owned(format!("{}…", &raw.get()[..end])),
    }
}

/// A name, or an id that nothing is found by. What should be a text and is none stands as the JSON it is: a day is not
/// lost for it.
pub(crate) fn name(raw: &RawValue) -> Cow<'_, str> {
    text(raw).unwrap_or(Cow::Borrowed(raw.get()))
}

/// A text or id. PostgreSQL's text takes neither `\u0000` nor lone surrogates, both of which Meta can send in a name:
/// they become U+FFFD here, and stay what they were in the raw log.
pub(crate) fn text(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    let json = raw.get();
    let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return if json.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Cow::Borrowed(json))
        } else {
            Err(format!("{} is not a text", short(raw)))
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

/// What a rule needs of an `actions` or `action_values` list: Meta's number of each type it names. The other types,
/// most of the list, are skipped without being kept.
struct OfRule<'r>(&'r PurchaseRule);

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
        while let Some(action) = list.next_element_seed(Action(self.0))? {
            let Some((place, number)) = action else { continue };
            found[place] = match number {
                Some(number) => decimal(number).map_err(A::Error::custom)?.or(found[place]),
                None => found[place].or(self.0.left_out()),
            };
        }
        Ok(found)
    }
}

/// One entry of a list, if the rule names its type: the type's place in the rule, and the number at the rule's key.
#[derive(Clone, Copy)]
struct Action<'r>(&'r PurchaseRule);

impl<'de> DeserializeSeed<'de> for Action<'_> {
    type Value = Option<(usize, Option<&'de RawValue>)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Action<'_> {
    type Value = Option<(usize, Option<&'de RawValue>)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut action: A) -> Result<Self::Value, A::Error> {
        let (mut place, mut number) = (None, None);
        while let Some(key) = action.next_key_seed(KeyOf(self.0.key()))? {
            let again = match key {
                ActionKey::Type => {
                    // Not as a string of Rust's, which half of a surrogate pair is not: no rule names such a type.
                    let action_type = text(action.next_value()?).map_err(A::Error::custom)?;
                    place.replace(self.0.index(&action_type)).is_some()
                }
                ActionKey::Number => number.replace(action.next_value::<Option<&RawValue>>()?).is_some(),
                ActionKey::Other => action.next_value::<IgnoredAny>().map(|_| false)?,
            };
            if again {
                return Err(A::Error::custom("an action has two types or values"));
            }
        }
        let place = place.ok_or_else(|| A::Error::missing_field("action_type"))?;
        Ok(place.map(|place| (place, number.flatten())))
    }
}

/// Reads an action's key; the rule says at which one its number stands.
struct KeyOf<'r>(&'r str);

enum ActionKey {
    Type,
    Number,
    Other,
}

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = ActionKey;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeyOf<'_> {
    type Value = ActionKey;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of an action")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(match key {
            "action_type" => ActionKey::Type,
            _ if key == self.0 => ActionKey::Number,
            _ => ActionKey::Other,
        })
    }
}
