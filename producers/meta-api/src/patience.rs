use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::classify::Class;
use crate::config::ClientConfig;
use crate::errors::Error;
use crate::gate::{Closed, Gate, Throttle};
use crate::transport::Failure;
use crate::usage::Usage;

/// Throttles and broken answers apart: this often is a broken one asked for again, whatever `max_attempts` allows.
const MAX_TRANSIENT_ATTEMPTS: u32 = 4;

/// What happens while a question is being answered. It is told before the wait begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Meta throttles; the client sleeps for `wait` and asks again.
    Throttled {
        class: Class,
        code: Option<i64>,
        subcode: Option<i64>,
        /// How often this question was asked by now; from 1.
        attempt: u32,
        wait: Duration,
        /// What the headers asked for, which may be longer than `wait`.
        asked_for: Option<Duration>,
        /// Code 613 without a subcode: Meta says so for abuse limits too.
        may_be_abuse_limit: bool,
    },
    /// A network error, a broken answer or a transient error of Meta's; the client sleeps for `wait` and asks again.
    Retrying { reason: String, attempt: u32, wait: Duration },
    /// The rows moved between two pages (an ad came twice): the window starts over.
    StartedOver { ad_id: String },
    /// An entry of a list is left out, for what is wrong with it; the others are good.
    LeftOut { entry: String, reason: String },
    /// A page was read. `number` counts from 1; `usage_percent` is the fullest quota of Meta's headers.
    Page { number: u32, rows: usize, usage_percent: Option<u32> },
}

