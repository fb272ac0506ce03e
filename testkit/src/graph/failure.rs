//! Scripted faults: what a real server does now and then, when a test wants it.

use std::time::Duration;

use chrono::NaiveDate;

use super::recorded::{About, Endpoint, Recorded};
use super::refusal::Refusal;

/// A fault, the questions that it befalls, and how often. Without limits it befalls every question for ever.
///
/// `{token}` in a message, a body or a header value becomes the token that the question came with or is about; `{code}`,
/// `{secret}` and `{verifier}` become what it brought of these.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(super) kind: Kind,
    pub(super) headers: Vec<(String, String)>,
    endpoint: Option<Endpoint>,
    external_id: Option<String>,
    date: Option<NaiveDate>,
    only_later_pages: bool,
    only_above_limit: usize,
    left: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Refuse(Refusal),
    /// Status, content type, body.
    Body(u16, &'static str, String),
    /// The good answer, cut in its middle.
    Cut,
    /// The good answer, late.
    Slow(Duration),
    /// The good answer, but with the cursor that the question came with.
    CursorLoop,
    /// The good answer, but each page after the first begins with the last row of the one before.
    RowsMoved,
}

impl Failure {
    /// Any error of Meta's.
    pub fn refusal(status: u16, code: i64, subcode: Option<i64>, message: &str) -> Self {
        Failure::new(Kind::Refuse(Refusal::new(status, code, subcode, message)))
    }

    /// The ad account is throttled; the usage header says for how many minutes.
    pub fn account_throttle(minutes: u32) -> Self {
        Failure::refusal(400, 17, Some(2_446_079), "User request limit reached").regain_after(minutes)
    }

    /// The app is throttled; the usage header says for how many minutes.
    pub fn app_throttle(minutes: u32) -> Self {
        Failure::refusal(403, 4, Some(1_504_022), "There have been too many calls from this app.").regain_after(minutes)
    }

    /// 613 without a subcode, and no header: Meta says so for abuse limits too.
    pub fn abuse_throttle() -> Self {
        Failure::refusal(429, 613, None, "(#613) Calls to this api have exceeded the rate limit.")
    }

    pub fn token_expired() -> Self {
        let message = "Error validating access token: Session has expired on Sunday. The token was {token}.";
        Failure::refusal(400, 190, Some(463), message)
    }

    pub fn no_permission() -> Self {
        Failure::refusal(403, 10, None, "(#10) Application does not have permission for this action")
    }

    /// Meta is overwhelmed by each page of more than so many rows.
    pub fn too_much_data_above(limit: usize) -> Self {
        let message = "Please reduce the amount of data you're asking for, then retry your request";
        Failure { only_above_limit: limit, ..Failure::refusal(500, 1, None, message) }
    }

    /// What stands in front of Meta is ill: a page for people, which quotes the token.
    pub fn html(status: u16) -> Self {
        let body = "<html><body><h1>Sorry, something went wrong.</h1><!-- {token} --></body></html>";
        Failure::new(Kind::Body(status, "text/html; charset=utf-8", body.into()))
    }

    /// A good status and a body that claims to be JSON.
    pub fn not_json() -> Self {
        Failure::body(200, "{\"data\":[{\"ad_id\":\"1\", ... {token}")
    }

    /// Any body, said to be JSON.
    pub fn body(status: u16, body: &str) -> Self {
        Failure::new(Kind::Body(status, "application/json", body.into()))
    }

    pub fn redirect(to: &str) -> Self {
        Failure::body(302, "").header("location", to)
    }

    /// The connection ends in the middle of the good answer.
    pub fn cut() -> Self {
        Failure::new(Kind::Cut)
    }

    /// The good answer, so much later. `Duration::MAX` is never.
    pub fn slow(by: Duration) -> Self {
        Failure::new(Kind::Slow(by))
    }

    /// Each page but the first leads back to itself.
    pub fn cursor_loop() -> Self {
        Failure { only_later_pages: true, ..Failure::new(Kind::CursorLoop) }
    }

    /// The rows shift by one between two pages, so that one comes twice.
    pub fn rows_moved() -> Self {
        Failure { only_later_pages: true, ..Failure::new(Kind::RowsMoved) }
    }

    /// Only so often.
    pub fn times(self, times: u32) -> Self {
        Failure { left: Some(times), ..self }
    }

    /// Only for this kind of question.
    pub fn on(self, endpoint: Endpoint) -> Self {
        Failure { endpoint: Some(endpoint), ..self }
    }

    /// Only for questions about this ad account.
    pub fn about(self, external_id: &str) -> Self {
        Failure { external_id: Some(external_id.into()), ..self }
    }

    /// Only for insights of this day, alone or among others.
    pub fn on_date(self, date: NaiveDate) -> Self {
        Failure { date: Some(date), ..self }
    }

    /// Not for the first page.
    pub fn on_later_pages(self) -> Self {
        Failure { only_later_pages: true, ..self }
    }

    /// A header of the bad answer; it replaces the usual one of that name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The usage header that says when Meta answers again.
    pub fn regain_after(self, minutes: u32) -> Self {
        let usage = format!(
            r#"{{"1001":[{{"type":"ads_insights","call_count":100,"total_cputime":100,"total_time":97,"estimated_time_to_regain_access":{minutes},"ads_api_access_tier":"standard_access"}}]}}"#
        );
        self.header("x-business-use-case-usage", &usage)
    }

    /// Whether it befalls this question; if so, it is spent once.
    pub(super) fn strikes(&mut self, question: &Recorded, about: &About) -> bool {
        let fits = self.left != Some(0)
            && self.endpoint.is_none_or(|e| e == question.endpoint())
            && self.external_id.as_deref().is_none_or(|id| id == about.external_id)
            && self.date.is_none_or(|date| about.holds(date))
            && (!self.only_later_pages || question.parameter("after").is_some())
            && (self.only_above_limit == 0 || question.limit() > self.only_above_limit);
        if fits {
            self.left = self.left.map(|left| left - 1);
        }
        fits
    }

    fn new(kind: Kind) -> Self {
        Failure {
            kind,
            headers: Vec::new(),
            endpoint: None,
            external_id: None,
            date: None,
            only_later_pages: false,
            only_above_limit: 0,
            left: None,
        }
    }
}
