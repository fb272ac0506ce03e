use chrono::NaiveDate;

use super::reports::Report;
use super::world::World;

/// One question, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub method: String,
    /// Without the query: `/v25.0/act_1/insights`.
    pub path: String,
    /// Decoded, in its order.
    pub query: Vec<(String, String)>,
    /// What a POST brought in its body, decoded, in its order.
    pub form: Vec<(String, String)>,
    /// The value of the header.
    pub authorization: Option<String>,
    /// A key or a value of the query is, or holds, a token, a code or the secret of an app: that must never happen. The
    /// token that `/debug_token` is asked about is left out: Meta takes it nowhere else.
    pub token_in_url: bool,
}

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The ad account itself.
    AdAccount,
    /// Rows of ads.
    AdRows,
    /// The row of the whole ad account: the control total.
    AccountRow,
    /// The wish for an asynchronous report.
    ReportStart,
    /// How far a report is.
    ReportStatus,
    /// The rows of a report.
    ReportRows,
    /// The list of the ad accounts that a token sees.
    AdAccounts,
    Permissions,
    /// The token's user.
    Me,
    /// The dialog's pages and its way back.
    Dialog,
    /// A code for a token.
    CodeExchange,
    /// A token for a long-lived one.
    LongLived,
    DebugToken,
}

/// What a question is about. One for a report says less of it than the question that the report answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) external_id: String,
    pub(super) window: Option<(NaiveDate, NaiveDate)>,
}

impl About {
    pub(super) fn read(question: &Recorded, world: &World) -> About {
        match world.reports.get(question.external_id()) {
            Ok(Report { external_id, ask, .. }) => {
                About { external_id: external_id.clone(), window: Some((ask.since, ask.until)) }
            }
            Err(_) => About { external_id: question.external_id().into(), window: question.window() },
        }
    }

    /// Whether it is about this day, alone or among others.
    pub(super) fn holds(&self, date: NaiveDate) -> bool {
        self.window.is_some_and(|(since, until)| (since..=until).contains(&date))
    }
}

impl Recorded {
    /// The first value of a parameter, of the query or else of the form.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.query.iter().chain(&self.form).find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub fn endpoint(&self) -> Endpoint {
        let path: Vec<&str> = self.path.split('/').skip(2).collect();
        match path.as_slice() {
            ["dialog", "oauth"] => Endpoint::Dialog,
            ["oauth", "access_token"] if self.parameter("grant_type") == Some("fb_exchange_token") => {
                Endpoint::LongLived
            }
            ["oauth", "access_token"] => Endpoint::CodeExchange,
            ["debug_token"] => Endpoint::DebugToken,
            ["me", "adaccounts"] => Endpoint::AdAccounts,
            ["me", "permissions"] => Endpoint::Permissions,
            ["me"] => Endpoint::Me,
            [report] if is_number(report) => Endpoint::ReportStatus,
            [report, "insights"] if is_number(report) => Endpoint::ReportRows,
            _ if !self.is_insights() => Endpoint::AdAccount,
            _ if self.method == "POST" => Endpoint::ReportStart,
            _ if self.parameter("level") == Some("ad") => Endpoint::AdRows,
            _ => Endpoint::AccountRow,
        }
    }

    /// What a text with placeholders says about this question: `{token}` is the token that it came with or is about,
    /// `{code}`, `{secret}` and `{verifier}` are what it brought of these.
    pub(super) fn quoted_in(&self, text: &str) -> String {
        let bearer = self.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        let about = self.parameter("input_token").or(self.parameter("fb_exchange_token"));
        let of_app = bearer.and_then(|bearer| bearer.split_once('|')).map(|(_, secret)| secret);
        let secret = self.parameter("client_secret").or(of_app.filter(|_| self.endpoint() == Endpoint::DebugToken));
        [
            ("{token}", about.or(bearer)),
            ("{code}", self.parameter("code")),
            ("{secret}", secret),
            ("{verifier}", self.parameter("code_verifier")),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value.unwrap_or_default()))
    }

    pub fn is_insights(&self) -> bool {
        self.path.ends_with("/insights")
    }

    /// `act_…`, or whatever stands in its place: the id of a report.
    pub fn external_id(&self) -> &str {
        self.path.split('/').nth(2).unwrap_or_default()
    }

    /// The first day that an insights question asks for.
    pub fn since(&self) -> Option<NaiveDate> {
        self.window().map(|(since, _)| since)
    }

    /// The first and the last day of it.
    pub fn window(&self) -> Option<(NaiveDate, NaiveDate)> {
        let range: serde_json::Value = serde_json::from_str(self.parameter("time_range")?).ok()?;
        let day = |name: &str| range.get(name)?.as_str()?.parse().ok();
        Some((day("since")?, day("until")?))
    }

    pub(super) fn limit(&self) -> usize {
        self.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(25)
    }
}

/// The id of a report is nothing but digits.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
