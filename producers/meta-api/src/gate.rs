//! Who lets requests out, where many workers on many machines share one quota.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::classify::Class;
use crate::errors::Refusal;

/// Stands before every request of a fetch, also before one that is repeated, and hears of every answer.
///
/// This crate knows neither the other workers nor a place to write down what Meta said; whoever has both stands here.
/// Without a gate a call has only its own patience.
pub trait Gate: Send + Sync {
    /// Returns when a request may leave. `midway` says that others of the same call were answered, which would be asked for
    /// again if this one did not leave.
    ///
    /// # Errors
    /// It may not leave for so long that waiting is not worth it.
    fn pass(&self, midway: bool) -> Passing<'_>;

    /// Meta throttled. Returns when that is written down; whoever asks again passes the gate again.
    ///
    /// # Errors
    /// Asking again is not worth it.
    fn throttled<'a>(&'a self, throttle: &'a Throttle) -> Passing<'a>;

    /// An answer came, good or bad, that is no throttle.
    fn answered(&self, quota: Quota) -> Passing<'_>;
}

/// What a gate returns.
pub type Passing<'a> = Pin<Box<dyn Future<Output = Result<(), Closed>> + Send + 'a>>;

/// Why no request leaves.
#[derive(Debug)]
pub enum Closed {
    /// Meta's block lasts that long. The sentence says what is blocked, and by what.
    Throttled { retry_after: Duration, sentence: String },
    /// The gate itself cannot tell.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// One throttle of Meta's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// One of the three throttle classes.
    pub class: Class,
    pub refusal: Refusal,
    /// What the headers ask for, where they ask for something.
    pub asked_for: Option<Duration>,
    pub quota: Quota,
    /// Code 613 without a subcode: Meta says so for abuse limits too.
    pub may_be_abuse_limit: bool,
}

/// How full the quotas are, in percent; `None` where the headers do not say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub account_percent: Option<u32>,
    pub app_percent: Option<u32>,
}
