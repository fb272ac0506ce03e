//! Who lets requests to Meta out. Every fetcher of an app, on every machine, passes the same gate: PostgreSQL knows who
//! is throttled until when, and the process knows at once what one of its workers has just heard.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use meta_api::{Class, Closed, Passing, Quota, Throttle};
use runs::{ThrottleKey, ThrottleScope, Throttled, throttle};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::fetcher::FetchError;

/// From this share of a quota on, requests are spaced out: the quotas are counted by the hour, and who slows down in
/// time is not stopped.
const SLOW_FROM_PERCENT: u32 = 75;
/// What a header said of a quota is worth nothing after this.
const QUOTA_KNOWN_FOR: Duration = Duration::from_secs(5 * 60);
/// In the middle of a window, throttles so many times as long as the longest wait are waited out with the run in hand: to give it
/// back would mean to ask for the window's first pages again, and one of very many pages might never come to its end.
const LONGER_MIDWAY: u32 = 5;
/// Between two looks at a throttle that is over while somebody tries again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Throttles in a row after which a run is given back, though each wait was short.
const IN_HAND: i32 = 10;

/// What the workers of one process have heard, so that the second of them does not ask what the first was refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<HashMap<ThrottleKey, State>>>);

#[derive(Debug, Default, Clone, Copy)]
struct State {
    blocked_until: Option<Instant>,
    quota: Option<(u32, Instant)>,
}

/// The gate of one run.
pub(crate) struct Gate {
    pool: PgPool,
    heard: Heard,
    ad_account: ThrottleKey,
    app: ThrottleKey,
    /// The longest wait with the run in hand, and the longest that grows where Meta names none.
    max_backoff: Duration,
    /// How long PostgreSQL may take.
    answer_within: Duration,
    /// Until when others wait for the answer to this one's question, where it is the first one after a throttle.
    trial: Mutex<Option<DateTime<Utc>>>,
    noted: Mutex<Throttled>,
}

impl Gate {
    pub(crate) fn new(
        pool: &PgPool,
        heard: &Heard,
        (ad_account, app): (ThrottleKey, ThrottleKey),
        max_backoff: Duration,
        answer_within: Duration,
    ) -> Self {
        Gate {
            pool: pool.clone(),
            heard: heard.clone(),
            ad_account,
            app,
            max_backoff,
            answer_within,
            trial: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// What was not taken yet of the throttles that the run met.
    pub(crate) fn take_noted(&self) -> Throttled {
        std::mem::take(&mut *lock(&self.noted))
    }

    fn keys(&self) -> [ThrottleKey; 2] {
        [self.ad_account.clone(), self.app.clone()]
    }

    async fn let_out(&self, midway: bool) -> Result<(), Closed> {
        let in_hand = if midway { self.max_backoff * LONGER_MIDWAY } else { self.max_backoff };
        // Before the look at the blocks: one may begin meanwhile.
        let pause = self.pause();
        if !pause.is_zero() {
            tracing::info!(
                ad_account = self.ad_account.key,
                pause_ms = pause.as_millis(),
                "a quota of Meta's is nearly full: asking slowly"
            );
            tokio::time::sleep(pause).await;
        }
        loop {
            let here = self.blocked_here();
            let found = self.answered_by(throttle::blocked(&self.pool, &self.keys())).await?;
            let block = found.as_ref().filter(|block| !block.remaining.is_zero());
            let remaining = here.max(block.map(|block| block.remaining));
            let Some(remaining) = remaining else {
                if found.is_none() {
                    return Ok(());
                }
                // It is over, and nobody has an answer yet: one asks, and the others see what it is told.
                let trial = self.answered_by(throttle::try_again(&self.pool, &self.keys())).await?;
                if let Some(until) = trial {
                    *lock(&self.trial) = Some(until);
                    return Ok(());
                }
                // Somebody else does: how long that may take is seen with the next look.
                tokio::time::sleep(BETWEEN_LOOKS).await;
                continue;
            };
            let reason = block.map_or("Meta throttles", |block| block.reason.as_str());
            if remaining > in_hand {
                let sentence = format!("{reason}; it answers again in {} s", remaining.as_secs() + 1);
                return Err(Closed::Throttled { retry_after: remaining, sentence });
            }
            {
                let mut noted = lock(&self.noted);
                noted.wait_ms += u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
                noted.until = noted.until.max(block.map(|block| block.until));
            }
            tokio::time::sleep(remaining).await;
        }
    }

    async fn write_down(&self, throttle: &Throttle) -> Result<(), Closed> {
        self.note_quota(throttle.quota);
        let was_trial = lock(&self.trial).take().is_some();
        let is_app = throttle.class == Class::AppThrottle;
        let (key, whose) = if is_app { (&self.app, "the Meta app") } else { (&self.ad_account, "the ad account") };
        // At once, and for as long as PostgreSQL takes to say how long it is.
        self.heard.block(key, throttle.asked_for.unwrap_or(Duration::from_secs(1)));
        let reason = format!("Meta throttles {whose} ({})", throttle.refusal);
        let writing = throttle::block_until(&self.pool, key, throttle.asked_for, self.max_backoff, &reason, was_trial);
        let block = self.answered_by(writing).await?;
        self.heard.block(key, block.remaining);
        lock(&self.noted).count += 1;
        lock(&self.noted).until = Some(block.until);
        if throttle.may_be_abuse_limit {
            tracing::warn!(key = key.key, reason, until = %block.until, "waiting: Meta throttles without a subcode, which it does for abuse limits too");
        } else {
            tracing::info!(key = key.key, reason, until = %block.until, "waiting: Meta throttles");
        }
        if block.in_a_row >= IN_HAND {
            let sentence = format!("{reason}, {} times in a row", block.in_a_row);
            return Err(Closed::Throttled { retry_after: block.remaining, sentence });
        }
        Ok(())
    }

    fn note_quota(&self, quota: Quota) {
        for (key, percent) in [(&self.ad_account, quota.account_percent), (&self.app, quota.app_percent)] {
            if let Some(percent) = percent {
                self.heard.quota(key, percent);
            }
        }
    }

    async fn hear(&self, quota: Quota) -> Result<(), Closed> {
        self.note_quota(quota);
        let trial = lock(&self.trial).take();
        if let Some(trial) = trial {
            self.answered_by(throttle::answered(&self.pool, &self.keys(), trial)).await?;
        }
        Ok(())
    }

    fn blocked_here(&self) -> Option<Duration> {
        let heard = self.heard.lock();
        let left = |key| heard.get(key)?.blocked_until?.checked_duration_since(Instant::now());
        left(&self.ad_account).max(left(&self.app)).filter(|left| !left.is_zero())
    }

    /// Nothing below three quarters of a quota; the longest wait where it is full.
    fn pause(&self) -> Duration {
        let heard = self.heard.lock();
        let percent = |key| {
            let (percent, at) = heard.get(key)?.quota?;
            (at.elapsed() < QUOTA_KNOWN_FOR).then_some(percent)
        };
        pause(percent(&self.ad_account).max(percent(&self.app)).unwrap_or_default(), self.max_backoff)
    }

    async fn answered_by<T>(&self, asked: impl Future<Output = sqlx::Result<T>>) -> Result<T, Closed> {
        match tokio::time::timeout(self.answer_within, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Closed::Failed(FetchError::from(error).into())),
            Err(_) => Err(Closed::Failed(FetchError::Silent.into())),
        }
    }
}

impl meta_api::Gate for Gate {
    fn pass(&self, midway: bool) -> Passing<'_> {
        Box::pin(self.let_out(midway))
    }

