//! One run, from its lease to its end: which days, in which order, and what a failure means for the rest.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accounts::{Integration, Status, VersionError};
use chrono_tz::Tz;
use jetstream::{LogRoom, PublishError, Verdict};
use meta_api::{AccessToken, Observer, Progress};
use runs::{JobType, Lease, WaitReason, Window};
use tokio_util::sync::CancellationToken;

use crate::day::DayError;
use crate::fetcher::FetchError;
use crate::{Fetcher, Step, plan, translate};

/// Throttled runs wait at least this long before they are taken again.
const THROTTLE_PAUSE: Duration = Duration::from_secs(60);
const LOG_FULL_PAUSE: Duration = Duration::from_secs(30);
const LOG_UNREACHABLE_PAUSE: Duration = Duration::from_secs(10);
/// A run that was throttled this often is given up; its days stay owed.
const MAX_ATTEMPTS: i32 = 20;
/// A run of which so many holders in a row died without bringing a day is given up: it may be what they die of.
const MAX_TAKEOVERS: i32 = 20;
/// Days in a row that fail alike, after which the next would too.
const MAX_FAILURES_IN_A_ROW: u32 = 3;
/// Days after which a backfill gives way.
const CHUNK_DAYS: usize = 10;

/// Why a run stops before its last day.
pub(crate) enum Stop {
    GiveUp {
        code: String,
        message: String,
    },
    Wait {
        reason: WaitReason,
        pause: Duration,
        message: String,
    },
    /// It had its turn; the rest of it comes after what is more urgent.
    GiveWay,
    /// This process is asked to stop, or what it knew of the integration is out of date.
    GiveBack,
    /// The run is lost to another worker, or PostgreSQL is.
    Lost(FetchError),
}

impl<E: Into<FetchError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Lost(error.into())
    }
}

/// Throttles that are not written down yet: `(count, milliseconds)`.
type Throttles = Mutex<(u32, u64)>;

