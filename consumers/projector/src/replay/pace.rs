//! How fast a replay may go: so many rows a second, and only while live traffic keeps up.

use std::time::Duration;

use jetstream::{META_INSIGHTS, Wire};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Record, Report, Stop};
use crate::DURABLE;

/// How often it is asked whether a wait is over.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Live traffic that settles nothing for so long is nobody's: waiting for it would never end.
const NOBODY_AFTER: Duration = Duration::from_secs(60);

/// The bounds of a replay's speed. Both are kept between transactions: the smaller those are, the closer.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Rows a second that are made anew and compared, over the whole of the replay.
    pub rows_a_second: Option<u64>,
    pub lag: Option<Lag>,
}

/// Live traffic, and how far behind it may be.
#[derive(Debug, Clone)]
pub struct Lag {
    pub wire: Wire,
    /// Age of the oldest event that live traffic has not folded.
    pub most: Duration,
}

pub(super) struct Pacer<'p> {
    pace: &'p Pace,
    /// Before this instant there is nothing to be done: the rows so far were too many for less time.
    not_before: Instant,
    /// Up to where everything was settled when nobody seemed to settle more.
    nobody_at: Option<u64>,
}

impl<'p> Pacer<'p> {
    pub fn new(pace: &'p Pace) -> Self {
        Pacer { pace, not_before: Instant::now(), nobody_at: None }
    }

    /// Takes rows into account that were worked on.
    pub fn spend(&mut self, rows: u64) {
        if let Some(rate) = self.pace.rows_a_second {
            let took = Duration::from_secs_f64(rows as f64 / rate.max(1) as f64);
            // Time that was waited for something else is not made up for.
            self.not_before = self.not_before.max(Instant::now() - took) + took;
        }
    }

    /// Waits until the next transaction may begin. Meanwhile the report says what for, and `progress` is called.
    pub async fn wait(
        &mut self,
        pool: &PgPool,
        record: Option<&Record>,
        cancel: &CancellationToken,
        report: &mut Report,
        progress: &impl Fn(&Report),
    ) -> Result<(), Stop> {
        let begun = Instant::now();
        let mut settled: Option<(u64, Instant)> = None;
        loop {
            let reason = match self.not_before.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Some((left.min(ASK_EVERY), None)),
                _ => self.behind(&mut settled).await.map(|reason| (ASK_EVERY, Some(reason))),
            };
            if cancel.is_cancelled() {
                return Err(Stop::Paused);
            }
            let Some((pause, reason)) = reason else {
                report.waiting = None;
                return Ok(());
            };
            if reason.is_some() {
                report.waiting = reason;
                progress(report);
            }
            // A wait can be long, and whoever wants a pause has it then.
            if begun.elapsed() > ASK_EVERY
                && let Some(record) = record
                && record.pause_is_wanted(pool).await?
            {
                return Err(Stop::Paused);
            }
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Err(Stop::Paused);
            }
        }
    }

    /// Why live traffic should be left alone, if so.
    async fn behind(&mut self, settled: &mut Option<(u64, Instant)>) -> Option<String> {
        let Lag { wire, most } = self.pace.lag.as_ref()?;
        let age = match wire.lag(META_INSIGHTS, DURABLE).await {
            Ok(lag) => lag.oldest_age?,
            Err(error) => {
                tracing::debug!(%error, "how far live traffic is behind is not known");
                return None;
            }
        };
        if age <= *most {
            self.nobody_at = None;
            return None;
        }
        let floor = wire.ack_floor(META_INSIGHTS, DURABLE).await.ok()?;
        if self.nobody_at == Some(floor) {
            return None;
        }
        let since = match *settled {
            Some((before, since)) if before == floor => since,
            _ => settled.insert((floor, Instant::now())).1,
        };
        if since.elapsed() >= NOBODY_AFTER {
            tracing::warn!("nobody folds live traffic: the replay does not wait for it");
            self.nobody_at = Some(floor);
            return None;
        }
        Some(format!("waiting: live traffic is {} s behind", age.as_secs()))
    }
}
