use std::fmt;
use std::time::Duration;

use crate::classify::{Class, Said, classify, is_unknown};

/// What Meta said when it refused: its own words, with every secret taken out, on one line, and cut at 300 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status; `None` when nothing was sent, or nothing came back.
    pub status: Option<u16>,
    pub code: Option<i64>,
    pub subcode: Option<i64>,
    pub message: String,
    /// What Meta's support asks for.
    pub fbtrace_id: Option<String>,
    sentence: &'static str,
}

impl Refusal {
    /// One of a class, with the sentence of what was said; where nothing was, or something of another class, with that of the
    /// class. The message has no secret in it.
    pub(crate) fn of(class: Class, said: &Said<'_>, message: impl Into<String>) -> Refusal {
        let meaning = classify(said);
        let sentence = if meaning.class == class { meaning.sentence } else { class.sentence() };
        let Said { status, code, subcode, .. } = *said;
        Refusal { status, code, subcode, message: message.into(), fbtrace_id: None, sentence }
    }

    /// Who must do what, in words that follow a colon; see [`classify`](crate::classify).
    pub fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// Whether Meta does not know, or no longer knows, what it was asked about.
    pub(crate) fn is_of_unknown(&self) -> bool {
        is_unknown(self.code, self.subcode)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "HTTP {status}, ")?;
        }
        match (self.code, self.subcode) {
            (Some(code), Some(subcode)) => write!(f, "code {code}/{subcode}, ")?,
            (Some(code), None) => write!(f, "code {code}, ")?,
            (None, _) => {}
        }
        write!(f, "{:?}", self.message)?;
        match &self.fbtrace_id {
            Some(id) => write!(f, ", fbtrace_id {id}"),
            None => Ok(()),
        }
    }
}

