//! What a replay has done, in words and as JSON.

use anyhow::Result;
use events::subject::AccountDay;
use projector::Report;
use serde_json::json;

use crate::exit::Outcome;
use crate::output;

pub struct Told<'r> {
    pub report: &'r Report,
    /// It could read both logs.
    pub both: bool,
    pub dry_run: bool,
}

/// Says what a replay has done. `both`: it could read both logs.
pub fn tell(report: &Report, both: bool) -> Result<Outcome> {
    print(&Told { report, both, dry_run: false }, false)
}

/// Says what a replay has done, or would do.
pub fn print(told: &Told<'_>, json: bool) -> Result<Outcome> {
    let Told { report, both, .. } = *told;
    for (day, reason) in &report.unfoldable {
        eprintln!("An event of {} cannot be folded, as when it came: {reason}", day.subject());
    }
    if json {
        output::json(&document(told))?;
    } else {
        output::line(&sentence(told))?;
        if report.trusted > 0 {
            let verb = if report.trusted == 1 { "day was" } else { "days were" };
            output::line(&format!("{} {verb} skipped, because their hashes are known.", report.trusted))?;
        }
        for day in &report.first_changed {
            output::line(&format!("  {}", named(day)))?;
        }
        if report.days_changed > report.first_changed.len() {
            output::line(&format!("  and {} more", report.days_changed - report.first_changed.len()))?;
        }
    }
    if let Some((day, event_id)) = report.left.first() {
        eprintln!(
            "{} days were left as they are, {} first: event {event_id} was folded once, and {} it{}",
            report.left.len(),
            day.subject(),
            if both { "neither log holds" } else { "meta_insights_raw does not hold" },
            if both { "" } else { "; the stream may: replay with --from stream" },
        );
    }
    Ok(if report.unfoldable.is_empty() && report.left.is_empty() { Outcome::Done } else { Outcome::Findings })
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

/// A summary is of no ad account.
pub fn named(day: &AccountDay) -> String {
    let AccountDay { account_id, ad_account_id, date } = day;
    if ad_account_id.is_nil() {
        format!("{date} of tenant {account_id}")
    } else {
        format!("{date} of ad account {ad_account_id}, tenant {account_id}")
    }
}

fn document(told: &Told<'_>) -> serde_json::Value {
    let Told { report, dry_run, .. } = *told;
    let day = |day: &AccountDay| {
        let ad_account_id = (!day.ad_account_id.is_nil()).then_some(day.ad_account_id);
        json!({ "account_id": day.account_id, "ad_account_id": ad_account_id, "date": day.date })
    };
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
        "first_days_changed": report.first_changed.iter().map(day).collect::<Vec<_>>(),
        "unfoldable": report.unfoldable.iter().map(|(of, reason)| json!({ "day": day(of), "reason": reason }))
            .collect::<Vec<_>>(),
        "left": report.left.iter().map(|(of, event_id)| json!({ "day": day(of), "event_id": event_id }))
            .collect::<Vec<_>>(),
    })
}
