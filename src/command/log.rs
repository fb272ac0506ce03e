use std::cell::RefCell;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use jetstream::Wire;
use projector::check::{Check, Checked, Undecodable};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// The logs that everything is folded from
#[derive(Args)]
pub struct Log {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Subcommand)]
enum LogCommand {
    Check(CheckLog),
}

/// Decode every event of the logs with this version's code; exit code 3 when one cannot be decoded
///
/// Payloads beside the stream are fetched. Nothing is compared (`adledger audit` compares the two logs, `adledger verify`
/// the log with the tables), and nothing is written.
#[derive(Args)]
struct CheckLog {
    /// Which log to read
    #[arg(long, default_value = "both")]
    from: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The JetStream log
    Stream,
    /// meta_insights_raw, without the stream
    Raw,
    /// One after the other
    Both,
}

/// Events that are shown one by one on the terminal, and in JSON; the rest is counted.
const SHOWN: usize = 20;
const SHOWN_AS_JSON: usize = 10_000;

#[derive(Serialize)]
struct Undecoded {
    log: &'static str,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_sequence: Option<u64>,
    event_id: Option<Uuid>,
    reason: String,
}

#[derive(Serialize)]
struct Document {
    /// How many events were decoded or not; null where the log was not asked for.
    events_in_stream: Option<u64>,
    events_in_raw: Option<u64>,
    undecodable: u64,
    /// The first of them.
    events: Vec<Undecoded>,
}

impl Log {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let LogCommand::Check(check) = self.command;
        if check.from == Which::Raw {
            // Works where the stream is gone.
            let (pool, embedded) = boot.tables().await?;
            let outcome = check.check(&pool, None).await;
            pool.close().await;
            if let Some(embedded) = embedded {
                embedded.stop().await;
            }
            return outcome;
        }
        let servers = boot.servers().await?;
        let outcome = check.check(&servers.pool, Some(&servers.wire)).await;
        servers.close().await;
        outcome
    }
}

impl CheckLog {
    async fn check(&self, pool: &PgPool, wire: Option<&Wire>) -> Result<Outcome> {
        let check = Check { pool: pool.clone(), max_event_bytes: projector::MAX_EVENT_BYTES };
        let mut document = Document { events_in_stream: None, events_in_raw: None, undecodable: 0, events: Vec::new() };
        if let Some(wire) = wire {
            let progress = RefCell::new(Progress::new("events of the stream decoded"));
            let checked =
                check.stream(wire, |u| document.add("stream", u, self.json), |so_far| show(&progress, so_far));
            let checked = checked.await.context("reading the stream broke off")?;
            (document.events_in_stream, document.undecodable) = (Some(checked.events), checked.undecodable);
        }
        if self.from != Which::Stream {
            let progress = RefCell::new(Progress::new("days of meta_insights_raw decoded"));
            let checked = check.raw(|u| document.add("raw", u, self.json), |so_far| show(&progress, so_far));
            let checked = checked.await.context("reading meta_insights_raw broke off")?;
            document.events_in_raw = Some(checked.events);
            document.undecodable += checked.undecodable;
        }
        if self.json {
            output::json(&document)?
        } else {
            document.print()?
        }
        Ok(if document.undecodable == 0 { Outcome::Done } else { Outcome::Findings })
    }
}

fn show(progress: &RefCell<Progress>, checked: &Checked) {
    let undecodable = format!("{} events cannot be", checked.undecodable);
    progress.borrow_mut().at(checked.done, checked.total, &undecodable);
}

impl Document {
    fn add(&mut self, log: &'static str, event: Undecodable, as_json: bool) {
        if self.events.len() < if as_json { SHOWN_AS_JSON } else { SHOWN } {
            let Undecodable { subject, sequence: stream_sequence, event_id, reason } = event;
            self.events.push(Undecoded { log, subject, stream_sequence, event_id, reason });
        }
    }

    fn print(&self) -> Result<()> {
        for event in &self.events {
            let message = event.stream_sequence.map_or_else(String::new, |sequence| format!(", message {sequence}"));
            output::line(&format!(
                "{} in {}: {}{message}: {}",
                event.event_id.map_or_else(|| "An event without an id".to_owned(), |id| format!("Event {id}")),
                if event.log == "raw" { "meta_insights_raw" } else { "the stream" },
                event.subject,
                output::printable(&event.reason)
            ))?;
        }
        let more = self.undecodable.saturating_sub(self.events.len() as u64);
        if more > 0 {
            output::line(&format!("… and {more} more (--json lists them)"))?;
        }
        let read = [(self.events_in_stream, "the stream"), (self.events_in_raw, "meta_insights_raw")];
        let read: Vec<String> = read
            .iter()
            .filter_map(|(events, log)| Some(format!("{} events of {log}", output::thousands(&(*events)?.into(), 0))))
            .collect();
        output::line(&format!("{} read; {} cannot be decoded", read.join(" and "), self.undecodable))
    }
}
