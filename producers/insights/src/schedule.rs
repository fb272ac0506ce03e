//! The runs that nobody has to ask for: once a day and ad account, the days that Meta still restates; where that is
//! wanted, also the fresh days, after each local midnight and every so often.

use std::time::Duration;

use accounts::{Integration, Origin, Status};
use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use runs::{EnqueueError, FreshRequest, JobType};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Clock;

/// The role's name among the leaders.
const ROLE: &str = "schedule";
/// How often the leader looks, and whoever is not asks whether the lead is free.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a leader leads without a sign of life. Two at once would harm nothing, because a day's job is written down
/// with its run; one is enough.
const LEAD_FOR: Duration = Duration::from_secs(20);

/// Asks for the daily jobs. Any number of processes may run one; one of them leads.
#[derive(Debug, Clone)]
pub struct Scheduler {
    pub pool: PgPool,
    pub clock: Clock,
    /// Only what the stub answers for.
    pub stub_only: bool,
    /// How often the fresh days are asked for; `None` leaves that to whoever calls the scheduler's endpoint.
    pub fresh_every: Option<Duration>,
}

impl Scheduler {
    /// Schedules until cancelled; then the lead is given up.
    pub async fn run(&self, cancel: &CancellationToken) {
        let holder = Uuid::new_v4();
        let mut leads = false;
        while !cancel.is_cancelled() {
            match tokio::time::timeout(LEAD_FOR, self.look(holder, &mut leads)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the schedule cannot be kept now")
                }
                Err(_) => tracing::warn!("the schedule has no answer from PostgreSQL; trying again"),
            }
            let _ = tokio::time::timeout(LOOK_EVERY, cancel.cancelled()).await;
        }
        if leads {
            // Otherwise the lead is free when its time is over.
            let _ = tokio::time::timeout(Duration::from_secs(1), runs::resign(&self.pool, ROLE, holder)).await;
        }
    }

    async fn look(&self, holder: Uuid, leads: &mut bool) -> Result<(), EnqueueError> {
        let led = std::mem::replace(leads, runs::lead(&self.pool, ROLE, holder, LEAD_FOR).await?);
        if *leads && !led {
            tracing::info!("this process leads the schedule");
        }
        if !*leads {
            return Ok(());
        }
        // Also where nobody visits any more: what is over must not stay, in the database and in every backup of it.
        accounts::forget_expired(&self.pool).await?;
        for integration in accounts::integrations(&self.pool).await? {
            let is_ours = !self.stub_only || integration.origin == Origin::Stub;
            // A zone that this version does not know is said where the days are fetched.
            let (true, Status::Connected, Ok(zone)) =
                (is_ours, integration.status, integration.timezone_name.parse::<Tz>())
            else {
                continue;
            };
            let today = self.clock.today(zone);
            self.daily(&integration, JobType::Settle, today).await?;
            // The fill that follows from a connection brings the same days.
            let is_new = |every: Duration| {
                self.clock.now() - integration.connected_at < TimeDelta::seconds(every.as_secs() as i64)
            };
            if let Some(every) = self.fresh_every.filter(|every| !is_new(*every)) {
                // A day that has just begun makes yesterday complete, however short a while ago its numbers were asked
                // for.
                self.daily(&integration, JobType::Fresh, today).await?;
                self.fresh(&integration, every).await?;
            }
        }
        Ok(())
    }

    async fn daily(&self, integration: &Integration, job: JobType, today: NaiveDate) -> Result<(), EnqueueError> {
        let (account_id, integration_id) = (integration.account_id, integration.id);
        if let Some(run) = runs::enqueue_daily(&self.pool, account_id, integration_id, job, today).await? {
            tracing::info!(run_id = %run.run_id, %job, ad_account = integration.external_id, %today, "asked for the day's run");
        }
        Ok(())
    }

    async fn fresh(&self, integration: &Integration, every: Duration) -> Result<(), EnqueueError> {
        let (account_id, integration_id) = (integration.account_id, integration.id);
        let asked = runs::enqueue_fresh(&self.pool, account_id, integration_id, "schedule", every).await?;
        if let FreshRequest::Enqueued { run_id } = asked {
            tracing::info!(%run_id, ad_account = integration.external_id, "asked for the fresh days");
        }
        Ok(())
    }
}
