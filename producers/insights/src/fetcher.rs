use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accounts::{Integration, KeyRing, Status, VersionError};
use chrono::NaiveDate;
use chrono_tz::Tz;
use jetstream::{PublishError, Wire};
use meta_api::{Observer, Progress};
use runs::{Ending, Lease, LeaseError, WaitReason, Window};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::day::DayError;
use crate::source::{Asked, Sources};
use crate::{Clock, plan, translate};

/// How often a worker without work looks for some.
const IDLE: Duration = Duration::from_secs(1);
/// Throttled runs wait at least this long before they are taken again.
const THROTTLE_PAUSE: Duration = Duration::from_secs(60);
/// A run that was throttled this often is given up; its days stay owed.
const MAX_ATTEMPTS: i32 = 20;
/// A run whose holder died this often is given up: it may be what they die of.
const MAX_TAKEOVERS: i32 = 5;
/// Days in a row that fail alike, after which the next would too.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// What a fetcher has just done; tests end the process at one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The log has the day's event; the day is not written down yet.
    Published { date: NaiveDate },
}

/// Works on sync runs.
pub struct Fetcher {
    pub pool: PgPool,
    pub wire: Wire,
    pub sources: Sources,
    pub keys: KeyRing,
    pub clock: Clock,
    pub asked: Asked,
    /// How long a run is this worker's without a sign of life.
    pub lease: Duration,
    pub observe: Arc<dyn Fn(Step) + Send + Sync>,
}

/// Why a run stops before its last day.
enum Stop {
    GiveUp {
        code: String,
        message: String,
    },
    Wait {
        reason: WaitReason,
        pause: Duration,
        message: String,
    },
    /// This process is asked to stop.
    Cancelled,
}

/// Throttles that are not written down yet: `(count, milliseconds)`.
type Throttles = Mutex<(u32, u64)>;