/// Why a question to Meta has no answer. `about` names what was asked for, as in "ad account act_1 on 2026-11-01".
///
/// No text in here holds a token, a code, a code verifier or the app's secret, also where Meta quoted it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The integration needs a new token; its jobs stop.
    #[error("Meta refuses the access token when asked for {about} ({refusal}): {}", refusal.sentence)]
    Token { about: String, refusal: Box<Refusal> },
    /// The integration needs somebody's consent; its jobs stop.
    #[error("Meta does not let this token read {about} ({refusal}): {}", refusal.sentence)]
    Permission { about: String, refusal: Box<Refusal> },
    /// Gave up waiting. `retry_after` is what the headers asked for at last, not capped: the run may wait that long.
    #[error(
        "Meta still throttles {about} after {attempts} attempts and {} s of waiting ({refusal}): {}, so try again later",
        waited.as_secs(),
        refusal.sentence
    )]
    Throttled {
        about: String,
        class: Class,
        attempts: u32,
        waited: Duration,
        retry_after: Option<Duration>,
        refusal: Box<Refusal>,
    },
    /// Meta's block lasts longer than is waited for with the work in hand.
    #[error("{sentence}, so {about} is not asked for now")]
    Blocked { about: String, retry_after: Duration, sentence: String },
    /// Whoever lets requests out could not say whether this one may leave.
    #[error("it is not known whether Meta may be asked for {about}")]
    Gate { about: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// `page_limit` is how many rows a page were asked for, where it was the asker who chose.
    /// A window has more pages than it may have; so many rows were read.
    #[error("{about} has more than {rows} rows, which is more than was expected")]
    LargeWindow { about: String, rows: usize },
    #[error("Meta finds {about} too much data{} ({refusal}): {}", at_rows(*page_limit), refusal.sentence)]
    TooMuchData { about: String, page_limit: Option<u32>, refusal: Box<Refusal> },
    #[error("Meta refuses the request for {about} ({refusal}): {}", refusal.sentence)]
    WrongRequest { about: String, refusal: Box<Refusal> },
    /// Refused before anything was sent.
    #[error("{value:?} is not the id of a Meta ad account: write it like act_1234567890")]
    AdAccountId { value: String },
    /// The answer is JSON, but not what Meta documents.
    #[error("Meta's answer about {about} is not as documented: {field} {problem}; if it stays so, report it")]
    Unreadable { about: String, field: String, problem: String },
    #[error(
        "Meta's pages of {about} go in a circle: page {page} leads to a cursor that was used before; try again later"
    )]
    PagingLoop { about: String, page: u32 },
    #[error("{about} has more than {max_pages} pages of {page_limit} rows: raise the page size or the limit of pages")]
    TooManyPages { about: String, max_pages: u32, page_limit: u32 },
    /// Network trouble, HTTP 5xx, bodies that are cut or no JSON, and Meta's own transient errors, `attempts` times.
    #[error(
        "no usable answer from {host} about {about} in {attempts} attempts (last: {reason}): \
         check the network and META_API_BASE_URL, or try again later"
    )]
    Unreachable { about: String, host: String, attempts: u32, reason: String },
    /// A report that Meta makes of many rows came to nothing, `attempts` times.
    #[error(
        "Meta's report about {about} came to nothing in {attempts} attempts (last: {reason}): it is asked for again with the \
         next run"
    )]
    Report { about: String, attempts: u32, reason: String },
    /// The code is expired, used, or not to be used again: nobody knows what became of an answer that was lost.
    #[error(
        "the code of this sign-in with Meta got no token ({refusal}): a code serves once and for a few minutes, \
         so start the connection again"
    )]
    Code { refusal: Box<Refusal> },
    #[error(
        "Meta does not take {redirect_uri:?} as the address to come back to ({refusal}): an admin of the Meta app {app_id} \
         must enter it, exactly so, as a valid OAuth redirect URI in the app's settings of Facebook Login"
    )]
    RedirectAddress { app_id: String, redirect_uri: String, refusal: Box<Refusal> },
    #[error(
        "Meta does not take the id and the secret of the Meta app {app_id:?} ({refusal}): whoever runs this service must \
         set META_APP_ID and META_APP_SECRET to what the app's settings show"
    )]
    App { app_id: String, refusal: Box<Refusal> },
    /// No fault of the token's: Meta tells an app about its own tokens only.
    #[error(
        "the token was not made for the Meta app {app_id} ({refusal}): \
         ask about it without the app's secret, or make one for that app"
    )]
    OtherApp { app_id: String, refusal: Box<Refusal> },
    #[error(
        "nothing was granted, because the sign-in was cancelled in Meta's dialog: to connect after all, \
         start the connection again and choose Continue"
    )]
    Declined,
    #[error("Meta's dialog ended without a grant ({said:?}): start the connection again")]
    Dialog { said: String },
}

