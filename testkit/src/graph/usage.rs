//! The usage headers of an answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::blocks::Quota;

/// How much is used, in percent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) of_ad_account: usize,
    pub(super) of_app: usize,
    /// Until nothing is used any more.
    pub(super) reset_seconds: u64,
}

impl Usage {
    /// Without a quota it grows by one percent with every ten questions, and never so far that anyone had to slow down.
    pub(super) fn of_questions(number: usize) -> Self {
        let percent = (number / 10).min(60);
        Usage { of_ad_account: percent, of_app: percent, reset_seconds: 0 }
    }

    pub(super) fn of_quota(quota: Quota, (of_ad_account, of_app): (usize, usize)) -> Self {
        Usage { of_ad_account: of_ad_account.min(100), of_app: of_app.min(100), reset_seconds: quota.window.as_secs() }
    }

    /// Into the four headers.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let Usage { of_ad_account, of_app, reset_seconds } = self;
        // Meta's percentage of the ad account is no whole number.
        let half = if of_ad_account < 100 { ".5" } else { "" };
        const TIER: &str = r#""ads_api_access_tier":"standard_access""#;
        for (name, value) in [
            (
                "x-business-use-case-usage",
                format!(
                    r#"{{"1001":[{{"type":"ads_insights","call_count":{of_ad_account},"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0,{TIER}}}]}}"#
                ),
            ),
            ("x-app-usage", format!(r#"{{"call_count":{of_app},"total_time":1,"total_cputime":1}}"#)),
            (
                "x-ad-account-usage",
                format!(r#"{{"acc_id_util_pct":{of_ad_account}{half},"reset_time_duration":{reset_seconds},{TIER}}}"#),
            ),
            (
                "x-fb-ads-insights-throttle",
                format!(r#"{{"app_id_util_pct":{of_app},"acc_id_util_pct":{of_ad_account},{TIER}}}"#),
            ),
        ] {
            insert(headers, name, &value);
        }
    }
}

/// Unless it is no header.
pub(super) fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
        headers.insert(name, value);
    }
}
