use std::fmt;
use std::time::Duration;

use crate::classify::Class;

/// What Meta said when it refused: its own words, with the token taken out, on one line, and cut at 300 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status; `None` when nothing was sent.
    pub status: Option<u16>,
    pub code: Option<i64>,
    pub subcode: Option<i64>,
    pub message: String,
    /// What Meta's support asks for.
    pub fbtrace_id: Option<String>,
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
/// No text in here holds the token, also where Meta quoted it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The integration needs a new token; its jobs stop.
    #[error("Meta refuses the access token when asked for {about} ({refusal}): connect again with a new token")]
    Token { about: String, refusal: Box<Refusal> },
    #[error(
        "Meta does not let this token read {about} ({refusal}): \
         an admin of the ad account must give the token's user the permission ads_read on it"
    )]
    Permission { about: String, refusal: Box<Refusal> },
    /// Gave up waiting. `retry_after` is what the headers asked for at last, not capped: the run may wait that long.
    #[error(
        "Meta still throttles {about} after {attempts} attempts and {} s of waiting ({refusal}): sync again later",
        waited.as_secs()
    )]
    Throttled {
        about: String,
        class: Class,
        attempts: u32,
        waited: Duration,
        retry_after: Option<Duration>,
        refusal: Box<Refusal>,
    },
    #[error(
        "Meta finds {about} too much data even at {page_limit} rows a page ({refusal}): ask for fewer fields or windows"
    )]
    TooMuchData { about: String, page_limit: u32, refusal: Box<Refusal> },
    #[error("Meta refuses the request for {about} ({refusal}): {}", advice(refusal))]
    WrongRequest { about: String, refusal: Box<Refusal> },
    /// Refused before anything was sent.
    #[error("{value:?} is not the id of a Meta ad account: write it like act_1234567890")]
    AdAccountId { value: String },
    /// The answer is JSON, but not what Meta documents.
    #[error("Meta's answer about {about} is not as documented: {field} {problem}; if it stays so, report it")]
    Unreadable { about: String, field: String, problem: String },
    #[error(
        "Meta's pages of {about} go in a circle: page {page} leads to a cursor that was used before; sync again later"
    )]
    PagingLoop { about: String, page: u32 },
    #[error("{about} has more than {max_pages} pages of {page_limit} rows: raise the page size or the limit of pages")]
    TooManyPages { about: String, max_pages: u32, page_limit: u32 },
    /// Network trouble, HTTP 5xx, bodies that are cut or no JSON, and Meta's own transient errors, `attempts` times.
    #[error(
        "no usable answer from {host} about {about} in {attempts} attempts (last: {reason}): \
         check the network and META_API_BASE_URL, or sync again later"
    )]
    Unreachable { about: String, host: String, attempts: u32, reason: String },
}

impl Error {
    /// A stable word for tables and metrics: `token`, `permission`, `throttled`, `too_much_data`, `wrong_request`,
    /// `unreadable`, `paging_loop` or `unreachable`.
    pub fn class(&self) -> &'static str {
        match self {
            Error::Token { .. } => "token",
            Error::Permission { .. } => "permission",
            Error::Throttled { .. } => "throttled",
            Error::TooMuchData { .. } => "too_much_data",
            Error::WrongRequest { .. } | Error::AdAccountId { .. } => "wrong_request",
            Error::Unreadable { .. } => "unreadable",
            Error::PagingLoop { .. } | Error::TooManyPages { .. } => "paging_loop",
            Error::Unreachable { .. } => "unreachable",
        }
    }

    /// What Meta said, where it said something.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::Token { refusal, .. }
            | Error::Permission { refusal, .. }
            | Error::Throttled { refusal, .. }
            | Error::TooMuchData { refusal, .. }
            | Error::WrongRequest { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

fn advice(refusal: &Refusal) -> &'static str {
    match (refusal.code, refusal.subcode) {
        (Some(2635), _) => "the version of the API has expired, set META_API_VERSION to a current one",
        (Some(3018), _) => "Meta keeps 37 months, ask for a later day",
        (Some(100), Some(1_487_561)) => "a status in META_EFFECTIVE_STATUS is not one of Meta's, correct it",
        (Some(100), Some(33)) => "check the ad account's id, and that the token's user may see it",
        (None, _) => "check META_API_BASE_URL",
        _ => "it would be refused again, so correct the ad account's id, the fields or the windows first",
    }
}
