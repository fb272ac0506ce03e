use ::runs::JobType;
use anyhow::{Context, Result};
use chrono::NaiveDate;
use chrono_tz::Tz;
use clap::Args;
use insights::plan;
use uuid::Uuid;

use super::sync::Wait;
use crate::boot::Boot;
use crate::exit::{Outcome, usage};

/// Fetch an older range of an integration's days
///
/// Goes back 37 months at most. Never moves the sync cursor.
#[derive(Args)]
pub struct Backfill {
    /// Id of the integration
    #[arg(long, value_name = "ID")]
    integration: Uuid,
    /// First day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    since: NaiveDate,
    /// Last day, YYYY-MM-DD; today is refused
    #[arg(long, value_name = "DATE")]
    until: NaiveDate,
    #[command(flatten)]
    wait: Wait,
}

impl Backfill {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, embedded) = boot.tables().await?;
        let integration = accounts::integration(&pool, self.integration).await?;
        let integration = integration.ok_or(::runs::EnqueueError::NoIntegration { id: self.integration })?;
        pool.close().await;
        if let Some(embedded) = embedded {
            embedded.stop().await;
        }
        let zone: Tz = integration.timezone_name.parse().context("the ad account's time zone is not known")?;
        let window = plan::backfill(self.since, self.until, boot.settings.clock().today(zone)).map_err(usage)?;
        self.wait.enqueue(boot, self.integration, JobType::Backfill, Some(window)).await
    }
}
