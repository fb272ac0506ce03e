//! Who is asked: Meta, or the stub that stands in for it. The rest of the room does not know which.

use accounts::{FoundAdAccount, Integration, Tenant};
use chrono::NaiveDate;
use meta_api::{ControlTotal, InsightsQuery, MetaApi, Observer};
use secrecy::SecretString;
use serde_json::value::RawValue;

use crate::stub;

/// What is asked about every day, and written into every event.
#[derive(Debug, Clone)]
pub struct Asked {
    pub api_version: String,
    pub query: InsightsQuery,
}

/// What the fold reads, and the names by which people know the ads.
const FIELDS: [&str; 13] = [
    "account_currency",
    "campaign_id",
    "campaign_name",
    "adset_id",
    "adset_name",
    "ad_id",
    "ad_name",
    "spend",
    "impressions",
    "clicks",
    "inline_link_clicks",
    "actions",
    "action_values",
];

impl Default for Asked {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Asked {
            api_version: "v25.0".into(),
            query: InsightsQuery {
                fields: texts(&FIELDS),
                effective_status: Some(texts(&["ACTIVE", "PAUSED"])),
                attribution_windows: texts(&["1d_click", "7d_click", "1d_view"]),
            },
        }
    }
}

/// What was said about one day.
#[derive(Debug)]
pub struct Answer {
    pub rows: Vec<Box<RawValue>>,
    /// How many answers the rows were read from.
    pub pages: u32,
    /// `None` when the total could not be had; then nothing is proven by it.
    pub control: Option<ControlTotal>,
}

pub enum Source {
    Meta(Box<MetaApi>),
    Stub,
}

impl Source {
    /// Reads an ad account that is to be connected to a tenant, or is.
    pub async fn ad_account(
        &self,
        token: &SecretString,
        external_id: &str,
        tenant: &Tenant,
    ) -> Result<FoundAdAccount, meta_api::Error> {
        match self {
            Source::Stub => stub::ad_account(external_id, &tenant.currency, &tenant.timezone),
            Source::Meta(api) => {
                let found = api.ad_account(token, external_id).await?;
                Ok(FoundAdAccount {
                    external_id: found.external_id,
                    name: found.name,
                    currency: found.currency,
                    timezone_name: found.timezone_name,
                    status: status_word(found.account_status),
                })
            }
        }
    }

    /// Asks for a day's rows and, beside them, for its control total.
    ///
    /// A control total that Meta refuses is left out: the rows are good without it.
    pub(crate) async fn day(
        &self,
        token: &SecretString,
        integration: &Integration,
        date: NaiveDate,
        today: NaiveDate,
        asked: &Asked,
        observer: Observer<'_>,
    ) -> Result<Answer, meta_api::Error> {
        let api = match self {
            Source::Stub => return Ok(stub::day(integration, date, today, &asked.query)),
            Source::Meta(api) => api,
        };
        let external_id = &integration.external_id;
        let (day, control) = tokio::join!(
            api.insights_day(token, external_id, date, &asked.query, observer),
            api.control_total(token, external_id, date, observer),
        );
        let day = day?;
        let control = match control {
            Ok(total) => Some(total),
            Err(
                error @ (meta_api::Error::WrongRequest { .. }
                | meta_api::Error::TooMuchData { .. }
                | meta_api::Error::Unreadable { .. }),
            ) => {
                tracing::warn!(%error, "a day goes without its control total");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Answer { rows: day.rows, pages: day.pages, control })
    }
}

/// Meta's `account_status` in words.
fn status_word(status: Option<i64>) -> String {
    let Some(status) = status else { return "unknown".into() };
    match status {
        1 => "active".into(),
        2 => "disabled".into(),
        3 => "unsettled".into(),
        7 => "risk_review".into(),
        8 => "pending_settlement".into(),
        9 => "grace_period".into(),
        100 => "pending_closure".into(),
        101 => "closed".into(),
        other => format!("status_{other}"),
    }
}
