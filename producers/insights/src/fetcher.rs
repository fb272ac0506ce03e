use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use accounts::KeyRing;
use chrono::NaiveDate;
use jetstream::{BATCH_BYTES, Delivery, Disposition, META_SYNC, Puller, Wire, WireError};
use meta_api::App;
use runs::{Ending, Lease, LeaseError};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::Clock;
use crate::gate::Heard;
use crate::source::{Asked, Sources};
use crate::work::Stop;

/// The durable consumer of the fetchers' doorbell.
pub const DURABLE: &str = "fetch";

/// How long a worker waits for the bell before it looks for itself: for runs whose wait is over, whose holder died, or
/// whose bell was lost. Every worker sweeps, so that none has to.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

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
    /// Whose tokens go along with the proof of its secret.
    pub app: Option<App>,
    pub clock: Clock,
    pub asked: Asked,
    /// How long a run is this worker's without a sign of life.
    pub lease: Duration,
    /// `META_MAX_BACKOFF_SECONDS`: throttles are waited out with the run in hand for so long; past that the run is
    /// given back until they are over.
    pub max_backoff: Duration,
    /// What the workers of this process share.
    pub shared: Shared,
    pub observe: Arc<dyn Fn(Step) + Send + Sync>,
}

/// What the workers of one process share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) heard: Heard,
    /// Who fetches a large day: one at a time, so that memory is that of one, however many ad accounts there are.
    pub(crate) large: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Shared { heard: Heard::default(), large: Semaphore::new(1) }
    }
}

/// Why a worker left a run in the middle. The lease runs out, and the run is taken again.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("PostgreSQL does not answer: what was asked of it is asked again")]
    Silent,
}

impl From<sqlx::Error> for FetchError {
    fn from(error: sqlx::Error) -> Self {
        FetchError::Lease(error.into())
    }
}

impl Fetcher {
    /// Works until cancelled. A run in hand is given back then, for somebody else to go on with.
    pub async fn run(&self, cancel: &CancellationToken) {
        let mut bell = Bell { wire: &self.wire, puller: None };
        while !cancel.is_cancelled() {
            let Some(rung) = cancel.run_until_cancelled(bell.next()).await else { return };
            let (mut rung, mut pause) = match rung {
                Ok(rung) => (rung, Duration::ZERO),
                Err(error) => {
                    tracing::warn!(%error, "the doorbell cannot be heard; looking for work all the same");
                    (None, SWEEP_EVERY)
                }
            };
            while !cancel.is_cancelled() {
                let claimed = self.claim(None).await;
                // The run is this worker's, or there is none: either way the bell has done its work.
                if claimed.is_ok()
                    && let Some(rung) = rung.take()
                {
                    bell.answer(&rung).await;
                }
                match claimed {
                    Ok(Some(lease)) => {
                        if let Err(error) = self.perform(&lease, cancel).await {
                            warn(&error);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        warn(&error);
                        pause = SWEEP_EVERY;
                        break;
                    }
                }
            }
            let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
        }
    }

    /// Takes one run (this one, or any) and works on it until it ends, has to wait, or gives way. `None` when there is
    /// none to take.
    pub async fn run_once(&self, only: Option<Uuid>, cancel: &CancellationToken) -> Result<Option<Uuid>, FetchError> {
        let Some(lease) = self.claim(only).await? else { return Ok(None) };
        self.perform(&lease, cancel).await?;
        Ok(Some(lease.run_id))
    }

    async fn claim(&self, only: Option<Uuid>) -> Result<Option<Lease>, FetchError> {
        self.answered(runs::claim(&self.pool, self.lease, only, self.sources.meta.is_none())).await
    }

    async fn perform(&self, lease: &Lease, cancel: &CancellationToken) -> Result<(), FetchError> {
        let run_id = lease.run_id;
        if lease.planned {
            tracing::debug!(%run_id, job = %lease.job, attempt = lease.attempts, "going on with a sync run");
        } else {
            tracing::info!(%run_id, job = %lease.job, attempt = lease.attempts, "working on a sync run");
        }
        let mut window = lease.window;
        let span = tracing::info_span!("run", %run_id, job = %lease.job, attempt = lease.attempts);
        match self.work(lease, &mut window, cancel).instrument(span).await {
            Ok(()) => {
                self.answered(lease.finish(&self.pool, window, &Ending::Through)).await?;
                tracing::info!(%run_id, job = %lease.job, "a sync run is through");
                Ok(())
            }
            Err(Stop::GiveUp { code, message }) => {
                tracing::warn!(%run_id, code, message, "a sync run is given up");
                self.answered(lease.finish(&self.pool, window, &Ending::GivenUp { code, message })).await
            }
            Err(Stop::Wait { reason, pause, message }) => {
                tracing::warn!(%run_id, reason = reason.as_str(), message, "a sync run waits");
                self.answered(lease.wait(&self.pool, reason, pause, &message)).await
            }
            Err(Stop::GiveWay) => self.answered(lease.give_way(&self.pool)).await,
            Err(Stop::Lost(error)) => Err(error),
            Err(Stop::GiveBack) => self.answered(lease.give_back(&self.pool)).await,
        }
    }

    /// What PostgreSQL answers, within the time of a lease: after that the run may be somebody else's, so that an
    /// answer would come too late. A connection that is half open never says that it is.
    pub(crate) async fn answered<T, E: Into<FetchError>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, FetchError> {
        tokio::time::timeout(self.lease, asked).await.map_err(|_| FetchError::Silent)?.map_err(Into::into)
    }
}

fn warn(error: &FetchError) {
    tracing::warn!(error = error as &dyn std::error::Error, "a fetcher stopped in the middle of its work");
}

/// Hears when there is work.
struct Bell<'w> {
    wire: &'w Wire,
    puller: Option<Puller>,
}

impl Bell<'_> {
    /// The next ring, or `None` when it was time to look anyway.
    async fn next(&mut self) -> Result<Option<Delivery>, WireError> {
        let puller = match &self.puller {
            Some(puller) => puller,
            None => self.puller.insert(self.wire.puller(META_SYNC, DURABLE).await?),
        };
        let rung = puller.next_batch(1, BATCH_BYTES, SWEEP_EVERY).await;
        if rung.is_err() {
            // The consumer may have been made anew; it is looked up again.
            self.puller = None;
        }
        Ok(rung?.pop())
    }

    async fn answer(&self, rung: &Delivery) {
        if let Some(puller) = &self.puller {
            puller.settle(rung, Disposition::Ack).await;
        }
    }
}
