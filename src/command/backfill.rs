use ::runs::JobType;
use anyhow::{Context, Result};
use chrono::NaiveDate;
use chrono_tz::Tz;
use clap::Args;
use insights::plan;
use uuid::Uuid;

use super::sync::{self, Wait};
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
        let servers = boot.servers().await?;
        let integration = sync::integration(&servers, self.integration).await?;
        let zone: Tz = integration.timezone_name.parse().context("the ad account's time zone is not known")?;
        let window = plan::backfill(self.since, self.until, boot.settings.clock().today(zone)).map_err(usage)?;
        self.wait.enqueue(boot, servers, &integration, JobType::Backfill, Some(window)).await
    }
}
