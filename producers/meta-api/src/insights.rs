use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use chrono::NaiveDate;
use rust_decimal::Decimal;

use crate::client::{MetaApi, authorize};
use crate::errors::Error;
use crate::gate::Gate;
use crate::json::{Object, unquoted};
use crate::list::{Page, Problem};
use crate::paging::{self, Doubles, Question};
use crate::patience::{Observer, Progress};
use crate::proof::AccessToken;
use crate::report;
use crate::rows::Rows;

/// How often a window starts over because its rows moved between two pages.
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

/// Who asks about which ad account.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    pub token: &'a AccessToken,
    /// `act_…`.
    pub external_id: &'a str,
    /// Who lets the requests out; without one each call has its own patience.
    pub gate: Option<&'a dyn Gate>,
    /// Told of each page, and where there is no gate of each wait before it begins.
    pub observer: Observer<'a>,
}

/// How a window is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows a page.
    pub page_limit: u32,
    pub way: Way,
    /// The most pages of a window, of which no day is complete before the last page: what they hold is in memory. `None` where
    /// all are to be read, however many there are.
    pub max_pages: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Answered at once, page by page.
    Pages,
    /// A report that Meta makes first: slower, and for windows of any size.
    Report,
}

/// Meta's answer about one ad account on one day, complete to its last page.
#[derive(Debug, Default)]
pub struct DayAnswer {
    pub date: NaiveDate,
    /// One row an ad, each the JSON that Meta sent, byte for byte, in the order of its pages. An ad comes twice only
    /// where Meta insists on two different rows for it.
    pub rows: Rows,
    /// The values of `account_currency` in the rows, each once.
    pub currencies: Vec<String>,
    /// Answers that the rows were read from, together with those of the window's other days; 1 for a window without
    /// rows.
    pub pages: u32,
}

/// The unfiltered account-level total of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTotal {
    /// In the ad account's currency, a decimal number as Meta wrote it.
    pub spend: String,
    pub impressions: i64,
}

impl MetaApi {
    /// Every ad's row that passes the filter, of each day of a window (days of the ad account's time zone), in one go.
    /// The answer has every day of the window, oldest first, also those without rows.
    ///
    /// # Errors
    /// Each of [`Error`]; nothing is returned unless the window's last page was read, because Meta promises no order
    /// across days. [`Error::LargeWindow`] and [`Error::TooMuchData`] want another [`Shape`] or a shorter window: the same is never asked for
    /// again here.
    pub async fn insights(
        &self,
        access: &Access<'_>,
        window: RangeInclusive<NaiveDate>,
        query: &InsightsQuery,
        shape: Shape,
    ) -> Result<Vec<DayAnswer>, Error> {
        let external_id = access.external_id;
        let about = format!("ad account {external_id} {}", in_words(&window));
        let auth = authorize(access.token, external_id, &about)?;
        let mut path = format!("{external_id}/insights");
        let mut parameters = window_parameters(&window, query);
        let mut patience = self.patience(about.clone(), access.observer).behind(access.gate);
        let page_limit = shape.page_limit.max(1);
        let (mut starts, mut orders) = (1, 0);
        let ordered = (path.clone(), parameters.clone());
        if shape.way == Way::Report {
            parameters.clear();
        }
        loop {
            if shape.way == Way::Report {
                let (path_of_order, parameters) = (&ordered.0, &ordered.1);
                let id = self.complete_report(&auth, path_of_order, parameters, &mut orders, &mut patience).await?;
                path = format!("{id}/insights");
            }
            let window = window.clone();
            let (parameters, most_pages) = (&parameters, shape.max_pages);
            let question = Question { auth: &auth, path: &path, parameters, window, page_limit, most_pages };
            let doubles = if starts < MAX_STARTS { Doubles::StartOver } else { Doubles::Keep };
            match paging::read_window(self, &question, doubles, &mut patience).await {
                Ok(days) => return Ok(days),
                Err(paging::Stop::RowsMoved { ad_id, date }) => {
                    starts += 1;
                    tracing::info!(about, ad_id, %date, "an ad came twice: starting over");
                    (access.observer)(Progress::StartedOver { ad_id });
                }
                Err(paging::Stop::Error(Error::TooMuchData { about, refusal, .. })) => {
                    return Err(Error::TooMuchData { about, page_limit: Some(page_limit), refusal });
                }
                // A report is kept for a while only.
                Err(paging::Stop::Error(Error::WrongRequest { refusal, .. }))
                    if shape.way == Way::Report && refusal.is_of_unknown() && orders < report::MAX_ORDERS =>
                {
                    tracing::info!(about, %refusal, "the report is gone: ordering it again");
                }
                Err(paging::Stop::Error(error)) => return Err(error),
            }
        }
    }