impl Fetcher {
    /// Works until cancelled. A run in hand is given back then, for somebody else to go on with.
    pub async fn run(&self, cancel: &CancellationToken) {
        while !cancel.is_cancelled() {
            let pause = match self.run_once(None, cancel).await {
                Ok(Some(_)) => continue,
                Ok(None) => IDLE,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a fetcher stopped in the middle of its work"
                    );
                    5 * IDLE
                }
            };
            let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
        }
    }

    /// Takes one run (this one, or any) and works on it until it ends or has to wait. `None` when there is none to take.
    ///
    /// # Errors
    /// The run is lost to another worker, or PostgreSQL is. In both cases the lease runs out and the run is taken again.
    pub async fn run_once(&self, only: Option<Uuid>, cancel: &CancellationToken) -> Result<Option<Uuid>, LeaseError> {
        let Some(lease) = runs::claim(&self.pool, self.lease, only, self.sources.meta.is_none()).await? else {
            return Ok(None);
        };
        let run_id = lease.run_id;
        tracing::info!(%run_id, job = %lease.job, attempt = lease.attempts, "working on a sync run");
        let mut window = lease.window;
        match self.work(&lease, &mut window, cancel).await? {
            Ok(()) => lease.finish(&self.pool, window, &Ending::Through).await?,
            Err(Stop::GiveUp { code, message }) => {
                tracing::warn!(%run_id, code, message, "a sync run is given up");
                lease.finish(&self.pool, window, &Ending::GivenUp { code, message }).await?;
            }
            Err(Stop::Wait { reason, pause, message }) => {
                tracing::warn!(%run_id, reason = reason.as_str(), message, "a sync run waits");
                lease.wait(&self.pool, reason, pause, &message).await?;
            }
            Err(Stop::Cancelled) => lease.give_back(&self.pool).await?,
        }
        Ok(Some(run_id))
    }

    async fn work(
        &self,
        lease: &Lease,
        window: &mut Option<Window>,
        cancel: &CancellationToken,
    ) -> Result<Result<(), Stop>, LeaseError> {
        if lease.takeovers > MAX_TAKEOVERS {
            let message = format!(
                "{} workers ended in the middle of this run: see their logs, then ask for it again",
                lease.takeovers
            );
            return Ok(Err(give_up("takeovers", &message)));
        }
        let (integration, token) = match self.integration(lease).await? {
            Ok(found) => found,
            Err(stop) => return Ok(Err(stop)),
        };
        let Ok(zone) = integration.timezone_name.parse::<Tz>() else {
            let message = format!(
                "time zone {:?} is not known to this version of adledger: run a newer one",
                integration.timezone_name
            );
            return Ok(Err(give_up("blocked", &message)));
        };
        let today = self.clock.today(zone);
        let throttles = Throttles::default();
        let observer = |progress| note(&throttles, &progress);
        let checking = self.unchanged(&integration, &token, &observer);
        let Some(checked) = cancel.run_until_cancelled(self.kept(lease, &throttles, checking)).await else {
            return Ok(Err(Stop::Cancelled));
        };
        if let Err(error) = checked?
            && let Some(stop) = self.judge(lease, &integration, error).await?
        {
            return Ok(Err(stop));
        }

        let planned = window.or_else(|| plan::window(lease.job, today, integration.attribution_window_days));
        let Some(planned) = planned else {
            return Ok(Err(give_up("wrong_request", "a backfill needs a range: --since and --until")));
        };
        *window = Some(planned);
        let cursor = runs::sync_cursor(&self.pool, lease.account_id, lease.integration_id).await?;
        let owed = runs::days_owed(&self.pool, lease.account_id, lease.integration_id).await?;
        let days = plan::days(lease.job, planned, cursor, &owed, today);
        let due = lease.plan(&self.pool, planned, &days).await?;

        let mut failures_in_a_row = 0;
        for date in due {
            // Nothing of a day is published before its last answer, so that leaving it leaves it due.
            let fetching = self.day(lease, &integration, &token, date, today, &observer);
            let fetching = self.kept(lease, &throttles, fetching);
            let Some(fetched) = cancel.run_until_cancelled(fetching).await else { return Ok(Err(Stop::Cancelled)) };
            match fetched? {
                Ok(published) => {
                    (self.observe)(Step::Published { date });
                    lease.day_published(&self.pool, &published).await?;
                    failures_in_a_row = 0;
                }
                Err(error) => {
                    let message = error.to_string();
                    let code = error.code();
                    if let Some(stop) = self.judge(lease, &integration, error).await? {
                        return Ok(Err(stop));
                    }
                    tracing::warn!(%date, message, "a day failed");
                    lease.day_failed(&self.pool, date, &message).await?;
                    failures_in_a_row += 1;
                    if failures_in_a_row == MAX_FAILURES_IN_A_ROW {
                        return Ok(Err(give_up(code, &message)));
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// The integration and its token, if its jobs may run.
    async fn integration(&self, lease: &Lease) -> Result<Result<(Integration, SecretString), Stop>, LeaseError> {
        let Some(integration) = accounts::integration(&self.pool, lease.integration_id).await? else {
            return Ok(Err(give_up("disconnected", "the integration is gone")));
        };
        if integration.status != Status::Connected {
            let reason = integration.status_reason.as_deref().unwrap_or("connect it again");
            return Ok(Err(give_up(
                integration.status.as_str(),
                &format!("the integration is {}: {reason}", integration.status),
            )));
        }
        Ok(match accounts::token(&self.pool, &self.keys, &integration).await? {
            Some(Ok(token)) => Ok((integration, token)),
            Some(Err(error)) => Err(give_up("token", &error.to_string())),
            None => Err(give_up("token", "the integration has no token: connect it again")),
        })
    }

    /// Asks for the ad account itself, before its days: whether it is still what was connected.
    async fn unchanged(
        &self,
        integration: &Integration,
        token: &SecretString,
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
    ) -> Result<Option<Stop>, LeaseError> {
        let message = error.to_string();
        Ok(Some(match error {
            DayError::Version(VersionError::Database(error)) => return Err(error.into()),
            DayError::Version(VersionError::Ahead { .. }) => give_up("clock", &message),
            DayError::Meta(meta_api::Error::Token { .. }) => {
                accounts::set_status(&self.pool, integration, Status::NeedsReconnect, Some(&message)).await?;
                give_up("token", &message)
            }
            DayError::Translate(_) => {
                let message = format!("{message}. When Meta answers as before, connect it again");
                accounts::set_status(&self.pool, integration, Status::Blocked, Some(&message)).await?;
                give_up("blocked", &message)
            }
            DayError::Meta(meta_api::Error::Permission { .. } | meta_api::Error::AdAccountId { .. }) => {
                give_up("permission", &message)
            }
            DayError::Meta(meta_api::Error::Throttled { retry_after, .. }) if lease.attempts < MAX_ATTEMPTS => {
                let pause = retry_after.unwrap_or_default().max(THROTTLE_PAUSE);
                Stop::Wait { reason: WaitReason::Throttled, pause, message }
            }
            DayError::Publish(PublishError::Full { .. }) => {
                Stop::Wait { reason: WaitReason::LogFull, pause: Duration::from_secs(30), message }
            }
            DayError::Publish(PublishError::Unreachable { .. }) => {
                Stop::Wait { reason: WaitReason::LogUnreachable, pause: Duration::from_secs(10), message }
            }
            DayError::Meta(_) | DayError::Publish(_) | DayError::Encode(_) => return Ok(None),
        }))
    }

    /// Waits for `work`, and says meanwhile that this worker lives and how often it was throttled.
    async fn kept<T>(
        &self,
        lease: &Lease,
        throttles: &Throttles,
        work: impl Future<Output = T>,
    ) -> Result<T, LeaseError> {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_secs(1).min(self.lease / 3));
        let mut kept_at = tokio::time::Instant::now();
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => {
                    self.write_throttles(lease, throttles).await?;
                    if kept_at.elapsed() >= self.lease / 3 {
                        lease.keep(&self.pool).await?;
                        kept_at = tokio::time::Instant::now();
                    }
                }
            }
        };
        self.write_throttles(lease, throttles).await?;
        Ok(done)
    }

    async fn write_throttles(&self, lease: &Lease, throttles: &Throttles) -> Result<(), LeaseError> {
        let (count, wait_ms) = std::mem::take(&mut *throttles.lock().unwrap_or_else(PoisonError::into_inner));
        if count > 0 {
            lease.throttled(&self.pool, count, wait_ms).await?;
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
