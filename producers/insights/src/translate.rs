//! An answer of Meta's becomes the data of one event. Pure: no clock, no ids made here.

use accounts::{Integration, Origin};
use chrono::NaiveDate;
use events::{AdAccount, ControlTotal, InsightsData, Request};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::{Answer, Asked};

/// Why an answer does not become an event.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TranslateError {
    #[error(
        "ad account {external_id} answered in {found}, it was connected in {wanted}: nothing is published, two currencies \
         are never summed"
    )]
    Currency { external_id: String, found: String, wanted: String },
    #[error(
        "ad account {external_id} had {field} {before} when it was connected and has {now} now: its days would mean two \
         things, so nothing is published"
    )]
    Changed { external_id: String, field: &'static str, before: String, now: String },
}

/// Whether an ad account still has the currency and the time zone it was connected with. A day without rows would not
/// show it.
pub fn check_unchanged(integration: &Integration, found: &meta_api::AdAccount) -> Result<(), TranslateError> {
    for (field, before, now) in [
        ("currency", &integration.currency, &found.currency),
        ("time zone", &integration.timezone_name, &found.timezone_name),
    ] {
        if before != now {
            let (external_id, before, now) = (integration.external_id.clone(), before.clone(), now.clone());
            return Err(TranslateError::Changed { external_id, field, before, now });
        }
    }
    Ok(())
}

/// The two fields of a row that decide its place; the rest is not decoded.
#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    ad_id: &'a RawValue,
    #[serde(borrow)]
    account_currency: Option<&'a RawValue>,
}

/// The data of a day's event. Rows are put into the order of their ad ids, because Meta promises none: so that equal
/// answers have equal bytes.
pub fn data<'a>(
    integration: &'a Integration,
    date: NaiveDate,
    asked: &'a Asked,
    answer: &'a Answer,
) -> Result<InsightsData<'a>, TranslateError> {
    let mut rows: Vec<(&str, &RawValue)> = Vec::with_capacity(answer.rows.len());
    for row in &answer.rows {
        // The client has refused rows without an id; one that does not parse here goes on as it is, and the fold says why.
        let keys = serde_json::from_str::<Keys<'_>>(row.get()).ok();
        let currency = keys.as_ref().and_then(|keys| keys.account_currency).map(unquoted).filter(|c| *c != "null");
        if let Some(found) = currency.filter(|found| *found != integration.currency) {
            return Err(TranslateError::Currency {
                external_id: integration.external_id.clone(),
                found: found.to_owned(),
                wanted: integration.currency.clone(),
            });
        }
        rows.push((keys.map_or("", |keys| unquoted(keys.ad_id)), row));
    }
    rows.sort_by_key(|(ad_id, _)| *ad_id);
    Ok(InsightsData {
        account_id: integration.account_id,
        ad_account: AdAccount {
            id: integration.ad_account_id,
            external_id: integration.external_id.as_str().into(),
            currency: integration.currency.as_str().into(),
            timezone_name: integration.timezone_name.as_str().into(),
        },
        date,
        request: Request {
            api_version: match integration.origin {
                Origin::Meta => asked.api_version.as_str().into(),
                // An event says of itself that nobody at Meta said this.
                Origin::Stub => "stub".into(),
            },
            fields: texts(&asked.query.fields),
            effective_status: asked.query.effective_status.as_deref().map(texts),
            attribution_windows: texts(&asked.query.attribution_windows),
        },
        control: answer
            .control
            .as_ref()
            .map(|total| ControlTotal { spend: total.spend.clone(), impressions: total.impressions }),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    })
}

fn texts(values: &[String]) -> Vec<std::borrow::Cow<'_, str>> {
    values.iter().map(|value| value.as_str().into()).collect()
}

fn unquoted(raw: &RawValue) -> &str {
    raw.get().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use accounts::Status;
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    fn integration() -> Integration {
        Integration {
            account_id: Uuid::from_u128(1),
            id: Uuid::from_u128(2),
            origin: Origin::Meta,
            status: Status::Connected,
            status_reason: None,
            connected_at: DateTime::<Utc>::UNIX_EPOCH,
            attribution_window_days: 7,
            ad_account_id: Uuid::from_u128(3),
            external_id: "act_1".into(),
            ad_account_name: "One".into(),
            currency: "EUR".into(),
            timezone_name: "Europe/Berlin".into(),
        }
    }

    fn answer(rows: &[&str]) -> Answer {
        let rows = rows.iter().map(|row| RawValue::from_string((*row).to_owned()).expect("JSON")).collect();
        Answer { rows, pages: 1, control: None }
    }

    fn date() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, 1).expect("a date")
    }

    #[test]
    fn rows_keep_their_bytes_and_get_one_order() {
        let (a, b) = (r#"{ "ad_id" : "9", "ad_name":"\ud83d" }"#, r#"{"ad_id":"10","account_currency":"EUR"}"#);
        let (integration, asked) = (integration(), Asked::default());
        let (one, two) = (answer(&[a, b]), answer(&[b, a]));
        let json = |answer| {
            serde_json::to_string(&data(&integration, date(), &asked, answer).expect("an event")).expect("JSON")
        };
        assert_eq!(json(&one), json(&two));
        assert!(json(&one).contains(a) && json(&one).find(b) < json(&one).find(a));
    }

    #[test]
    fn another_currency_becomes_no_event() {
        let answer = answer(&[r#"{"ad_id":"1","account_currency":"USD"}"#]);
        let (integration, asked) = (integration(), Asked::default());
        let error = data(&integration, date(), &asked, &answer).expect_err("refused");
        let (found, wanted) = ("USD".to_owned(), "EUR".to_owned());
        assert_eq!(error, TranslateError::Currency { external_id: "act_1".into(), found, wanted });
    }
}
