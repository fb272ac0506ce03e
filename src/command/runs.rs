use anyhow::Result;
use clap::Args;

use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output::{self, or_dash};

/// List sync runs, newest first
#[derive(Args)]
pub struct Runs {
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Runs {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, _servers) = boot.tables().await?;
        let runs = ::runs::runs(&pool, self.limit).await?;
        if self.json {
            output::json(&runs)?;
            return Ok(Outcome::Done);
        }
        if runs.is_empty() {
            output::line("No sync run yet: `adledger sync --integration ID --job meta_7d_fill` asks for one.")?;
            return Ok(Outcome::Done);
        }
        let mut table =
            output::table(&["run", "job", "status", "window", "days", "rows", "throttled", "requested", "note"]);
        output::right(&mut table, [4, 5, 6]);
        for run in &runs {
            let window = run.window_since.zip(run.window_until).map(|(since, until)| format!("{since} – {until}"));
            let note = run.wait_reason.as_ref().or(run.error_message.as_ref());
            table.add_row([
                run.id.to_string(),
                run.job_type.clone(),
                run.status.clone(),
                or_dash(window),
                format!("{}/{}", run.days_done, run.days_total),
                run.rows_fetched.to_string(),
                if run.rate_limited {
                    format!("{}×, {} s", run.throttle_count, run.throttle_wait_ms / 1000)
                } else {
                    "no".into()
                },
                output::time(run.requested_at),
                or_dash(note),
            ]);
        }
        output::line(&table.to_string())?;
        Ok(Outcome::Done)
    }
}
