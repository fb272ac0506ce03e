use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::gate::Quota;

/// What Meta's headers say about the quota. They come with answers and with errors alike.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Usage {
    /// How long until Meta answers again; the longest of what the headers say. `None` when they say nothing, or zero.
    pub(crate) regain_after: Option<Duration>,
    /// The part of it that stands in `Retry-After`, which servers in front of Meta send too.
    pub(crate) retry_after: Option<Duration>,
    /// How full the fullest of the ad account's quotas is, in percent.
    pub(crate) account_percent: Option<u32>,
    /// The same of the app's quotas.
    pub(crate) app_percent: Option<u32>,
}

/// Longer than any quota of Meta's is counted. What a header says beyond it is a mistake, and nobody waits for years.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Usage {
    pub(crate) fn quota(&self) -> Quota {
        Quota { account_percent: self.account_percent, app_percent: self.app_percent }
    }

    /// The fullest of all the quotas, in percent.
    pub(crate) fn percent(&self) -> Option<u32> {
        self.account_percent.max(self.app_percent)
    }

    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut usage = Usage { retry_after: retry_after(headers), ..Usage::default() };
        let mut waits = vec![usage.retry_after];
        for (name, of_app, regain, unit_seconds) in [
            ("x-business-use-case-usage", false, "estimated_time_to_regain_access", 60.0),
            ("x-ad-account-usage", false, "reset_time_duration", 1.0),
            ("x-app-usage", true, "", 0.0),
            ("x-fb-ads-insights-throttle", false, "", 0.0),
        ] {
            for header in headers.get_all(name) {
                // A header that does not parse says nothing; it is no reason to lose the answer it came with.
                let Ok(json) = serde_json::from_slice::<Value>(header.as_bytes()) else { continue };
                walk(&json, 0, &mut |key, number| {
                    if key == regain {
                        waits.push(Duration::try_from_secs_f64(number * unit_seconds).ok());
                    } else if is_percentage(key) {
                        let percent = if of_app || key == "app_id_util_pct" {
                            &mut usage.app_percent
                        } else {
                            &mut usage.account_percent
                        };
                        // Saturating: a float that is out of range becomes the nearest number.
                        *percent = (*percent).max(Some(number as u32));
                    }
                });
            }
        }
        usage.regain_after = waits.into_iter().flatten().filter(|wait| !wait.is_zero()).max().map(|w| w.min(LONGEST));
        usage.retry_after = usage.retry_after.map(|wait| wait.min(LONGEST));
        usage
    }
}

fn is_percentage(key: &str) -> bool {
    matches!(key, "call_count" | "total_cputime" | "total_time" | "acc_id_util_pct" | "app_id_util_pct")
}

/// Visits every number under its key, however deep: `x-business-use-case-usage` holds lists under the ids it is about.
fn walk(json: &Value, depth: u8, visit: &mut impl FnMut(&str, f64)) {
    match json {
        Value::Object(map) if depth < 4 => {
            for (key, value) in map {
                let number = value.as_f64().or_else(|| value.as_str().and_then(|s| s.parse().ok()));
                match number {
                    Some(number) => visit(key, number),
                    None => walk(value, depth + 1, visit),
                }
            }
        }
        Value::Array(list) if depth < 4 => list.iter().for_each(|value| walk(value, depth + 1, visit)),
        _ => {}
    }
}

/// Seconds, or a date, which is compared with the server's own `Date`: this crate has no clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds)).filter(|wait| !wait.is_zero());
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    (at - now).to_std().ok().filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_their_units() {
        let buc = r#"{"1001":[{"type":"ads_insights","call_count":12,"total_cputime":3,"total_time":99,"estimated_time_to_regain_access":7,"ads_api_access_tier":"standard_access"}]}"#;
        let seconds = |s| Some(Duration::from_secs(s));
        for (headers, regain_after, percent) in [
            (vec![], None, None),
            (vec![("x-business-use-case-usage", buc)], seconds(420), Some(99)),
            (
                vec![("x-ad-account-usage", r#"{"acc_id_util_pct":9.67,"reset_time_duration":300}"#)],
                seconds(300),
                Some(9),
            ),
            (vec![("x-ad-account-usage", r#"{"acc_id_util_pct":100,"reset_time_duration":0}"#)], None, Some(100)),
            (vec![("x-app-usage", r#"{"call_count":28,"total_time":25,"total_cputime":25}"#)], None, Some(28)),
            (vec![("x-fb-ads-insights-throttle", r#"{"app_id_util_pct":"50.5","acc_id_util_pct":0}"#)], None, Some(50)),
            (vec![("x-business-use-case-usage", buc), ("retry-after", "500")], seconds(500), Some(99)),
            (vec![("x-app-usage", "not json"), ("retry-after", "0")], None, None),
            (
                vec![("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT"), ("date", "Wed, 21 Oct 2026 07:28:00 GMT")],
                seconds(30),
                None,
            ),
            (vec![("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")], None, None),
            (vec![("retry-after", "18446744073709551615")], seconds(24 * 3600), None),
            (vec![("x-ad-account-usage", r#"{"reset_time_duration":1e15}"#)], seconds(24 * 3600), None),
            (vec![("x-ad-account-usage", r#"{"reset_time_duration":-1}"#)], None, None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, value.parse().unwrap());
            }
            let usage = Usage::read(&map);
            assert_eq!((usage.regain_after, usage.percent()), (regain_after, percent), "{headers:?}");
        }
    }

    #[test]
    fn quotas_are_the_ad_accounts_or_the_apps() {
        let mut map = HeaderMap::new();
        map.append("x-app-usage", r#"{"call_count":81,"total_time":2}"#.parse().unwrap());
        map.append("x-fb-ads-insights-throttle", r#"{"app_id_util_pct":82,"acc_id_util_pct":11}"#.parse().unwrap());
        map.append("x-ad-account-usage", r#"{"acc_id_util_pct":12.5}"#.parse().unwrap());
        let usage = Usage::read(&map);
        assert_eq!((usage.account_percent, usage.app_percent), (Some(12), Some(82)));
    }
}
