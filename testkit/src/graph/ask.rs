//! Reading an insights question as strictly as Meta does.

use chrono::{Months, NaiveDate};
use serde::Deserialize;

use super::refusal::Refusal;
use super::world::World;

/// Every value of `ad.effective_status`.
pub const STATUSES: [&str; 12] = [
    "ACTIVE",
    "PAUSED",
    "DELETED",
    "PENDING_REVIEW",
    "DISAPPROVED",
    "PREAPPROVED",
    "PENDING_BILLING_INFO",
    "CAMPAIGN_PAUSED",
    "ARCHIVED",
    "ADSET_PAUSED",
    "IN_PROCESS",
    "WITH_ISSUES",
];

/// The versions of the API that have not expired.
pub const VERSIONS: [&str; 2] = ["v25.0", "v26.0"];

const WINDOWS: [&str; 9] =
    ["1d_click", "7d_click", "28d_click", "1d_view", "7d_view", "28d_view", "1d_ev", "dda", "default"];

/// The fields that this fake knows; Meta knows some more.
const FIELDS: [&str; 19] = [
    "account_id",
    "account_name",
    "account_currency",
    "campaign_id",
    "campaign_name",
    "adset_id",
    "adset_name",
    "ad_id",
    "ad_name",
    "date_start",
    "date_stop",
    "spend",
    "impressions",
    "reach",
    "clicks",
    "inline_link_clicks",
    "actions",
    "action_values",
    "attribution_setting",
];

/// Parameters of the question that change nothing here.
const IGNORED: [&str; 3] = ["use_unified_attribution_setting", "use_account_attribution_setting", "appsecret_proof"];

/// What is asked of `/insights`, paging apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    pub level: Level,
    pub since: NaiveDate,
    pub until: NaiveDate,
    pub fields: Vec<String>,
    /// `None` for every status.
    pub statuses: Option<Vec<String>>,
    pub windows: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    Ad,
    Account,
}

/// Which of the rows.
pub(super) struct Paging {
    pub(super) limit: usize,
    pub(super) after: Option<String>,
}

pub(super) fn parse<'a>(
    parameters: impl Iterator<Item = &'a (String, String)>,
    world: &World,
) -> Result<(Ask, Paging), Refusal> {
    let day = NaiveDate::default();
    let mut ask =
        Ask { level: Level::Account, since: day, until: day, fields: Vec::new(), statuses: None, windows: Vec::new() };
    let mut paging = Paging { limit: 25, after: None };
    let (mut has_range, mut daily) = (false, false);
    for (key, value) in parameters {
        match key.as_str() {
            "level" => {
                ask.level = match value.as_str() {
                    "ad" => Level::Ad,
                    "account" => Level::Account,
                    _ => return Err(Refusal::parameter("level must be one of the following values: ad, account")),
                }
            }
            "time_range" => {
                (ask.since, ask.until) = time_range(value, world.today)?;
                has_range = true;
            }
            "time_increment" => daily = value == "1",
            "fields" => ask.fields = value.split(',').filter(|field| !field.is_empty()).map(str::to_owned).collect(),
            "filtering" => ask.statuses = filtering(value)?,
            "action_attribution_windows" => ask.windows = windows(value)?,
            "limit" => paging.limit = limit(value)?,
            "after" => paging.after = Some(value.clone()),
            // Refused elsewhere: the token belongs into the header.
            "access_token" => {}
            key if IGNORED.contains(&key) => {}
            key => return Err(Refusal::parameter(&format!("the fake Graph API does not know the parameter {key}"))),
        }
    }
    let unknown: Vec<_> = ask.fields.iter().map(String::as_str).filter(|field| !FIELDS.contains(field)).collect();
    if !unknown.is_empty() {
        let verb = if unknown.len() == 1 { "is" } else { "are" };
        return Err(Refusal::parameter(&format!("{} {verb} not valid for fields param", unknown.join(", "))));
    }
    if !has_range || !daily {
        return Err(Refusal::parameter("the fake Graph API wants a time_range and time_increment=1"));
    }
    Ok((ask, paging))
}

pub(super) fn limit(text: &str) -> Result<usize, Refusal> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| Refusal::parameter("limit must be a positive number"))
}

fn time_range(json: &str, today: Option<NaiveDate>) -> Result<(NaiveDate, NaiveDate), Refusal> {
    #[derive(Deserialize)]
    struct Range {
        since: NaiveDate,
        until: NaiveDate,
    }
    let Range { since, until } = serde_json::from_str(json)
        .map_err(|_| Refusal::parameter("time_range must be a JSON object with since and until as YYYY-MM-DD"))?;
    if since > until {
        return Err(Refusal::parameter("time_range: since must not be after until"));
    }
    if today.is_some_and(|today| since < today - Months::new(37)) {
        return Err(Refusal::too_old());
    }
    Ok((since, until))
}

fn filtering(json: &str) -> Result<Option<Vec<String>>, Refusal> {
    #[derive(Deserialize)]
    struct Filter {
        field: String,
        operator: String,
        value: Vec<String>,
    }
    let filters: Vec<Filter> =
        serde_json::from_str(json).map_err(|_| Refusal::parameter("filtering must be a JSON list of filters"))?;
    let mut statuses: Option<Vec<String>> = None;
    for Filter { field, operator, value } in filters {
        if field != "ad.effective_status" || operator != "IN" || value.is_empty() {
            return Err(Refusal::parameter(&format!("the fake Graph API does not know the filter {field} {operator}")));
        }
        if let Some(unknown) = value.iter().find(|status| !STATUSES.contains(&status.as_str())) {
            return Err(Refusal::unknown_status(unknown));
        }
        // Filters are joined by "and".
        statuses = Some(match statuses {
            None => value,
            Some(before) => before.into_iter().filter(|status| value.contains(status)).collect(),
        });
    }
    Ok(statuses)
}

fn windows(json: &str) -> Result<Vec<String>, Refusal> {
    let windows: Vec<String> = serde_json::from_str(json)
        .map_err(|_| Refusal::parameter("action_attribution_windows must be a JSON list of windows"))?;
    match windows.iter().find(|window| !WINDOWS.contains(&window.as_str())) {
        Some(window) => Err(Refusal::parameter(&format!("action_attribution_windows must not hold {window}"))),
        None => Ok(windows),
    }
}
