//! Who is asked: Meta, or the stub that stands in for it. The rest of the room does not know which.

use std::ops::RangeInclusive;

use accounts::{Integration, Origin};
use chrono::NaiveDate;
use meta_api::{Access, ControlTotal, DayAnswer, InsightsQuery, MetaApi, Shape};

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
pub struct Day {
    pub answer: DayAnswer,
    /// `None` when the total could not be had; then nothing is proven by it.
    pub control: Option<ControlTotal>,
}

/// What was said about a window.
#[derive(Debug)]
pub(crate) struct Window {
    /// Every day of it, oldest first.
    pub(crate) days: Vec<Day>,
    /// Every currency that was named, by a row or by a total.
    pub(crate) currencies: Vec<String>,
}

/// Which window is asked for, and how.
pub(crate) struct Ask<'a> {
    pub(crate) window: RangeInclusive<NaiveDate>,
    pub(crate) shape: Shape,
    pub(crate) asked: &'a Asked,
    pub(crate) today: NaiveDate,
}

/// Who can be asked. Each integration says which of the two answers for it.
pub struct Sources {
    /// `None` in stub mode: then no request leaves this process, whatever is connected.
    pub meta: Option<MetaApi>,
}

impl Sources {
    /// Reads an ad account that is connected, to see whether it still is what it was; `None` for one of the stub's,
    /// which has whatever it was connected with.
    pub(crate) async fn connected(
        &self,
        access: &Access<'_>,
        integration: &Integration,
    ) -> Result<Option<meta_api::AdAccount>, meta_api::Error> {
        match (integration.origin, &self.meta) {
            (Origin::Meta, Some(api)) => Ok(Some(api.ad_account(access).await?)),
            _ => Ok(None),
        }
    }

    /// Asks for the control totals of a window, and then for its rows: one question after the other, so that a throttle
    /// of the first keeps the second back.
    ///
    /// Control totals that Meta refuses are left out: the rows are good without them.
    pub(crate) async fn window(
        &self,
        access: &Access<'_>,
        integration: &Integration,
        ask: &Ask<'_>,
    ) -> Result<Window, meta_api::Error> {
        let Ask { window, shape, asked, today } = ask;
        // A claim in stub mode takes no run of Meta's, so that no integration of Meta's comes here without a client.
        let (Origin::Meta, Some(api)) = (integration.origin, &self.meta) else {
            let days = window.start().iter_days().take_while(|day| day <= window.end());
            let days = days.map(|date| stub::day(integration, date, *today, &asked.query)).collect();
            return Ok(Window { days, currencies: Vec::new() });
        };
        let totals = match api.control_totals(access, window.clone()).await {
            Ok(totals) => Some(totals),
            Err(
                error @ (meta_api::Error::WrongRequest { .. }
                | meta_api::Error::TooMuchData { .. }
                | meta_api::Error::Unreadable { .. }),
            ) => {
                tracing::warn!(%error, "days go without their control total");
                None
            }
            Err(error) => return Err(error),
        };
        let answers = api.insights(access, window.clone(), &asked.query, *shape).await?;
        let (mut totals, mut currencies) = totals.map_or_else(Default::default, |all| (all.days, all.currencies));
        for currency in answers.iter().flat_map(|answer| &answer.currencies) {
            if !currencies.contains(currency) {
                currencies.push(currency.clone());
            }
        }
        let day = |answer: DayAnswer| Day { control: totals.remove(&answer.date), answer };
        Ok(Window { days: answers.into_iter().map(day).collect(), currencies })
    }
}