impl Error {
    /// A stable word for tables and metrics: `token`, `permission`, `throttled`, `too_much_data`, `wrong_request`,
    /// `unreadable`, `paging_loop`, `report`, `unreachable`, or `gate` where it is no matter of Meta's; of the connect flow
    /// `sign_in` (start again), `app` (the app's settings, here or with Meta) and `other_app`.
    pub fn class(&self) -> &'static str {
        match self {
            Error::Token { .. } => "token",
            Error::Permission { .. } => "permission",
            Error::Throttled { .. } | Error::Blocked { .. } => "throttled",
            Error::Gate { .. } => "gate",
            Error::Report { .. } => "report",
            Error::TooMuchData { .. } | Error::LargeWindow { .. } => "too_much_data",
            Error::WrongRequest { .. } | Error::AdAccountId { .. } => "wrong_request",
            Error::Unreadable { .. } => "unreadable",
            Error::PagingLoop { .. } | Error::TooManyPages { .. } => "paging_loop",
            Error::Unreachable { .. } => "unreachable",
            Error::Code { .. } | Error::Declined | Error::Dialog { .. } => "sign_in",
            Error::RedirectAddress { .. } | Error::App { .. } => "app",
            Error::OtherApp { .. } => "other_app",
        }
    }

    /// What Meta said, where it said something.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::Token { refusal, .. }
            | Error::Permission { refusal, .. }
            | Error::Throttled { refusal, .. }
            | Error::TooMuchData { refusal, .. }
            | Error::WrongRequest { refusal, .. }
            | Error::Code { refusal }
            | Error::RedirectAddress { refusal, .. }
            | Error::App { refusal, .. }
            | Error::OtherApp { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

fn at_rows(page_limit: Option<u32>) -> String {
    page_limit.map_or_else(String::new, |rows| format!(" even at {rows} rows a page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_says_who_must_do_what() {
        for (code, subcode, said) in [
            (
                Some(190),
                Some(463),
                "it has expired, and an expired one cannot be prolonged, so somebody with a role on the ad",
            ),
            (Some(190), Some(460), "the password of the person it belongs to was changed"),
            (Some(190), Some(458), "has removed the app from their Facebook account, so they must connect again"),
            (Some(190), Some(459), "they must sign in at facebook.com first"),
            (Some(190), Some(464), "they must sign in at facebook.com first"),
            (Some(190), Some(467), "its session was ended"),
            (Some(190), Some(493), "was not there for 90 days"),
            (Some(190), None, "somebody with a role on the ad account must connect again"),
            (Some(190), Some(1), "somebody with a role on the ad account must connect again"),
            (Some(102), None, "its session was ended"),
            (None, None, "somebody with a role on the ad account must connect again"),
        ] {
            let refused = Said { status: Some(400), code, subcode, ..Said::default() };
            let refusal = Box::new(Refusal::of(Class::Token, &refused, "no"));
            let error = Error::Token { about: "ad account act_1".into(), refusal }.to_string();
            assert!(error.starts_with("Meta refuses the access token when asked for ad account act_1"), "{error}");
            assert!(error.contains(said) && error.contains("with a new token"), "{code:?}/{subcode:?}: {error}");
            assert!(!error.contains("  "), "{error}");
        }
    }

    #[test]
    fn a_missing_permission_says_who_must_do_what() {
        for (code, subcode, said) in [
            (Some(10), None, "the person it belongs to must connect again and leave the permission ads_read on"),
            (Some(100), Some(3_191_001), "an admin of the ad account must give them one in Meta's Business settings"),
            (Some(273), None, "an admin of the ad account must give them one in Meta's Business settings"),
            (Some(200), None, "ads_read, which the person it belongs to grants by connecting again"),
            (Some(294), None, "a role on the ad account, which an admin of it gives"),
            (None, None, "a role on the ad account, which an admin of it gives"),
        ] {
            let refused = Said { status: Some(400), code, subcode, ..Said::default() };
            let refusal = Box::new(Refusal::of(Class::Permission, &refused, "no"));
            let error = Error::Permission { about: "ad account act_1".into(), refusal }.to_string();
            assert!(error.starts_with("Meta does not let this token read ad account act_1 ("), "{error}");
            assert!(error.contains(said) && error.contains("connect"), "{code:?}/{subcode:?}: {error}");
            assert!(!error.contains("  "), "{error}");
        }
    }

    #[test]
    fn what_quotes_a_refusal_says_who_must_do_what() {
        let (about, said) = (|| "ad account act_1".to_owned(), Said::default());
        let refusal = |class| Box::new(Refusal::of(class, &said, "no"));
        let too_much =
            |page_limit| Error::TooMuchData { about: about(), page_limit, refusal: refusal(Class::TooMuchData) };
        for (error, said) in [
            (too_much(Some(25)), "too much data even at 25 rows a page (\"no\"): "),
            (too_much(None), "too much data (\"no\"): it is asked for in smaller parts"),
            (too_much(None), "ask for fewer fields or windows"),
            (
                Error::WrongRequest { about: about(), refusal: refusal(Class::WrongRequest) },
                "(\"no\"): check META_API_BASE_URL",
            ),
        ] {
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
