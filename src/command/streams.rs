use std::cell::RefCell;

use anyhow::{Result, bail};
use chrono::NaiveDate;
use clap::{Args, Subcommand};
use jetstream::topology::{self, Difference};
use jetstream::{LogRoom, META_INSIGHTS, Verdict};
use raw::Trim;

use crate::boot::{Boot, Servers};
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// Create or compare the streams and consumers; make room in the log
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Streams {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create what is missing and update what differs; nothing is ever deleted
    Apply,
    /// Compare the server with the topology files and change nothing; exit code 3 on a difference
    Check {
        /// Print the differences as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take events out of the insights log that meta_insights_raw holds byte for byte
    ///
    /// Audits every report day before the date first, and takes nothing unless each of its events is proven to be in
    /// meta_insights_raw and settled by every consumer. From then on meta_insights_raw has the only copy: back
    /// PostgreSQL up before.
    Trim {
        /// Report days before this one, YYYY-MM-DD
        #[arg(long, value_name = "DATE")]
        before: NaiveDate,
        /// Prove and report, and take nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Streams {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let limits = &boot.settings.limits.or_default();
        match self.action {
            Action::Apply => {
                let (wire, _servers) = boot.nats().await?;
                let before = topology::check(&wire, limits).await?;
                let differences = topology::apply(&wire, limits).await?;
                if !differences.is_empty() {
                    print(&differences)?;
                    bail!("the server did not take what was asked");
                }
                for d in &before {
                    let made = if d.is_missing() {
                        "made".to_owned()
                    } else {
                        format!("{}: {} → {}", d.field, d.found, d.wanted)
                    };
                    output::line(&format!("{} {made}", d.object))?;
                }
                output::line("Streams and consumers are as the topology files say.")?;
                let room = LogRoom::ask(&wire).await?;
                if room.verdict() != Verdict::Room {
                    output::line(&format!("But {}.", room.sentence()))?;
                }
                Ok(Outcome::Done)
            }
            Action::Check { json } => {
                let (wire, _servers) = boot.nats().await?;
                let differences = topology::check(&wire, limits).await?;
                if json {
                    output::json(&differences)?;
                } else if differences.is_empty() {
                    output::line("Streams and consumers are as the topology files say.")?;
                } else {
                    print(&differences)?;
                    output::line("Run `adledger streams apply` to bring the server into line.")?;
                }
                Ok(if differences.is_empty() { Outcome::Done } else { Outcome::Findings })
            }
            Action::Trim { before, dry_run, json } => {
                let servers = boot.servers().await?;
                let outcome = trim(&servers, before, dry_run, json).await;
                servers.close().await;
                outcome
            }
        }
    }
}

async fn trim(servers: &Servers, before: NaiveDate, dry_run: bool, json: bool) -> Result<Outcome> {
    let durables = topology::durables()?;
    let readers = durables.iter().filter(|durable| durable.stream == META_INSIGHTS);
    let readers: Vec<&str> = readers.map(|durable| durable.name.as_str()).collect();
    let progress = RefCell::new(Progress::new("days proven"));
    let at = |done, total| progress.borrow_mut().at(done, total, "");
    let trim = Trim::prove(&servers.pool, &servers.wire, before, &readers, at).await?;
    let trimmed = *trim.trimmed();
    progress.replace(Progress::new("events taken out"));
    if !dry_run {
        trim.carry_out(at).await?;
    }
    drop(progress);
    if json {
        output::json(&trimmed)?;
        return Ok(Outcome::Done);
    }
    if trimmed.no_events > 0 {
        output::line(&format!("{} messages are no events; they stay.", trimmed.no_events))?;
    }
    output::line(&format!(
        "{} {} events of {} days before {before}, {} bytes; meta_insights_raw holds each byte for byte.",
        if dry_run { "Would take out" } else { "Took out" },
        trimmed.events,
        trimmed.days,
        trimmed.bytes
    ))?;
    Ok(Outcome::Done)
}

fn print(differences: &[Difference]) -> Result<()> {
    let mut table = output::table(&["object", "field", "wanted", "found"]);
    for d in differences {
        table.add_row([&d.object, &d.field, &d.wanted, &d.found]);
    }
    output::line(&table.to_string())
}
