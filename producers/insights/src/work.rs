//! One run, from its lease to its end: which days, in which order, and what a failure means for the rest.

use std::future::Future;
use std::time::Duration;

use accounts::{Integration, Status, VersionError};
use chrono::NaiveDate;
use chrono_tz::Tz;
use jetstream::{LogRoom, PublishError, Verdict};
use meta_api::{Access, AccessToken};
use runs::{JobType, Learned, Lease, Throttled, WaitReason, Window};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::day::{Brought, DayError, Fetch};
use crate::fetcher::FetchError;
use crate::gate::{self, Gate};
use crate::ladder::{Bottom, Ladder};
use crate::{Fetcher, plan, translate};

/// How long it is believed that an ad account still has the currency and the time zone it was connected with.
const CHECKED_FOR: Duration = Duration::from_secs(5 * 60);
const LOG_FULL_PAUSE: Duration = Duration::from_secs(30);
const LOG_UNREACHABLE_PAUSE: Duration = Duration::from_secs(10);
/// Before it is seen whether Meta is back.
const META_UNREACHABLE_PAUSE: Duration = Duration::from_secs(60);
/// A run that was set aside for throttles this often without bringing a day is given up; its days stay owed.
const MAX_THROTTLE_WAITS: i32 = 100;
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

/// What changes from window to window.
struct Asking<'a> {
    ladder: &'a mut Ladder,
    /// When the ad account was last looked at.
    checked_at: Option<Instant>,
}

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
        let (integration, token, app_id) = self.integration(lease).await?;
        let Ok(zone) = integration.timezone_name.parse::<Tz>() else {
            let message = format!(
                "time zone {:?} is not known to this version of adledger: run a newer one",
                integration.timezone_name
            );
            return Err(give_up("blocked", &message));
        };
        let today = self.clock.today(zone);
        self.log_takes_events().await?;

        let planned = window.or_else(|| plan::window(lease.job, today, integration.attribution_window_days));
        let Some(planned) = planned else {
            return Err(give_up("wrong_request", "a backfill needs a range: --since and --until"));
        };
        let keys = gate::keys(&integration.external_id, app_id.as_deref(), &token);
        let gate = Gate::new(&self.pool, &self.shared.heard, keys, self.max_backoff, self.lease);
        let access =
            Access { token: &token, external_id: &integration.external_id, gate: Some(&gate), observer: &|_| () };
        let fetch = Fetch { fetcher: self, lease, integration: &integration, access, today };
        let remembered = self.answered(runs::fetch_shape(&self.pool, lease.account_id, lease.integration_id)).await?;
        let mut ladder = Ladder::new(remembered);
        // Before anything is asked: a day that is planned is owed, whatever becomes of the run.
        let due = self.plan(&fetch, planned).await?;
        *window = Some(planned);
        let mut asking = Asking { ladder: &mut ladder, checked_at: None };
        let done = self.windows(&fetch, &gate, &mut asking, &due, cancel).await;
        // Also after a failure: what is known now of how to ask is worth as much then.
        if ladder != Ladder::new(remembered) && !matches!(done, Err(Stop::Lost(_))) {
            let learned = if remembered.is_none() { Learned::Anew } else { Learned::NothingNew };
            self.remember(&fetch, &ladder, learned).await?;
        }
        done
    }

    /// Writes down which days the run owes, and returns those that are still to be fetched.
    async fn plan(&self, fetch: &Fetch<'_>, planned: Window) -> Result<Vec<NaiveDate>, FetchError> {
        let Fetch { lease, today, .. } = *fetch;
        let cursor = self.answered(runs::sync_cursor(&self.pool, lease.account_id, lease.integration_id)).await?;
        let owed = self.answered(runs::days_owed(&self.pool, lease.account_id, lease.integration_id)).await?;
        let days = plan::days(lease.job, planned, cursor, &owed, today);
        self.answered(lease.plan(&self.pool, planned, &days)).await
    }

    /// Fetches what is due, window after window.
    async fn windows(
        &self,
        fetch: &Fetch<'_>,
        gate: &Gate,
        Asking { ladder, checked_at }: &mut Asking<'_>,
        due: &[NaiveDate],
        cancel: &CancellationToken,
    ) -> Result<(), Stop> {
        let Fetch { lease, integration, .. } = *fetch;
        // Also where nothing is due: whether the ad account is what it was is worth knowing.
        self.check_unchanged(fetch, gate, checked_at, cancel).await?;
        let gives_way_after = if lease.job == JobType::Backfill { CHUNK_DAYS } else { usize::MAX };
        let (mut at, mut failures_in_a_row) = (0, 0);
        // Days of a window that failed as a whole, each of which is asked for by itself.
        let mut alone = 0_usize;
        // The first day of the window that was last asked for twice, because Meta gave no usable answer.
        let mut twice = None;
        while at < due.len() {
            if at >= gives_way_after {
                return Err(Stop::GiveWay);
            }
            self.check_unchanged(fetch, gate, checked_at, cancel).await?;
            let until = if alone > 0 { at + 1 } else { due.len().min(gives_way_after) };
            let Some(window) = ladder.window(&due[at..until]) else { break };
            let (first, asked) = (*window.start(), due[at..].iter().filter(|day| window.contains(day)).count());
            // Nothing of a day is published before the window's last answer, so that leaving it leaves it due.
            let fetching = self.kept(lease, gate, fetch.window(window, ladder));
            let Some(brought) = cancel.run_until_cancelled(fetching).await else { return Err(Stop::GiveBack) };
            let Brought { published, error } = brought?;
            self.answered(lease.days_published(&self.pool, &published)).await?;
            at += published.len();
            alone = alone.saturating_sub(published.len());
            if !published.is_empty() {
                failures_in_a_row = 0;
            }
            let Some(error) = error else { continue };
            if let DayError::Meta(meta_api::Error::LargeWindow { rows, .. }) = &error {
                tracing::info!(%error, "asking for fewer days");
                ladder.larger_than_expected(*rows);
                continue;
            }
            if let DayError::Meta(meta_api::Error::TooMuchData { page_limit, .. }) = &error
                && ladder.too_large(asked, page_limit.is_none()) != Err(Bottom)
            {
                tracing::info!(%error, next = ?ladder.question(), "too much data: asking for less");
                self.remember(fetch, ladder, Learned::TooLarge).await?;
                continue;
            }
            if let DayError::Meta(meta_api::Error::Unreachable { .. }) = &error
                && twice != Some(due[at])
            {
                // Either Meta is away, or it is this window that it cannot answer. Its answer about the ad account
                // tells, and while it is away the run waits; day by day would be many questions to nobody.
                tracing::info!(%error, "no usable answer: seeing whether Meta is there, and asking again");
                (twice, *checked_at) = (Some(due[at]), None);
                continue;
            }
            let (message, code) = (error.to_string(), error.code());
            if let Some(stop) = self.judge(lease, integration, error).await? {
                return Err(stop);
            }
            if asked > 1 {
                tracing::info!(%first, asked, message, "a window failed: asking for each of its days");
                alone = asked - published.len();
                continue;
            }
            let date = due[at];
            tracing::warn!(%date, message, "a day failed");
            self.answered(lease.day_failed(&self.pool, date, &message)).await?;
            at += 1;
            alone = alone.saturating_sub(1);
            failures_in_a_row += 1;
            if failures_in_a_row == MAX_FAILURES_IN_A_ROW {
                return Err(give_up(code, &message));
            }
        }
        Ok(())
    }

    /// Asks for the ad account itself, before its days and now and then between them: whether it is still what was
    /// connected. Days without rows would not show it.
    async fn check_unchanged(
        &self,
        fetch: &Fetch<'_>,
        gate: &Gate,
        checked_at: &mut Option<Instant>,
        cancel: &CancellationToken,
    ) -> Result<(), Stop> {
        if checked_at.is_some_and(|at| at.elapsed() < CHECKED_FOR) {
            return Ok(());
        }
        let checking = self.kept(fetch.lease, gate, self.unchanged(fetch));
        let Some(checked) = cancel.run_until_cancelled(checking).await else { return Err(Stop::GiveBack) };
        *checked_at = Some(Instant::now());
        match checked? {
            Ok(()) => Ok(()),
            Err(error @ DayError::Meta(meta_api::Error::Unreachable { .. })) => {
                let (reason, pause) = (WaitReason::MetaUnreachable, META_UNREACHABLE_PAUSE);
                Err(Stop::Wait { reason, pause, message: error.to_string() })
            }
            // Nothing is fetched of an ad account of which it is not known whether it is what it was.
            Err(error) => {
                let (message, code) = (error.to_string(), error.code());
                let stop = self.judge(fetch.lease, fetch.integration, error).await?;
                Err(stop.unwrap_or_else(|| give_up(code, &message)))
            }
        }
    }

    async fn unchanged(&self, fetch: &Fetch<'_>) -> Result<(), DayError> {
        match self.sources.connected(&fetch.access, fetch.integration).await? {
            Some(found) => Ok(translate::check_unchanged(fetch.integration, &found)?),
            None => Ok(()),
        }
    }

    async fn remember(&self, fetch: &Fetch<'_>, ladder: &Ladder, learned: Learned) -> Result<(), FetchError> {
        let (account_id, integration_id) = (fetch.lease.account_id, fetch.lease.integration_id);
        let shape = ladder.shape();
        self.answered(runs::remember_shape(&self.pool, account_id, integration_id, &shape, learned)).await
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

    /// The integration, its token, and the app that this was made for where that is known; if its jobs may run.
    async fn integration(&self, lease: &Lease) -> Result<(Integration, AccessToken, Option<String>), Stop> {
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
                Ok((integration, token, kept.app_id))
            }
            Some(Err(error)) => Err(give_up("token", &error.to_string())),
            None => Err(give_up("token", "the integration has no token: connect it again")),
        }
    }

    /// Whether a failure ends the run, makes it wait, or (`None`) concerns its day alone. What it says of the
    /// integration is written down.
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
                let marked = self.mark(integration, Status::NeedsReconnect, &message).await?;
                marked.unwrap_or(give_up("permission", &message))
            }
            DayError::Meta(meta_api::Error::Gate { source, .. }) => return Err(of_gate(source)),
            DayError::Meta(meta_api::Error::Blocked { retry_after, .. })
                if lease.throttle_waits < MAX_THROTTLE_WAITS =>
            {
                Stop::Wait { reason: WaitReason::Throttled, pause: retry_after, message }
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

    /// Says that the integration's jobs may no longer run. Where it was connected anew meanwhile, nobody has seen the
    /// new token refused: then the run is given back, to go on with that one.
    async fn mark(&self, integration: &Integration, status: Status, message: &str) -> Result<Option<Stop>, FetchError> {
        let marked = accounts::set_status(&self.pool, integration, status, Some(message));
        Ok(if self.answered(marked).await? { None } else { Some(Stop::GiveBack) })
    }

    /// Waits for `work`, and says meanwhile that this worker lives and how often it was throttled.
    async fn kept<T>(&self, lease: &Lease, gate: &Gate, work: impl Future<Output = T>) -> Result<T, FetchError> {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_secs(1).min(self.lease / 3));
        let mut kept_at = tokio::time::Instant::now();
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => {
                    self.write_throttles(lease, gate).await?;
                    if kept_at.elapsed() >= self.lease / 3 {
                        self.answered(lease.keep(&self.pool)).await?;
                        kept_at = tokio::time::Instant::now();
                    }
                }
            }
        };
        self.write_throttles(lease, gate).await?;
        Ok(done)
    }

    async fn write_throttles(&self, lease: &Lease, gate: &Gate) -> Result<(), FetchError> {
        let noted = gate.take_noted();
        if noted != Throttled::default() {
            self.answered(lease.throttled(&self.pool, &noted)).await?;
        }
        Ok(())
    }
}

/// The gate's own failure, as it was before it went through the client.
fn of_gate(source: Box<dyn std::error::Error + Send + Sync>) -> FetchError {
    source.downcast().map_or(FetchError::Silent, |error| *error)
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

fn give_up(code: &str, message: &str) -> Stop {
    Stop::GiveUp { code: code.to_owned(), message: message.to_owned() }
}
