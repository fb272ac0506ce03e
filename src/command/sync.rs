use std::time::Duration;

use ::runs::{EnqueueError, JobType};
use accounts::{Integration, Status};
use anyhow::Result;
use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::boot::{Boot, Servers};
use crate::exit::{Outcome, usage};
use crate::{output, roles, waiting};

/// Fetch an integration's recent days
///
/// Without --wait the run is queued, and a process with the role `fetch` works on it. With --wait this process does,
/// too, and returns when every event of the run is in the tables.
#[derive(Args)]
pub struct Sync {
    /// Id of the integration, as `adledger connect` printed it
    #[arg(long, value_name = "ID")]
    integration: Uuid,
    #[arg(long)]
    job: Job,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Clone, Copy, ValueEnum)]
enum Job {
    /// The last 7 complete days
    #[value(name = "meta_7d_fill")]
    SevenDayFill,
    /// The attribution window up to yesterday, and every day still owed
    #[value(name = "meta_fresh")]
    Fresh,
    /// The days behind the attribution window that Meta still restates; `serve` does it once a day
    #[value(name = "meta_settle")]
    Settle,
}

/// Whether and how long to wait; shared by the commands that enqueue.
#[derive(Args, Clone, Copy)]
pub struct Wait {
    /// Return when the result is in the tables; exit code 1 when the run fails
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds, with exit code 1
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    deadline_seconds: u64,
}

impl Sync {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let job = match self.job {
            Job::SevenDayFill => JobType::SevenDayFill,
            Job::Fresh => JobType::Fresh,
            Job::Settle => JobType::Settle,
        };
        let servers = boot.servers().await?;
        let integration = integration(&servers, self.integration).await?;
        self.wait.enqueue(boot, servers, &integration, job, None).await
    }
}

/// The integration of that id; an error names where ids are found.
pub async fn integration(servers: &Servers, id: Uuid) -> Result<Integration> {
    let found = accounts::integration(&servers.pool, id).await?;
    Ok(found.ok_or(EnqueueError::NoIntegration { id })?)
}

impl Wait {
    /// Enqueues, and waits if that was asked.
    pub async fn enqueue(
        self,
        boot: &Boot,
        servers: Servers,
        integration: &Integration,
        job: JobType,
        window: Option<::runs::Window>,
    ) -> Result<Outcome> {
        boot.settings.check_answers(integration).map_err(usage)?;
        if self.wait {
            // A setting that stops the work is said before there is any.
            roles::fetcher(boot, &servers)?;
        }
        anyhow::ensure!(
            integration.status == Status::Connected,
            "integration {} is {}: {}",
            integration.id,
            integration.status,
            integration.status_reason.as_deref().unwrap_or("connect it again")
        );
        let enqueued = ::runs::enqueue(&servers.pool, integration.id, job, "manual", window).await?;
        let said = if enqueued.already { "already waits or works" } else { "is queued" };
        if self.wait {
            let deadline = Duration::from_secs(self.deadline_seconds);
            let run = waiting::until_folded(boot, &servers, enqueued.run_id, deadline).await?;
            output::line(&format!(
                "{job} {}: {} to {}, {} days, {} rows, all in the tables.",
                run.id,
                output::or_dash(run.window_since),
                output::or_dash(run.window_until),
                run.days_done,
                run.rows_fetched
            ))?;
        } else {
            output::line(&format!("{job} {} {said}; `adledger runs` shows how it goes.", enqueued.run_id))?;
            if servers.is_embedded() {
                eprintln!("Nothing works on it yet: start `adledger serve`, or add --wait.");
            }
        }
        servers.close().await;
        Ok(Outcome::Done)
    }
}
