//! An event's data with its rows read: in one pass, because most of a fold's work is reading the same bytes.
//!
//! The pass is a shortcut and decides nothing: data it cannot read is read the long way, by `events`, whose verdict and
//! words count.

use std::borrow::Cow;
use std::fmt;

use events::InsightsData;
use events::subject::AccountDay;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::row::{self, AdOfRow, Field, MetaRow, OfRow};
use super::snapshot::Unfoldable;
use crate::purchases::PurchaseRule;

/// An ad's id and its row; the reason if the row cannot be read, which matters only if no later row replaces it.
pub(crate) type Parsed<'a> = (Cow<'a, str>, Result<MetaRow<'a>, String>);

/// Reads decompressed data, borrowing from it. The rows are beside the data, whose own list of them may be empty.
pub(crate) fn read<'a>(
    json: &'a str,
    day: &AccountDay,
    rule: &PurchaseRule,
) -> Result<(InsightsData<'a>, Vec<Parsed<'a>>), Unfoldable> {
    if let Some((data, rows)) = in_one_pass(json, day, rule) {
        return Ok((data, rows));
    }
    let data = InsightsData::parse(json.as_bytes(), day)?;
    let mut rows = Vec::with_capacity(data.rows.len());
    for (number, raw) in (1..).zip(&data.rows) {
        let refuse = |reason: String| Unfoldable::Row { number, reason };
        let row =
            OfRow(rule).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).map_err(|e| e.to_string());
        let ad: AdOfRow<'_> = serde_json::from_str(raw.get()).map_err(|e| refuse(e.to_string()))?;
        rows.push((row::text(ad.ad_id).map_err(refuse)?, row));
    }
    Ok((data, rows))
}

fn in_one_pass<'a>(
    json: &'a str,
    day: &AccountDay,
    rule: &PurchaseRule,
) -> Option<(InsightsData<'a>, Vec<Parsed<'a>>)> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let (data, rows) = OfData(rule).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    let found = AccountDay { account_id: data.account_id, ad_account_id: data.ad_account.id, date: data.date };
    let with_id = |row: MetaRow<'a>| Some((row::text(row.get(Field::AdId)?).ok()?, Ok(row)));
    let rows = rows.into_iter().map(with_id).collect::<Option<_>>()?;
    (found == *day).then_some((data, rows))
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Part {
    AccountId,
    AdAccount,
    Date,
    Request,
    Control,
    Rows,
    #[serde(other)]
    Other,
}

struct OfData<'r>(&'r PurchaseRule);

impl<'de> DeserializeSeed<'de> for OfData<'_> {
    type Value = (InsightsData<'de>, Vec<MetaRow<'de>>);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfData<'_> {
    type Value = (InsightsData<'de>, Vec<MetaRow<'de>>);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event's data")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut data: A) -> Result<Self::Value, A::Error> {
        let (mut account_id, mut ad_account, mut date) = (None, None, None);
        let (mut request, mut control, mut rows) = (None, None, None);
        while let Some(part) = data.next_key()? {
            let again = match part {
                Part::AccountId => account_id.replace(data.next_value()?).is_some(),
                Part::AdAccount => ad_account.replace(data.next_value()?).is_some(),
                Part::Date => date.replace(data.next_value()?).is_some(),
                Part::Request => request.replace(data.next_value()?).is_some(),
                Part::Control => control.replace(data.next_value()?).is_some(),
                Part::Rows => rows.replace(data.next_value_seed(OfRows(self.0))?).is_some(),
                Part::Other => data.next_value::<IgnoredAny>().map(|_| false)?,
            };
            if again {
                return Err(A::Error::custom("a part stands twice"));
            }
        }
        let (Some(account_id), Some(ad_account), Some(date), Some(request), Some(rows)) =
            (account_id, ad_account, date, request, rows)
        else {
            return Err(A::Error::custom("a part is missing"));
        };
        let control = control.flatten();
        Ok((InsightsData { account_id, ad_account, date, request, control, rows: Vec::new() }, rows))
    }
}

struct OfRows<'r>(&'r PurchaseRule);