/// Who is told. A closure that sends into a channel is enough.
pub type Observer<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How long one call of this crate goes on asking.
pub(crate) struct Patience<'a> {
    pub(crate) about: String,
    pub(crate) observer: Observer<'a>,
    gate: Option<&'a dyn Gate>,
    host: String,
    config: &'a ClientConfig,
    max_total_wait: Duration,
    waited: Duration,
    attempts: u32,
    transient_attempts: u32,
    /// Whether a question of this call was answered: giving up now loses that.
    was_answered: bool,
    backoff: ExponentialBackoff,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(about: String, host: String, config: &'a ClientConfig, observer: Observer<'a>) -> Self {
        Patience {
            about,
            observer,
            gate: None,
            host,
            config,
            max_total_wait: config.max_total_wait,
            waited: Duration::ZERO,
            attempts: 0,
            transient_attempts: 0,
            was_answered: false,
            backoff: backoff(config.max_backoff),
        }
    }

    /// For a question in front of whose answer somebody sits: waits of so long in all, and no longer.
    pub(crate) fn at_most(self, max_total_wait: Duration) -> Self {
        Patience { max_total_wait: self.max_total_wait.min(max_total_wait), ..self }
    }

    /// For a fetch: every request passes the gate, and a throttle is the gate's business.
    pub(crate) fn behind(self, gate: Option<&'a dyn Gate>) -> Self {
        Patience { gate, ..self }
    }

    /// Returns when the next request may leave.
    pub(crate) async fn pass(&self) -> Result<(), Error> {
        match self.gate {
            Some(gate) => gate.pass(self.was_answered).await.map_err(|closed| self.closed(closed)),
            None => Ok(()),
        }
    }

    /// A question was answered: the next one begins afresh, but the sum of waits goes on.
    pub(crate) async fn answered(&mut self, usage: &Usage) -> Result<(), Error> {
        self.attempts = 0;
        self.transient_attempts = 0;
        self.was_answered = true;
        self.backoff = backoff(self.config.max_backoff);
        self.tell(usage).await
    }

    async fn tell(&self, usage: &Usage) -> Result<(), Error> {
        match self.gate {
            Some(gate) => gate.answered(usage.quota()).await.map_err(|closed| self.closed(closed)),
            None => Ok(()),
        }
    }

    fn closed(&self, closed: Closed) -> Error {
        match closed {
            Closed::Throttled { retry_after, sentence } => {
                Error::Blocked { about: self.about.clone(), retry_after, sentence }
            }
            Closed::Failed(source) => Error::Gate { about: self.about.clone(), source },
        }
    }

    /// Waits as long as the failure asks for; an error when it is not worth a wait, or when the patience is at its end.
    pub(crate) async fn after(&mut self, failure: Failure) -> Result<(), Error> {
        self.attempts += 1;
        let Failure { class, refusal, usage, sent: _ } = failure;
        let about = self.about.clone();
        let may_be_abuse_limit = class.is_throttle() && refusal.code == Some(613) && refusal.subcode.is_none();
        if let Some(gate) = self.gate.filter(|_| class.is_throttle()) {
            let (asked_for, quota) = (usage.regain_after, usage.quota());
            let throttle = Throttle { class, refusal: *refusal, asked_for, quota, may_be_abuse_limit };
            return gate.throttled(&throttle).await.map_err(|closed| self.closed(closed));
        }
        // The headers of a bad answer say how full the quotas are, too; no answer says nothing.
        if refusal.status.is_some() {
            self.tell(&usage).await?;
        }
        match class {
            Class::AppThrottle | Class::AccountThrottle | Class::OtherThrottle => {
                let wait = self.next_wait(usage.regain_after);
                if self.is_over(wait) {
                    return Err(Error::Throttled {
                        about,
                        class,
                        attempts: self.attempts,
                        waited: self.waited,
                        retry_after: usage.regain_after,
                        refusal,
                    });
                }
                let wait_ms = wait.as_millis();
                if may_be_abuse_limit {
                    tracing::warn!(
                        about,
                        %refusal,
                        wait_ms,
                        "waiting: Meta throttles without a subcode, which it does for abuse limits too"
                    );
                } else {
                    tracing::info!(about, %refusal, wait_ms, "waiting: Meta throttles");
                }
                (self.observer)(Progress::Throttled {
                    class,
                    code: refusal.code,
                    subcode: refusal.subcode,
                    attempt: self.attempts,
                    wait,
                    asked_for: usage.regain_after,
                    may_be_abuse_limit,
                });
                self.sleep(wait).await;
                Ok(())
            }
            Class::Transient => {
                self.transient_attempts += 1;
                let wait = self.next_wait(usage.retry_after);
                let reason = refusal.to_string();
                if self.transient_attempts >= MAX_TRANSIENT_ATTEMPTS || self.is_over(wait) {
                    return Err(Error::Unreachable { about, host: self.host.clone(), attempts: self.attempts, reason });
                }
                tracing::info!(about, reason, wait_ms = wait.as_millis(), "asking again");
                (self.observer)(Progress::Retrying { reason, attempt: self.attempts, wait });
                self.sleep(wait).await;
                Ok(())
            }
            // Whoever asks for pages says of how many rows.
            Class::TooMuchData => Err(Error::TooMuchData { about, page_limit: None, refusal }),
            Class::WrongRequest => Err(Error::WrongRequest { about, refusal }),
            Class::Permission => Err(Error::Permission { about, refusal }),
            Class::Token => Err(Error::Token { about, refusal }),
        }
    }

    /// What a header asks for, else the next step of the backoff; never more than one wait may last.
    fn next_wait(&mut self, asked_for: Option<Duration>) -> Duration {
        let step = self.backoff.next().unwrap_or(self.config.max_backoff);
        asked_for.unwrap_or(step).min(self.config.max_backoff)
    }

    fn is_over(&self, wait: Duration) -> bool {
        self.attempts >= self.config.max_attempts || self.waited + wait > self.max_total_wait
    }

    async fn sleep(&mut self, wait: Duration) {
        self.waited += wait;
        tokio::time::sleep(wait).await;
    }
}

