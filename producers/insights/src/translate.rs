//! An answer of Meta's becomes the data of one event. Pure: no clock, no ids made here.

use accounts::{Integration, Origin};
use events::{AdAccount, ControlTotal, InsightsData, Request};

use crate::source::{Asked, Day};

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

/// Whether everything that named a currency named the ad account's.
pub(crate) fn check_currencies(integration: &Integration, found: &[String]) -> Result<(), TranslateError> {
    match found.iter().find(|found| **found != integration.currency) {
        None => Ok(()),
        Some(found) => Err(TranslateError::Currency {
            external_id: integration.external_id.clone(),
            found: found.clone(),
            wanted: integration.currency.clone(),
        }),
    }
}

/// What a day's event says, apart from its rows.
pub(crate) fn head<'a>(integration: &'a Integration, asked: &'a Asked, day: &'a Day) -> InsightsData<'a> {
    InsightsData {
        account_id: integration.account_id,
        ad_account: AdAccount {
            id: integration.ad_account_id,
            external_id: integration.external_id.as_str().into(),
            currency: integration.currency.as_str().into(),
            timezone_name: integration.timezone_name.as_str().into(),
        },
        date: day.answer.date,
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
        control: day
            .control
            .as_ref()
            .map(|total| ControlTotal { spend: total.spend.clone(), impressions: total.impressions }),
        rows: Vec::new(),
    }
}

fn texts(values: &[String]) -> Vec<std::borrow::Cow<'_, str>> {
    values.iter().map(|value| value.as_str().into()).collect()
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

    #[test]
    fn another_currency_becomes_no_event() {
        let (integration, euro, dollar) = (integration(), "EUR".to_owned(), "USD".to_owned());
        assert_eq!(check_currencies(&integration, &[]), Ok(()));
        assert_eq!(check_currencies(&integration, std::slice::from_ref(&euro)), Ok(()));
        let error = check_currencies(&integration, &[euro.clone(), dollar.clone()]);
        assert_eq!(error, Err(TranslateError::Currency { external_id: "act_1".into(), found: dollar, wanted: euro }));
    }
}
