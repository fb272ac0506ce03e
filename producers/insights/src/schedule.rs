//! The runs that nobody has to ask for: once a day and ad account, the days that Meta still restates.

use std::time::Duration;

use accounts::{Integration, Origin, Status};
use chrono_tz::Tz;
use runs::{EnqueueError, JobType};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Clock;

/// The role's name among the leaders.
const ROLE: &str = "schedule";
/// How often the leader looks, and whoever is not asks whether the lead is free.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a leader leads without a sign of life. Two at once would harm nothing, because a day's job is written down with
/// its run; one is enough.
const LEAD_FOR: Duration = Duration::from_secs(20);

/// Asks for the daily jobs. Any number of processes may run one; one of them leads.
#[derive(Debug, Clone)]
pub struct Scheduler {
    pub pool: PgPool,
    pub clock: Clock,
    /// Only what the stub answers for.
    pub stub_only: bool,
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
        for integration in accounts::integrations(&self.pool).await? {
            self.settle(&integration).await?;
        }
        Ok(())
    }

    async fn settle(&self, integration: &Integration) -> Result<(), EnqueueError> {
        let is_ours = !self.stub_only || integration.origin == Origin::Stub;
        // A zone that this version does not know is said where the days are fetched.
        let (true, Status::Connected, Ok(zone)) =
            (is_ours, integration.status, integration.timezone_name.parse::<Tz>())
        else {
            return Ok(());
        };
        let today = self.clock.today(zone);
        let (account_id, integration_id) = (integration.account_id, integration.id);
        if let Some(run) = runs::enqueue_daily(&self.pool, account_id, integration_id, JobType::Settle, today).await? {
            tracing::info!(run_id = %run.run_id, ad_account = integration.external_id, %today, "asked for the day's settle run");
        }
        Ok(())
    }
}