/// 1 to 2 s, 2 to 4 s, … up to half of the cap to the cap. Backon's jitter adds up to the delay itself, so that the cap
/// is kept by halving; fetchers that were throttled together come back one after the other.
fn backoff(max_backoff: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_secs(1).min(max_backoff / 2))
        .with_max_delay(max_backoff / 2)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Said;
    use crate::errors::Refusal;
    use crate::usage::Usage;
    use std::sync::Mutex;

    fn failure(class: Class, code: i64, asked_for: Option<u64>) -> Failure {
        let said = Said { status: Some(400), code: Some(code), ..Said::default() };
        let refusal = Box::new(Refusal::of(class, &said, ""));
        let regain_after = asked_for.map(Duration::from_secs);
        let usage = Usage { regain_after, retry_after: regain_after, ..Usage::default() };
        Failure { class, refusal, usage, sent: true }
    }

    fn wait_of(progress: &Progress) -> Duration {
        match progress {
            Progress::Throttled { wait, .. } | Progress::Retrying { wait, .. } => *wait,
            _ => Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_grows_from_a_second_to_the_cap() {
        let config = ClientConfig { max_attempts: 11, ..ClientConfig::default() };
        let told = Mutex::new(Vec::new());
        let observer = |progress| told.lock().unwrap().push(progress);
        let mut patience = Patience::new("x".into(), "h".into(), &config, &observer);
        let end = loop {
            if let Err(end) = patience.after(failure(Class::AccountThrottle, 613, None)).await {
                break end;
            }
        };
        assert!(matches!(end, Error::Throttled { attempts: 11, .. }), "{end}");
        let waits: Vec<Duration> = told.lock().unwrap().iter().map(wait_of).collect();
        assert_eq!(waits.len(), 10);
        for (i, wait) in waits.iter().enumerate() {
            let low = Duration::from_secs(1 << i.min(8)).min(Duration::from_secs(30));
            assert!(*wait >= low && *wait <= (low * 2).min(Duration::from_secs(60)), "{i}: {wait:?}");
        }
        assert_eq!(patience.waited, waits.iter().sum());
        let first = told.lock().unwrap()[0].clone();
        assert!(matches!(first, Progress::Throttled { may_be_abuse_limit: true, attempt: 1, .. }), "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_is_obeyed_up_to_the_cap() {
        let config = ClientConfig::default();
        let told = Mutex::new(Vec::new());
        let observer = |progress| told.lock().unwrap().push(progress);
        let mut patience = Patience::new("x".into(), "h".into(), &config, &observer);
        for asked in [7, 420] {
            patience.after(failure(Class::AppThrottle, 4, Some(asked))).await.unwrap();
        }
        patience.after(failure(Class::Transient, 2, Some(5))).await.unwrap();
        let waits: Vec<u64> = told.lock().unwrap().iter().map(|p| wait_of(p).as_secs()).collect();
        assert_eq!(waits, [7, 60, 5]);
        let second = told.lock().unwrap()[1].clone();
        assert!(matches!(second, Progress::Throttled { asked_for: Some(d), .. } if d.as_secs() == 420), "{second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_sum_of_waits_has_an_end_though_pages_come_between() {
        let config = ClientConfig { max_total_wait: Duration::from_secs(150), ..ClientConfig::default() };
        let mut patience = Patience::new("x".into(), "h".into(), &config, &|_| ());
        for _ in 0..2 {
            patience.after(failure(Class::OtherThrottle, 32, Some(60))).await.unwrap();
            patience.answered(&Usage::default()).await.unwrap();
        }
        let end = patience.after(failure(Class::OtherThrottle, 32, Some(3600))).await.unwrap_err();
        let Error::Throttled { waited, retry_after, .. } = end else { panic!("{end}") };
        assert_eq!((waited.as_secs(), retry_after), (120, Some(Duration::from_secs(3600))));
    }

    #[tokio::test(start_paused = true)]
    async fn transient_errors_get_few_tries() {
        let config = ClientConfig::default();
        let mut patience = Patience::new("x".into(), "h".into(), &config, &|_| ());
        for _ in 0..3 {
            patience.after(failure(Class::Transient, 2, None)).await.unwrap();
        }
        let end = patience.after(failure(Class::Transient, 2, None)).await.unwrap_err();
        assert!(matches!(end, Error::Unreachable { attempts: 4, .. }), "{end}");
    }
}
