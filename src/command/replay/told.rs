//! What a replay has done, in words and as JSON.

use std::collections::HashSet;

use anyhow::Result;
use projector::replay::{Report, Totals};
use serde_json::json;
use uuid::Uuid;

use crate::command::findings;
use crate::command::names::Names;
use crate::exit::Outcome;
use crate::output;

pub struct Told<'r> {
    pub report: &'r Report,
    /// What it came to with all that was done before it was broken off; a dry run has no record.
    pub totals: Option<&'r Totals>,
    /// It could read both logs.
    pub both: bool,
    pub dry_run: bool,
}

/// Says what a replay has done, or would do.
pub fn tell(told: &Told<'_>, names: &Names, json: bool) -> Result<Outcome> {
    let Told { report, totals, both, .. } = *told;
    let left: HashSet<Uuid> = report.left.iter().map(|(_, event_id)| *event_id).collect();
    findings::say_not_folded(&report.not_folded, &left, names);
    if json {
        output::json(&document(told))?;
    } else {
        output::line(&sentence(told))?;
        if report.trusted > 0 {
            let verb = if report.trusted == 1 { "day was" } else { "days were" };
            output::line(&format!("{} {verb} skipped, because their hashes are known.", report.trusted))?;
        }
        for day in &report.first_changed {
            output::line(&format!("  {}", names.day(day)))?;
        }
        if report.days_changed > report.first_changed.len() {
            output::line(&format!("  and {} more", report.days_changed - report.first_changed.len()))?;
        }
        let own = (report.compared + report.trusted + report.left.len()) as u64;
        // Of what was done before it was broken off, no more is known than this.
        if let Some(all) = totals.filter(|all| all.days_done.unsigned_abs() > own) {
            output::line(&format!(
                "With what was done before it was broken off: {} days, {} events, {} rows compared; {} days changed, {} left \
                 as they were, {} events not folded.",
                all.days_done, all.events, all.rows_compared, all.days_changed, all.days_left, all.unfoldable,
            ))?;
        }
    }
    if let Some((day, event_id)) = report.left.first() {
        eprintln!(
            "{} days were left as they are, {} first: event {event_id} was folded once, and {}",
            report.left.len(),
            names.day(day),
            findings::why_left(*event_id, &report.not_folded, both),
        );
    }
    let found = !report.not_folded.is_empty()
        || !report.left.is_empty()
        || totals.is_some_and(|all| all.days_left > 0 || all.unfoldable > 0);
    Ok(if found { Outcome::Findings } else { Outcome::Done })
}

fn sentence(told: &Told<'_>) -> String {
    let Told { report, dry_run, .. } = *told;
    let megabytes = report.payload_bytes as f64 / 1e6;
    let mut changes = String::new();
    for (table, rows) in report.changes().into_iter().filter(|(_, rows)| *rows > 0) {
        let next = match (changes.is_empty(), rows) {
            (true, 1) => format!("1 row of {}", table.name()),
            (true, rows) => format!("{rows} rows of {}", table.name()),
            (false, rows) => format!(", {rows} of {}", table.name()),
        };
        changes.push_str(&next);
    }
    let (folded, verb) = if dry_run { ("Would fold", "would change") } else { ("Folded", "changed") };
    let outcome = match report.days_changed {
        0 => format!("{} rows compared, none {verb}", report.rows),
        1 => format!("{changes} {verb}, in 1 day"),
        days => format!("{changes} {verb}, in {days} days"),
    };
    let (events, days) = (report.events, report.compared);
    let plural = |n: u64, one: &'static str, many: &'static str| if n == 1 { one } else { many };
    format!(
        "{folded} {events} {} ({megabytes:.1} MB) of {days} {} again: {outcome}.",
        plural(events, "event", "events"),
        plural(days as u64, "account-day", "account-days"),
    )
}

fn document(told: &Told<'_>) -> serde_json::Value {
    let Told { report, totals, dry_run, .. } = *told;
    let changed: serde_json::Map<_, _> =
        report.changes().into_iter().map(|(table, rows)| (table.name().to_owned(), rows.into())).collect();
    json!({
        "dry_run": dry_run,
        "days": report.compared,
        "days_skipped": report.trusted,
        "events": report.events,
        "payload_bytes": report.payload_bytes,
        "rows_compared": report.rows,
        "rows_changed": changed,
        "days_changed": report.days_changed,
        "first_days_changed": report.first_changed.iter().map(findings::day_json).collect::<Vec<_>>(),
        "unfoldable": findings::not_folded_json(&report.not_folded),
        "left": findings::left_json(&report.left),
        // With what was done before it was broken off.
        "in_all": totals,
    })
}
