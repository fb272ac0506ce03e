use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::NaiveDate;
use clap::Args;
use raw::Range;
use raw::audit::{Finding, Kind, Report};
use serde::Serialize;
use uuid::Uuid;

use super::in_order;
use crate::boot::{Boot, Servers};
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// Compare the two logs, the stream and meta_insights_raw; exit code 3 when they differ
///
/// Event by event, by the sha256 of the bytes that each has now. An event that is still on its way to
/// meta_insights_raw, or that `streams trim` took out of the stream, is no difference. With all days, payloads beside
/// the stream are counted that no event has named for a day, and --heal removes them.
#[derive(Args)]
pub struct Audit {
    /// Write back what one side lacks, or has damaged, from the other; exit code 3 when something is left
    #[arg(long)]
    heal: bool,
    /// This tenant only
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
    /// First report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    since: Option<NaiveDate>,
    /// Last report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    until: Option<NaiveDate>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Findings that are shown one by one on the terminal, and in JSON; the rest is counted.
const SHOWN: usize = 20;
const SHOWN_AS_JSON: usize = 10_000;

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    left: u64,
    /// The first of them; `findings` says how many there are.
    differences: &'a [Finding],
}

/// What was found, bounded.
#[derive(Default)]
struct Found {
    first: Vec<Finding>,
    kinds: BTreeMap<Kind, (u64, u64)>,
}

impl Audit {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        if let (Some(since), Some(until)) = (self.since, self.until) {
            in_order(since, until)?;
        }
        let servers = boot.servers().await?;
        let outcome = self.compare(&servers).await;
        servers.close().await;
        outcome
    }

    async fn compare(&self, servers: &Servers) -> Result<Outcome> {
        if let Some(id) = self.account {
            accounts::tenant(&servers.pool, id).await?;
        }
        let range = Range { account_id: self.account, since: self.since, until: self.until, ..Range::default() };
        let audit = raw::audit::Audit::open(&servers.pool, &servers.wire).await?;
        let (mut found, progress) = (Found::default(), RefCell::new(Progress::new("days compared")));
        let shown = if self.json { SHOWN_AS_JSON } else { SHOWN };
        let report = audit
            .run(
                &range,
                self.heal,
                |finding| found.add(finding, shown),
                |report| {
                    let findings = format!("{} differences", report.findings);
                    progress.borrow_mut().at(report.days, report.days_total, &findings);
                },
            )
            .await
            .context("the audit broke off")?;
        drop(progress);
        let left = report.findings - report.healed;
        if self.json {
            output::json(&Document { report: &report, left, differences: &found.first })?;
        } else {
            self.print(&report, &found)?;
        }
        Ok(if left == 0 { Outcome::Done } else { Outcome::Findings })
    }

    fn print(&self, report: &Report, found: &Found) -> Result<()> {
        for finding in &found.first {
            output::line(&sentence(finding))?;
        }
        if report.findings > found.first.len() as u64 {
            output::line(&format!("… and {} more (--json lists them)", report.findings - found.first.len() as u64))?;
        }
        for stream in &report.earlier_streams {
            output::line(&format!(
                "The stream was created anew on {}: {} events of meta_insights_raw came through the one of {}.",
                output::time(report.stream_created_at),
                stream.events,
                output::time(stream.created_at)
            ))?;
        }
        if let Some(lost) = &report.lost_end {
            output::line(&format!(
                "The stream has lost its end: it stands at message {}, and meta_insights_raw has seen message {}.",
                lost.last_sequence_in_stream, lost.last_sequence_in_raw
            ))?;
        }
        output::line(&format!(
            "Compared {} days: {} messages in the stream ({} bytes), {} events in meta_insights_raw.",
            report.days, report.messages_in_stream, report.bytes_in_stream, report.events_in_raw
        ))?;
        for (count, words) in [
            (report.on_their_way, "events are on their way to meta_insights_raw"),
            (report.trimmed, "events were trimmed from the stream, and are whole in meta_insights_raw"),
            (report.duplicates, "messages repeat an event with the same bytes"),
            (report.no_events, "messages are no events; they were parked when they came: `adledger dead-letters list`"),
        ] {
            if count > 0 {
                output::line(&format!("{count} {words}."))?;
            }
        }
        if let Some(orphans) = report.orphans.filter(|orphans| orphans.objects > 0) {
            let done = if orphans.removed { "they were removed" } else { "`adledger audit --heal` removes them" };
            output::line(&format!(
                "{} payloads ({} bytes) beside the stream are named by no event; {done}.",
                orphans.objects, orphans.bytes
            ))?;
        }
        for (kind, (count, healed)) in &found.kinds {
            let healed = if self.heal { format!(", {healed} healed") } else { String::new() };
            output::line(&format!("{count} events {}{healed}.", kind.words()))?;
        }
        output::line(match (report.findings, report.findings - report.healed, self.heal) {
            (0, ..) => "Both logs hold the same.",
            (_, 0, _) => "Both logs hold the same now.",
            (_, _, false) => "Run `adledger audit --heal` to write back what one side lacks from the other.",
            (_, _, true) => "What is left needs somebody: each line says why.",
        })
    }
}

impl Found {
    fn add(&mut self, finding: Finding, shown: usize) {
        let (count, healed) = self.kinds.entry(finding.kind).or_default();
        *count += 1;
        *healed += u64::from(finding.healed);
        if self.first.len() < shown {
            self.first.push(finding);
        }
    }
}

fn sentence(finding: &Finding) -> String {
    let place = finding.stream_sequence.map_or_else(String::new, |sequence| format!(", message {sequence}"));
    let outcome = match (finding.healed, &finding.left_because) {
        (true, _) => " – healed".to_owned(),
        (false, Some(reason)) => format!(" – left: {reason}"),
        (false, None) => String::new(),
    };
    format!(
        "{} {}: ad account {}, {}{place}{outcome}",
        finding.event_id,
        finding.kind.words(),
        finding.ad_account_id,
        finding.date
    )
}
