//! Who is asked: Meta, or the stub that stands in for it. The rest of the room does not know which.

use accounts::{Integration, Origin};
use chrono::NaiveDate;
use meta_api::{AccessToken, ControlTotal, InsightsQuery, MetaApi, Observer};
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

/// Who can be asked. Each integration says which of the two answers for it.
pub struct Sources {
    /// `None` in stub mode: then no request leaves this process, whatever is connected.
    pub meta: Option<MetaApi>,
}

impl Sources {
    /// Reads an ad account that is connected, to see whether it still is what it was; `None` for one of the stub's, which
    /// has whatever it was connected with.
    pub(crate) async fn connected(
        &self,
        token: &AccessToken,
        integration: &Integration,
        observer: Observer<'_>,
    ) -> Result<Option<meta_api::AdAccount>, meta_api::Error> {
        match (integration.origin, &self.meta) {
            (Origin::Meta, Some(api)) => Ok(Some(api.ad_account(token, &integration.external_id, observer).await?)),
            _ => Ok(None),
        }
    }

    /// Asks for a day's rows and, beside them, for its control total.
    ///
    /// A control total that Meta refuses is left out: the rows are good without it.
    pub(crate) async fn day(
        &self,
        token: &AccessToken,
        integration: &Integration,
        date: NaiveDate,
        today: NaiveDate,
        asked: &Asked,
        observer: Observer<'_>,
    ) -> Result<Answer, meta_api::Error> {
        // A claim in stub mode takes no run of Meta's, so that no integration of Meta's comes here without a client.
        let (Origin::Meta, Some(api)) = (integration.origin, &self.meta) else {
            return Ok(stub::day(integration, date, today, &asked.query));
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
