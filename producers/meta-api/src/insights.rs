use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::client::{MetaApi, authorize};
use crate::errors::Error;
use crate::json::{Object, unquoted};
use crate::list::Page;
use crate::paging::{self, Question};
use crate::patience::{Observer, Progress, ThrottleStats};
use crate::proof::AccessToken;

/// The smallest page that is asked for when Meta finds a page too much data.
const PAGE_FLOOR: u32 = 25;
/// How often a day starts over because its rows moved between two pages.
const MAX_STARTS: u32 = 3;

/// What is asked about a day, the same for every day of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsightsQuery {
    /// Names of Meta's fields. `ad_id` is asked for whether it stands here or not.
    pub fields: Vec<String>,
    /// Values of `ad.effective_status`; `None` for every status, which sends no filter at all.
    pub effective_status: Option<Vec<String>>,
    /// Such as `7d_click`; Meta's own default when empty.
    pub attribution_windows: Vec<String>,
}

/// Meta's answer about one ad account on one day, complete to its last page.
#[derive(Debug)]
pub struct DayAnswer {
    /// One row an ad, each the JSON that Meta sent, byte for byte, in the order of its pages. No ad comes twice.
    pub rows: Vec<Box<RawValue>>,
    /// Answers that the rows were read from; 1 for a day without rows.
    pub pages: u32,
    pub throttle: ThrottleStats,
}

/// The unfiltered account-level total of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTotal {
    /// In the ad account's currency, a decimal number as Meta wrote it.
    pub spend: String,
    pub impressions: i64,
    pub throttle: ThrottleStats,
}

impl MetaApi {
    /// Every ad's row of one day (of the ad account's time zone) that passes the filter.
    ///
    /// A day without rows is an answer too. `observer` is told of each page, and of each wait before it begins.
    ///
    /// # Errors
    /// Each of [`Error`]; nothing of a day is returned unless its last page was read.
    pub async fn insights_day(
        &self,
        token: &AccessToken,
        external_id: &str,
        date: NaiveDate,
        query: &InsightsQuery,
        observer: Observer<'_>,
    ) -> Result<DayAnswer, Error> {
        let about = format!("ad account {external_id} on {date}");
        let auth = authorize(token, external_id, &about)?;
        let path = format!("{external_id}/insights");
        let parameters = day_parameters(date, query);
        let mut patience = self.patience(about.clone(), observer);
        let mut page_limit = self.config.page_limit.max(1);
        let mut starts = 1;
        loop {
            let question = Question { auth: &auth, path: &path, parameters: &parameters, date, page_limit };
            match paging::read_day(self, &question, &mut patience).await {
                Ok(read) => {
                    return Ok(DayAnswer { rows: read.rows, pages: read.pages, throttle: patience.throttle });
                }
                Err(paging::Stop::Error(Error::TooMuchData { about, refusal, .. })) => {
                    if page_limit <= PAGE_FLOOR {
                        return Err(Error::TooMuchData { about, page_limit, refusal });
                    }
                    // Cursors belong to a page size, so the day starts over.
                    page_limit = (page_limit / 2).max(PAGE_FLOOR);
                    tracing::info!(about, page_limit, %refusal, "too much data: starting over with smaller pages");
                    observer(Progress::SmallerPages { page_limit });
                }
                Err(paging::Stop::RowsMoved { ad_id }) if starts < MAX_STARTS => {
                    starts += 1;
                    tracing::info!(about, ad_id, "an ad came twice: starting the day over");
                    observer(Progress::StartedOver { ad_id });
                }
                Err(paging::Stop::RowsMoved { ad_id }) => {
                    let problem = format!("{ad_id} comes twice on one day, also after {starts} attempts");
                    return Err(Error::Unreadable { about, field: "ad_id".into(), problem });
                }
                Err(paging::Stop::Error(error)) => return Err(error),
            }
        }
    }