    fn throttled<'a>(&'a self, throttle: &'a Throttle) -> Passing<'a> {
        Box::pin(self.write_down(throttle))
    }

    fn answered(&self, quota: Quota) -> Passing<'_> {
        Box::pin(self.hear(quota))
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, HashMap<ThrottleKey, State>> {
        lock(&self.0)
    }

    fn block(&self, key: &ThrottleKey, remaining: Duration) {
        self.lock().entry(key.clone()).or_default().blocked_until = Some(Instant::now() + remaining);
    }

    fn quota(&self, key: &ThrottleKey, percent: u32) {
        self.lock().entry(key.clone()).or_default().quota = Some((percent, Instant::now()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The third power of how far a quota is beyond where slowing down begins: hardly anything at 80 percent, an eighth of
/// the longest wait in the middle.
fn pause(percent: u32, longest: Duration) -> Duration {
    let beyond = f64::from(percent.min(100).saturating_sub(SLOW_FROM_PERCENT)) / f64::from(100 - SLOW_FROM_PERCENT);
    longest.mul_f64(beyond.powi(3))
}

/// Whom a throttle stops: the ad account, and the app of the token. Where nobody knows the app, a hash of the token
/// stands for it: all who use that token are of one app.
pub(crate) fn keys(external_id: &str, app_id: Option<&str>, token: &SecretString) -> (ThrottleKey, ThrottleKey) {
    let app = app_id.map_or_else(|| hash_of(token), str::to_owned);
    let key = |scope, key| ThrottleKey { scope, key };
    (key(ThrottleScope::AdAccount, external_id.to_owned()), key(ThrottleScope::App, app))
}

fn hash_of(token: &SecretString) -> String {
    let mut key = "token:".to_owned();
    for byte in &Sha256::digest(token.expose_secret())[..16] {
        // Writing into a String does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_slow_down_before_a_quota_is_full() {
        let longest = Duration::from_secs(60);
        for (percent, low_ms, high_ms) in [
            (0, 0, 0),
            (75, 0, 0),
            (80, 400, 600),
            (87, 6_000, 7_000),
            (95, 30_000, 31_000),
            (100, 60_000, 60_000),
            (250, 60_000, 60_000),
        ] {
            let ms = pause(percent, longest).as_millis();
            assert!((low_ms..=high_ms).contains(&ms), "{percent}%: {ms} ms");
        }
    }
}
