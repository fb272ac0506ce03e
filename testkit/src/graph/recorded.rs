use chrono::NaiveDate;

/// One question, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub method: String,
    /// Without the query: `/v25.0/act_1/insights`.
    pub path: String,
    /// Decoded, in its order.
    pub query: Vec<(String, String)>,
    /// The value of the header.
    pub authorization: Option<String>,
    /// A key or a value of the query is, or holds, a token: that must never happen.
    pub token_in_url: bool,
}

impl Recorded {
    /// The first value of a parameter.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub fn is_insights(&self) -> bool {
        self.path.ends_with("/insights")
    }

    /// `act_…`, or whatever stands in its place.
    pub fn external_id(&self) -> &str {
        self.path.split('/').nth(2).unwrap_or_default()
    }

    /// The first day that an insights question asks for.
    pub fn since(&self) -> Option<NaiveDate> {
        let range: serde_json::Value = serde_json::from_str(self.parameter("time_range")?).ok()?;
        range.get("since")?.as_str()?.parse().ok()
    }

    pub(super) fn limit(&self) -> usize {
        self.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(25)
    }
}