    /// The ad account's total of one day over all its ads, whatever their status.
    ///
    /// Meta has no row for a day without delivery: it was asked, and knows of none, so that the total is zero. The same
    /// goes for a metric that the row leaves out, as Meta leaves out what is empty.
    pub async fn control_total(
        &self,
        token: &AccessToken,
        external_id: &str,
        date: NaiveDate,
        observer: Observer<'_>,
    ) -> Result<ControlTotal, Error> {
        let about = format!("the control total of ad account {external_id} on {date}");
        let auth = authorize(token, external_id, &about)?;
        let mut patience = self.patience(about.clone(), observer);
        let parameters = [
            ("level", "account".to_owned()),
            ("time_increment", "1".to_owned()),
            ("time_range", time_range(date)),
            ("fields", "spend,impressions".to_owned()),
        ];
        let answer = self.ask(&auth, &format!("{external_id}/insights"), &parameters, &mut patience).await?;
        let unreadable = |field: &str, problem: &str| Error::Unreadable {
            about: about.clone(),
            field: field.into(),
            problem: auth.clean(problem),
        };

        let page = Object::parse(&answer.body).ok_or_else(|| unreadable("the answer", "is not a JSON object"))?;
        let data = page.get("data").and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let data = data.ok_or_else(|| unreadable("data", "is missing or no list"))?;
        let throttle = patience.throttle;
        let row = match data.as_slice() {
            [] => return Ok(ControlTotal { spend: "0".into(), impressions: 0, throttle }),
            [row] => Object::parse(row.get()).ok_or_else(|| unreadable("data[0]", "is not a JSON object"))?,
            rows => return Err(unreadable("data", &format!("has {} rows, not one for the day", rows.len()))),
        };
        paging::check_date(row.get("date_start"), date).map_err(|problem| unreadable("date_start", &problem))?;
        let spend = row.get("spend").map_or("0", unquoted);
        if spend.parse::<Decimal>().is_err() {
            return Err(unreadable("spend", &format!("is {spend:?}, not a decimal number")));
        }
        let impressions = match row.get("impressions") {
            None => 0,
            Some(raw) => unquoted(raw)
                .parse()
                .map_err(|_| unreadable("impressions", &format!("is {:?}, not a whole number", unquoted(raw))))?,
        };
        Ok(ControlTotal { spend: spend.into(), impressions, throttle })
    }

    /// Proves that insights can be read, with the cheapest question there is: one day of the whole ad account. A day
    /// without delivery proves it too.
    pub async fn insights_readable(
        &self,
        token: &AccessToken,
        external_id: &str,
        date: NaiveDate,
    ) -> Result<(), Error> {
        let about = format!("the results of ad account {external_id}");
        let auth = authorize(token, external_id, &about)?;
        let mut patience = self.short_patience(about.clone(), &|_| ());
        let parameters = [
            ("level", "account".to_owned()),
            ("time_increment", "1".to_owned()),
            ("time_range", time_range(date)),
            ("fields", "impressions".to_owned()),
            ("limit", "1".to_owned()),
        ];
        let answer = self.ask(&auth, &format!("{external_id}/insights"), &parameters, &mut patience).await?;
        let unreadable =
            |(field, problem): (String, String)| Error::Unreadable { about, field, problem: auth.clean(&problem) };
        Page::parse(&answer.body).map(drop).map_err(unreadable)
    }
}

fn time_range(date: NaiveDate) -> String {
    format!(r#"{{"since":"{date}","until":"{date}"}}"#)
}

fn day_parameters(date: NaiveDate, query: &InsightsQuery) -> Vec<(&'static str, String)> {
    let mut fields: Vec<&str> = query.fields.iter().map(String::as_str).collect();
    if !fields.contains(&"ad_id") {
        fields.insert(0, "ad_id");
    }
    let mut parameters = vec![
        ("level", "ad".to_owned()),
        ("time_increment", "1".to_owned()),
        ("time_range", time_range(date)),
        ("fields", fields.join(",")),
    ];
    if let Some(statuses) = &query.effective_status {
        let filter = serde_json::json!([{"field": "ad.effective_status", "operator": "IN", "value": statuses}]);
        parameters.push(("filtering", filter.to_string()));
    }
    if !query.attribution_windows.is_empty() {
        parameters.push(("action_attribution_windows", serde_json::json!(query.attribution_windows).to_string()));
    }
    parameters
}
