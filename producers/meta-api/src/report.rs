//! Reports: Meta's way for windows that it does not answer at once. Ordered with a POST, polled until they are
//! complete, then read in pages as any other answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::authorization::Authorization;
use crate::classify::{Class, Said, classify};
use crate::client::MetaApi;
use crate::errors::{Error, Refusal};
use crate::json::Object;
use crate::patience::Patience;
use crate::transport::Failure;
use crate::usage::Usage;

/// How often a report is ordered again that failed, was skipped, got stuck or expired.
pub(crate) const MAX_ORDERS: u32 = 4;
/// Between two polls: the first wait, doubled up to the last.
const POLL_FIRST: Duration = Duration::from_secs(1);
const POLL_LAST: Duration = Duration::from_secs(30);
const STATUS_FIELDS: &str =
    "async_status,async_percent_completion,error_code,error_subcode,error_message,error_user_msg";

/// What became of a report.
enum Report {
    Complete,
    /// Worth another order, for this reason.
    Again(String),
}

impl MetaApi {
    /// Orders a report and waits until it is complete; returns its id.
    ///
    /// `orders` counts over all calls for one window, so that there is an end to it.
    pub(crate) async fn complete_report(
        &self,
        auth: &Authorization,
        path: &str,
        parameters: &[(&'static str, String)],
        orders: &mut u32,
        patience: &mut Patience<'_>,
    ) -> Result<String, Error> {
        loop {
            *orders += 1;
            let id = self.order_report(auth, path, parameters, patience).await?;
            tracing::info!(about = patience.about, report = id, "Meta makes a report");
            match self.follow_report(auth, &id, patience).await? {
                Report::Complete => return Ok(id),
                Report::Again(reason) if *orders >= MAX_ORDERS => {
                    return Err(Error::Report { about: patience.about.clone(), attempts: *orders, reason });
                }
                Report::Again(reason) => {
                    tracing::info!(about = patience.about, report = id, reason, "ordering the report again");
                    tokio::time::sleep((POLL_FIRST * (1 << *orders)).min(self.config.max_backoff)).await;
                }
            }
        }
    }

    async fn order_report(
        &self,
        auth: &Authorization,
        path: &str,
        parameters: &[(&'static str, String)],
        patience: &mut Patience<'_>,
    ) -> Result<String, Error> {
        let answer = self.order(auth, path, parameters, patience).await?;
        let text = answer.text();
        let id = Object::parse(&text.text).and_then(|object| object.text("report_run_id"));
        id.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())).ok_or_else(|| Error::Unreadable {
            about: patience.about.clone(),
            field: "report_run_id".into(),
            problem: "is missing or no id".into(),
        })
    }

    async fn follow_report(
        &self,
        auth: &Authorization,
        id: &str,
        patience: &mut Patience<'_>,
    ) -> Result<Report, Error> {
        let mut wait = POLL_FIRST.min(self.config.max_backoff);
        let (mut moved_at, mut last) = (Instant::now(), None);
        let began_at = moved_at;
        loop {
            let query = [("fields", STATUS_FIELDS.to_owned())];
            let status = match self.ask(auth, id, &query, patience).await {
                Ok(answer) => Status::read(&answer.text().text, auth),
                Err(Error::WrongRequest { refusal, .. }) if refusal.is_of_unknown() => {
                    return Ok(Report::Again(format!("Meta does not know the report any more ({refusal})")));
                }
                Err(error) => return Err(error),
            };
            match status.word.as_str() {
                "Job Completed" if status.percent >= 100 => return Ok(Report::Complete),
                "Job Failed" => return status.failure(patience).await,
                "Job Skipped" => return Ok(Report::Again("Meta skipped it".into())),
                _ => {}
            }
            let now = (status.word.clone(), status.percent);
            if last.as_ref() != Some(&now) {
                (moved_at, last) = (Instant::now(), Some(now));
            }
            let (stuck, over) = (self.config.report_stuck_after, self.config.report_within);
            if moved_at.elapsed() >= stuck || began_at.elapsed() >= over {
                let (word, percent) = (&status.word, status.percent);
                return Ok(Report::Again(format!("it stands at {word:?}, {percent}%, and does not move")));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(POLL_LAST).min(self.config.max_backoff);
        }
    }
}

struct Status {
    word: String,
    percent: i64,
    /// What it failed of, if it did.
    code: Option<i64>,
    subcode: Option<i64>,
    message: String,
}

impl Status {
    /// A status that says nothing is one that has not moved.
    fn read(text: &str, auth: &Authorization) -> Status {
        let object = Object::parse(text);
        let text = |key| object.as_ref().and_then(|object| object.text(key)).map(|text| auth.clean(&text));
        let integer = |key| object.as_ref().and_then(|object| object.integer(key));
        Status {
            word: text("async_status").unwrap_or_default(),
            percent: integer("async_percent_completion").unwrap_or_default(),
            code: integer("error_code"),
            subcode: integer("error_subcode"),
            message: text("error_message").or(text("error_user_msg")).unwrap_or_default(),
        }
    }

    /// What a failed report means: its error is read as that of any answer. Without one it is worth another order.
    async fn failure(self, patience: &mut Patience<'_>) -> Result<Report, Error> {
        let Status { code, subcode, message, .. } = self;
        let about = patience.about.clone();
        if code.is_none() {
            return Ok(Report::Again("Meta gave it up without a reason".into()));
        }
        let said = Said { code, subcode, body: &message, ..Said::default() };
        let class = classify(&said).class;
        let refusal = Refusal::of(class, &said, message.as_str());
        match class {
            Class::TooMuchData => Err(Error::TooMuchData { about, page_limit: None, refusal: refusal.into() }),
            Class::WrongRequest => Err(Error::WrongRequest { about, refusal: refusal.into() }),
            Class::Permission => Err(Error::Permission { about, refusal: refusal.into() }),
            Class::Token => Err(Error::Token { about, refusal: refusal.into() }),
            _ => {
                let again = Report::Again(format!("Meta gave it up ({refusal})"));
                if class.is_throttle() {
                    // Also when it is told in a report, whoever lets requests out must know.
                    let usage = Usage::default();
                    patience.after(Failure { class, refusal: refusal.into(), usage, sent: true }).await?;
                }
                Ok(again)
            }
        }
    }
}