impl Fetcher {
    pub(crate) async fn work(
        &self,
        lease: &Lease,
        window: &mut Option<Window>,
        cancel: &CancellationToken,
    ) -> Result<(), Stop> {
        if lease.takeovers > MAX_TAKEOVERS {
            let message = format!(
                "{} workers ended in the middle of this run: see their logs, then ask for it again",
                lease.takeovers
            );
            return Err(give_up("takeovers", &message));
        }
        let (integration, token) = self.integration(lease).await?;
        let Ok(zone) = integration.timezone_name.parse::<Tz>() else {
            let message = format!(
                "time zone {:?} is not known to this version of adledger: run a newer one",
                integration.timezone_name
            );
            return Err(give_up("blocked", &message));
        };
        let today = self.clock.today(zone);
        self.log_takes_events().await?;
        let throttles = Throttles::default();
        let observer = |progress| note(&throttles, &progress);
        let checking = self.unchanged(&integration, &token, &observer);
        let Some(checked) = cancel.run_until_cancelled(self.kept(lease, &throttles, checking)).await else {
            return Err(Stop::GiveBack);
        };
        if let Err(error) = checked?
            && let Some(stop) = self.judge(lease, &integration, error).await?
        {
            return Err(stop);
        }

        let planned = window.or_else(|| plan::window(lease.job, today, integration.attribution_window_days));
        let Some(planned) = planned else {
            return Err(give_up("wrong_request", "a backfill needs a range: --since and --until"));
        };
        *window = Some(planned);
        let cursor = self.answered(runs::sync_cursor(&self.pool, lease.account_id, lease.integration_id)).await?;
        let owed = self.answered(runs::days_owed(&self.pool, lease.account_id, lease.integration_id)).await?;
        let days = plan::days(lease.job, planned, cursor, &owed, today);
        let due = self.answered(lease.plan(&self.pool, planned, &days)).await?;

        let gives_way_after = if lease.job == JobType::Backfill { CHUNK_DAYS } else { usize::MAX };
        let mut failures_in_a_row = 0;
        for (done, date) in due.into_iter().enumerate() {
            if done == gives_way_after {
                return Err(Stop::GiveWay);
            }
            // Nothing of a day is published before its last answer, so that leaving it leaves it due.
            let fetching = self.day(lease, &integration, &token, date, today, &observer);
            let fetching = self.kept(lease, &throttles, fetching);
            let Some(fetched) = cancel.run_until_cancelled(fetching).await else { return Err(Stop::GiveBack) };
            match fetched? {
                Ok(published) => {
                    (self.observe)(Step::Published { date });
                    self.answered(lease.day_published(&self.pool, &published)).await?;
                    failures_in_a_row = 0;
                }
                Err(error) => {
                    let message = error.to_string();
                    let code = error.code();
                    if let Some(stop) = self.judge(lease, &integration, error).await? {
                        return Err(stop);
                    }
                    tracing::warn!(%date, message, "a day failed");
                    self.answered(lease.day_failed(&self.pool, date, &message)).await?;
                    failures_in_a_row += 1;
                    if failures_in_a_row == MAX_FAILURES_IN_A_ROW {
                        return Err(give_up(code, &message));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether it makes sense to ask Meta: what is fetched while the log takes nothing is fetched for nothing.
    async fn log_takes_events(&self) -> Result<(), Stop> {
        match LogRoom::ask(&self.wire).await {
            Ok(room) if room.verdict() == Verdict::Full => {
                Err(Stop::Wait { reason: WaitReason::LogFull, pause: LOG_FULL_PAUSE, message: room.sentence() })
            }
            Ok(_) => Ok(()),
            Err(error) => {
                let (reason, pause) = (WaitReason::LogUnreachable, LOG_UNREACHABLE_PAUSE);
                Err(Stop::Wait { reason, pause, message: error.to_string() })
            }
        }
    }

    /// The integration and its token, if its jobs may run.
    async fn integration(&self, lease: &Lease) -> Result<(Integration, AccessToken), Stop> {
        let found = self.answered(accounts::integration(&self.pool, lease.integration_id)).await?;
        let Some(integration) = found else {
            return Err(give_up("disconnected", "the integration is gone"));
        };
        if integration.status != Status::Connected {
            let reason = integration.status_reason.as_deref().unwrap_or("connect it again");
            return Err(give_up(
                integration.status.as_str(),
                &format!("the integration is {}: {reason}", integration.status),
            ));
        }
        match self.answered(accounts::token(&self.pool, &self.keys, &integration)).await? {
            Some(Ok(kept)) => {
                let token = AccessToken::of(kept.token, kept.app_id.as_deref(), self.app.as_ref());
                Ok((integration, token))
            }
            Some(Err(error)) => Err(give_up("token", &error.to_string())),
            None => Err(give_up("token", "the integration has no token: connect it again")),
        }
    }

    /// Asks for the ad account itself, before its days: whether it is still what was connected.
    async fn unchanged(
        &self,
        integration: &Integration,
        token: &AccessToken,
        observer: Observer<'_>,
    ) -> Result<(), DayError> {
        match self.sources.connected(token, integration, observer).await? {
            Some(found) => Ok(translate::check_unchanged(integration, &found)?),
            None => Ok(()),
        }
    }

    /// Whether a failure ends the run, makes it wait, or (`None`) concerns its day alone. What it says of the integration is
    /// written down.
    async fn judge(
        &self,
        lease: &Lease,
        integration: &Integration,
        error: DayError,
    ) -> Result<Option<Stop>, FetchError> {
        let message = error.to_string();
        Ok(Some(match error {
            DayError::Version(VersionError::Database(error)) => return Err(error.into()),
            DayError::Version(VersionError::Ahead { .. }) => give_up("clock", &message),
            DayError::Meta(meta_api::Error::Token { .. }) => {
                self.mark(integration, Status::NeedsReconnect, &message).await?.unwrap_or(give_up("token", &message))
            }
            DayError::Translate(_) => {
                let message = format!("{message}. When Meta answers as before, connect it again");
                self.mark(integration, Status::Blocked, &message).await?.unwrap_or(give_up("blocked", &message))
            }
            DayError::Meta(meta_api::Error::Permission { .. } | meta_api::Error::AdAccountId { .. }) => {
                give_up("permission", &message)
            }
            DayError::Meta(meta_api::Error::Throttled { retry_after, .. }) if lease.attempts < MAX_ATTEMPTS => {
                let pause = retry_after.unwrap_or_default().max(THROTTLE_PAUSE);
                Stop::Wait { reason: WaitReason::Throttled, pause, message }
            }
            DayError::Publish(PublishError::Full { .. }) => {
                Stop::Wait { reason: WaitReason::LogFull, pause: LOG_FULL_PAUSE, message }
            }
            DayError::Publish(PublishError::Unreachable { .. }) => {
                Stop::Wait { reason: WaitReason::LogUnreachable, pause: LOG_UNREACHABLE_PAUSE, message }
            }
            DayError::Meta(_) | DayError::Publish(_) | DayError::Encode(_) => return Ok(None),
        }))
    }

    /// Says that the integration's jobs may no longer run. Where it was connected anew meanwhile, nobody has seen the new token
    /// refused: then the run is given back, to go on with that one.
    async fn mark(&self, integration: &Integration, status: Status, message: &str) -> Result<Option<Stop>, FetchError> {
        let marked = accounts::set_status(&self.pool, integration, status, Some(message));
        Ok(if self.answered(marked).await? { None } else { Some(Stop::GiveBack) })
    }

    /// Waits for `work`, and says meanwhile that this worker lives and how often it was throttled.
    async fn kept<T>(
        &self,
        lease: &Lease,
        throttles: &Throttles,
        work: impl Future<Output = T>,
    ) -> Result<T, FetchError> {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_secs(1).min(self.lease / 3));
        let mut kept_at = tokio::time::Instant::now();
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => {
                    self.write_throttles(lease, throttles).await?;
                    if kept_at.elapsed() >= self.lease / 3 {
                        self.answered(lease.keep(&self.pool)).await?;
                        kept_at = tokio::time::Instant::now();
                    }
                }
            }
        };
        self.write_throttles(lease, throttles).await?;
        Ok(done)
    }

    async fn write_throttles(&self, lease: &Lease, throttles: &Throttles) -> Result<(), FetchError> {
        let (count, wait_ms) = std::mem::take(&mut *throttles.lock().unwrap_or_else(PoisonError::into_inner));
        if count > 0 {
            self.answered(lease.throttled(&self.pool, count, wait_ms)).await?;
        }
        Ok(())
    }
}

impl DayError {
    /// A stable word for `sync_runs.error_code`.
    fn code(&self) -> &'static str {
        match self {
            DayError::Meta(error) => error.class(),
            DayError::Translate(_) => "blocked",
            DayError::Publish(_) => "publish",
            DayError::Encode(_) => "encode",
            DayError::Version(_) => "clock",
        }
    }
}

fn note(throttles: &Throttles, progress: &Progress) {
    if let Progress::Throttled { wait, .. } = progress {
        let mut noted = throttles.lock().unwrap_or_else(PoisonError::into_inner);
        noted.0 += 1;
        noted.1 += u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    }
}

fn give_up(code: &str, message: &str) -> Stop {
    Stop::GiveUp { code: code.to_owned(), message: message.to_owned() }
}