    /// The ad account's total of each day of a window over all its ads, whatever their status.
    ///
    /// Meta has no row for a day without delivery: it was asked, and knows of none, so that the total is zero. The same
    /// goes for a metric that the row leaves out, as Meta leaves out what is empty.
    pub async fn control_totals(
        &self,
        access: &Access<'_>,
        window: RangeInclusive<NaiveDate>,
    ) -> Result<Totals, Error> {
        let external_id = access.external_id;
        let about = format!("the control total of ad account {external_id} {}", in_words(&window));
        let auth = authorize(access.token, external_id, &about)?;
        let mut patience = self.patience(about.clone(), access.observer).behind(access.gate);
        let days = (*window.end() - *window.start()).num_days() + 1;
        let parameters = [
            ("level", "account".to_owned()),
            ("time_increment", "1".to_owned()),
            ("time_range", time_range(&window)),
            ("fields", "spend,impressions,account_currency".to_owned()),
            ("limit", days.to_string()),
        ];
        let answer = self.ask(&auth, &format!("{external_id}/insights"), &parameters, &mut patience).await?;
        let unreadable = |(field, problem): Problem| Error::Unreadable {
            about: about.clone(),
            field,
            problem: auth.clean(&problem),
        };
        let text = answer.text();
        let page = Page::read(&answer, &text.text).map_err(unreadable)?;
        let zero = || ControlTotal { spend: "0".into(), impressions: 0 };
        let all = window.start().iter_days().take_while(|day| day <= window.end());
        let mut totals = Totals { days: all.map(|day| (day, zero())).collect(), currencies: Vec::new() };
        let mut found = HashSet::new();
        for row in &page.rows {
            let (date, total, currency) = control_row(row, &window).map_err(unreadable)?;
            if !found.insert(date) {
                return Err(unreadable(("data".into(), format!("has two rows for {date}"))));
            }
            if let Some(currency) = currency.filter(|currency| !totals.currencies.contains(currency)) {
                totals.currencies.push(auth.clean(&currency));
            }
            totals.days.insert(date, total);
        }
        match page.after {
            Some(_) => Err(unreadable(("data".into(), format!("has more than one row for each of {days} days")))),
            None => Ok(totals),
        }
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
            ("time_range", time_range(&(date..=date))),
            ("fields", "impressions".to_owned()),
            ("limit", "1".to_owned()),
        ];
        let answer = self.ask(&auth, &format!("{external_id}/insights"), &parameters, &mut patience).await?;
        let unreadable = |(field, problem): Problem| Error::Unreadable { about, field, problem: auth.clean(&problem) };
        let text = answer.text();
        Page::read(&answer, &text.text).map(drop).map_err(unreadable)
    }
}

/// The control totals of a window.
#[derive(Debug)]
pub struct Totals {
    /// Every day of the window.
    pub days: BTreeMap<NaiveDate, ControlTotal>,
    /// The values of `account_currency` in the rows, each once.
    pub currencies: Vec<String>,
}

fn control_row(
    row: &str,
    window: &RangeInclusive<NaiveDate>,
) -> Result<(NaiveDate, ControlTotal, Option<String>), Problem> {
    let row = Object::parse(row).ok_or_else(|| ("data".to_owned(), "has a row that is no JSON object".to_owned()))?;
    let date = paging::day_of(row.get("date_start"), window).map_err(|problem| ("date_start".to_owned(), problem))?;
    // An empty text says no more than a metric that is left out.
    let said = |key| row.get(key).map(unquoted).filter(|text| !text.is_empty());
    let spend = said("spend").unwrap_or("0");
    if spend.parse::<Decimal>().is_err() {
        return Err(("spend".into(), format!("is {spend:?}, not a decimal number")));
    }
    let impressions = match said("impressions") {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| ("impressions".to_owned(), format!("is {text:?}, not a whole number")))?
        }
    };
    Ok((date, ControlTotal { spend: spend.into(), impressions }, row.text("account_currency")))
}

fn in_words(window: &RangeInclusive<NaiveDate>) -> String {
    match (window.start(), window.end()) {
        (since, until) if since == until => format!("on {since}"),
        (since, until) => format!("from {since} to {until}"),
    }
}

fn time_range(window: &RangeInclusive<NaiveDate>) -> String {
    format!(r#"{{"since":"{}","until":"{}"}}"#, window.start(), window.end())
}

fn window_parameters(window: &RangeInclusive<NaiveDate>, query: &InsightsQuery) -> Vec<(&'static str, String)> {
    let mut fields: Vec<&str> = query.fields.iter().map(String::as_str).collect();
    if !fields.contains(&"ad_id") {
        fields.insert(0, "ad_id");
    }
    let mut parameters = vec![
        ("level", "ad".to_owned()),
        ("time_increment", "1".to_owned()),
        ("time_range", time_range(window)),
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
