//! A run's progress while it changes, as server-sent events.
//!
//! A stream is not for ever: it ends with its run, with this process, with the credential, and after an hour at the
//! latest. Whoever still wants to know asks again, as every browser does by itself.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use uuid::Uuid;

use super::progress::Progress;
use super::sync_runs::no_run;
use crate::access::caller::Caller;
use crate::asked::Id;
use crate::problem::Problem;
use crate::web::Web;

/// Streams at a time. Each holds a connection of the listener's and asks PostgreSQL twice a second.
const MAX_STREAMS: usize = 32;
static STREAMS: Semaphore = Semaphore::const_new(MAX_STREAMS);
/// Of these, those of one credential, so that nobody takes all of them.
const MAX_STREAMS_OF_ONE: usize = 8;
static OF_EACH: Mutex<BTreeMap<Credential, usize>> = Mutex::new(BTreeMap::new());
/// Streams that ask at a time: whoever wants a page finds a connection free.
static ASKING: Semaphore = Semaphore::const_new(2);

/// A tenant, and the session it is looked at with, if it is one.
type Credential = (Uuid, Option<[u8; 32]>);

/// How often PostgreSQL is asked.
const POLL: Duration = Duration::from_millis(500);
/// How often the credential is looked at again.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// A run can be waiting for days.
const LONGEST: Duration = Duration::from_secs(3600);

/// Follow a sync run
///
/// An event `progress` at once and whenever something changed; an event `end` with the last word when the run is
/// finished and everything of it is in the tables, or when it failed. A stream that stops without `end` was broken off
/// (a restart, a revoked token, an hour): ask again.
#[utoipa::path(
    get, path = "/api/sync-runs/{id}/events", operation_id = "follow_sync_run", tag = "syncs",
    params(("id" = Uuid, Path, description = "The run")),
    security(("api_token" = []), ("session" = [])),
    responses(
        (status = 200, description = "Events `progress` and `end`; the data of each is a document `Progress`",
         body = Progress, content_type = "text/event-stream",
         example = json!("event: progress\ndata: {\"status\":\"running\",\"asked\":7,\"fetched\":66,\"published\":3,\"raw\":3,\"folded\":2,\"throttle_count\":0,\"throttle_wait_ms\":0,\"wait_reason\":null,\"not_before\":null,\"error_code\":null,\"error_message\":null}\n\n")),
        (status = 400, description = "The id is no UUID"),
        (status = 404, description = "The tenant has no such run"),
        (status = 409, description = "A session that has chosen no tenant"),
        (status = 503, description = "Too many streams are open, or PostgreSQL does not answer"),
    ),
)]
pub(crate) async fn events(State(web): State<Web>, caller: Caller, Id(run_id): Id) -> Result<Response, Problem> {
    let slot = Slot::take((caller.account_id, caller.scope.session_sha256))?;
    let now = Instant::now();
    let follower =
        Follower { web, caller, run_id, said: None, opened_at: now, checked_at: now, has_ended: false, _slot: slot };
    // Whether there is such a run is said as an answer, not as a stream.
    follower.look().await?.ok_or_else(no_run)?;
    let events = stream::unfold(follower, |mut follower| async move {
        let cancel = follower.web.cancel.clone();
        // A process that is to end waits for no stream, whatever the stream is waiting for.
        let event = cancel.run_until_cancelled(follower.next()).await.flatten()?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    // A proxy that collects an answer before it passes it on would pass on nothing for long.
    Ok(([("x-accel-buffering", "no")], Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

/// One who listens.
struct Follower {
    web: Web,
    caller: Caller,
    run_id: Uuid,
    /// What was sent last.
    said: Option<Progress>,
    opened_at: Instant,
    checked_at: Instant,
    has_ended: bool,
    _slot: Slot,
}

/// The place of one stream.
struct Slot {
    credential: Credential,
    _place: SemaphorePermit<'static>,
}

impl Slot {
    fn take(credential: Credential) -> Result<Slot, Problem> {
        let full = |limit: usize, whose: &str| {
            let detail =
                format!("{limit} streams of events {whose} are open here, and no more are: ask for the run itself");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(Duration::from_secs(10))
        };
        let place = STREAMS.try_acquire().map_err(|_| full(MAX_STREAMS, "in all"))?;
        let mut of_each = OF_EACH.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = of_each.entry(credential).or_default();
        if *of_one >= MAX_STREAMS_OF_ONE {
            return Err(full(MAX_STREAMS_OF_ONE, "of this credential"));
        }
        *of_one += 1;
        Ok(Slot { credential, _place: place })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut of_each = OF_EACH.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_one) = of_each.get_mut(&self.credential) {
            *of_one -= 1;
            if *of_one == 0 {
                of_each.remove(&self.credential);
            }
        }
    }
}

impl Follower {
    /// The next event, once there is something to say; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if self.has_ended {
            return None;
        }
        if let Some(last) = self.said.as_ref().filter(|said| said.is_over) {
            self.has_ended = true;
            return event("end", last);
        }
        loop {
            if self.said.is_some() {
                tokio::time::sleep(POLL).await;
            }
            if self.opened_at.elapsed() > LONGEST || !self.may_go_on().await {
                return None;
            }
            match self.look().await {
                Ok(Some(progress)) if self.said.as_ref() != Some(&progress) => {
                    return event("progress", self.said.insert(progress));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(problem) => {
                    tracing::debug!(detail = problem.detail, "a stream of events ended: PostgreSQL does not answer");
                    return None;
                }
            }
        }
    }

    async fn may_go_on(&mut self) -> bool {
        if self.checked_at.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked_at = Instant::now();
        self.caller.is_still_good(&self.web).await.unwrap_or(false)
    }

    async fn look(&self) -> Result<Option<Progress>, Problem> {
        // Nobody closes the semaphore.
        let _asking = ASKING.acquire().await;
        let mut tx = self.caller.scope.begin(&self.web.pool).await?;
        let Some(run) = runs::run(&mut *tx, self.run_id).await? else { return Ok(None) };
        let progress = Progress::of(&mut tx, &run).await?;
        tx.commit().await?;
        Ok(Some(progress))
    }
}

fn event(name: &str, progress: &Progress) -> Option<Event> {
    Event::default().event(name).json_data(progress).ok()
}