impl<'de> DeserializeSeed<'de> for OfRows<'_> {
    type Value = Vec<MetaRow<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OfRows<'_> {
    type Value = Vec<MetaRow<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = list.next_element_seed(OfRow(self.0))? {
            rows.push(row);
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const DAY: AccountDay = AccountDay {
        account_id: Uuid::from_u128(1),
        ad_account_id: Uuid::from_u128(2),
        date: chrono::NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day"),
    };

    fn data(rows: &str) -> String {
        let (account_id, id) = (DAY.account_id, DAY.ad_account_id);
        format!(
            r#"{{"account_id":"{account_id}","ad_account":{{"id":"{id}","external_id":"act_2","currency":"USD","timezone_name":"UTC"}},
                "date":"2026-03-01","request":{{"api_version":"v25.0","fields":[],"effective_status":null,"attribution_windows":[]}},
                "control":{{"spend":"1.5","impressions":3}},"later":[{{}}],"rows":{rows}}}"#
        )
    }

    /// What a row gives, or the reason why it gives nothing, the same on both ways.
    #[test]
    fn rows_are_read_as_they_are() {
        let purchase = r#"{"action_type":"purchase","1d_click":"9","value":"2"}"#;
        let cases = [
            (r#"{"ad_id":"1"}"#.to_owned(), true, "1 None None None"),
            (r#"{"spend":1.5,"ad_id":7}"#.to_owned(), true, "7 None None None"),
            (
                format!(r#"{{"ad_id":"1","actions":[{{"action_type":"like","value":"x"}},{purchase}]}}"#),
                true,
                "1 Some(2) None Some(\"purchase\")",
            ),
            (
                format!(r#"{{"ad_id":"1","action_values":[{purchase}],"actions":null}}"#),
                true,
                "1 None Some(2) Some(\"purchase\")",
            ),
            (
                r#"{"ad_id":"1","actions":[{"action_type":"purchase","value":null},{"action_type":"purchase"}]}"#
                    .to_owned(),
                true,
                "1 None None None",
            ),
            // The value before the type; a type in escapes.
            (
                r#"{"ad_id":"1","actions":[{"value":3,"action_type":"p\u0075rchase"}]}"#.to_owned(),
                true,
                "1 Some(3) None Some(\"purchase\")",
            ),
            (r#"{"ad_id":"1","actions":{}}"#.to_owned(), false, "invalid type: map, expected a list of actions"),
            (r#"{"ad_id":"1","actions":[{"value":"1"}]}"#.to_owned(), false, "missing field `action_type`"),
            (
                r#"{"ad_id":"1","actions":[{"action_type":"purchase","value":"many"}]}"#.to_owned(),
                false,
                "\"many\" is not a number",
            ),
            (r#"{"ad_id":"1","spend":"1","spend":"2"}"#.to_owned(), false, "stands twice"),
        ];
        let rule = PurchaseRule::default();
        for (json, one_pass, wanted) in cases {
            let json = data(&format!("[{json}]"));
            assert_eq!(in_one_pass(&json, &DAY, &rule).is_some(), one_pass, "{json}");
            let (data, rows) = read(&json, &DAY, &rule).expect("the data can be read");
            assert_eq!(data.control.map(|c| c.impressions), Some(3));
            let said = match &rows[0] {
                (ad_id, Ok(MetaRow { purchases: p, .. })) => {
                    format!("{ad_id} {:?} {:?} {:?}", p.count, p.value, p.action_type)
                }
                (_, Err(reason)) => reason.clone(),
            };
            assert!(said.starts_with(wanted) || !one_pass && said.contains(wanted), "{said}, not {wanted}");
        }
    }

    #[test]
    fn the_long_way_judges() {
        let (whole, other) = (data("[]"), AccountDay { account_id: Uuid::from_u128(9), ..DAY });
        let cases = [
            (whole.replace("\"request\"", "\"requests\""), DAY, "missing field `request`"),
            (whole.replace("\"date\"", "\"rows\":[],\"date\""), DAY, "duplicate field `rows`"),
            (format!("{whole} x"), DAY, "trailing characters"),
            (data(r#"[{"ad_id":"1"},{}]"#), DAY, "row 2 of the event: missing field `ad_id`"),
            (whole.clone(), other, "data speaks of another day"),
        ];
        let rule = PurchaseRule::default();
        for (json, day, reason) in cases {
            let error = read(&json, &day, &rule).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(reason), "{error:?}, not {reason}");
        }
        let without_control = whole.replace("\"control\"", "\"uncontrolled\"");
        assert!(read(&without_control, &DAY, &rule).is_ok_and(|(data, _)| data.control.is_none()));
    }
}
