use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::NaiveDate;
use clap::Args;
use events::subject::AccountDay;
use logs::{Logs, Range};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;
use verifier::{Difference, Finding, Refused, Report, Tables, Verifier};

use super::in_order;
use super::log_source::{LogChoice, with_log};
use super::names::Names;
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// Recompute from the log and compare with the tables, account-day by account-day; exit code 3 when they differ
///
/// By a second implementation, apart from the one that folds. Every column of observations, fact_meta_daily and
/// daily_meta_metrics is compared, and daily_summary's of Meta. What comes while it runs is no difference; what
/// was there before, and is not folded after three seconds more, is one.
#[derive(Args)]
pub struct Verify {
    /// This tenant only
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
    /// First report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    since: Option<NaiveDate>,
    /// Last report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    until: Option<NaiveDate>,
    /// Which log to read
    #[arg(long, default_value = "stream")]
    from: LogChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long what is on its way gets to arrive.
const PATIENCE: Duration = Duration::from_secs(3);

/// Days that are shown one by one on the terminal, and in JSON; the rest is counted.
const SHOWN: usize = 20;
const SHOWN_AS_JSON: usize = 10_000;

/// What was found, bounded.
#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// The first of the days that differ.
    differing: &'a [Difference],
    /// The first of the events that cannot be folded, as when they came.
    not_folded: &'a [Refused],
}

impl Verify {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        if let (Some(since), Some(until)) = (self.since, self.until) {
            in_order(since, until)?;
        }
        with_log(boot, self.from, async |pool, logs| self.compare(pool, logs).await).await
    }

    async fn compare(&self, pool: &PgPool, logs: Logs) -> Result<Outcome> {
        if let Some(id) = self.account {
            accounts::tenant(pool, id).await?;
        }
        let all = Range::everything();
        let (since, until) = (self.since.unwrap_or(all.since), self.until.unwrap_or(all.until));
        let range = Range { account_id: self.account, since, until, ..all };
        let verifier = Verifier {
            pool: pool.clone(),
            logs,
            tables: Tables::Live,
            end: None,
            max_event_bytes: projector::MAX_EVENT_BYTES,
            patience: PATIENCE,
        };
        let shown = if self.json { SHOWN_AS_JSON } else { SHOWN };
        let mut found = Found::default();
        let progress = RefCell::new(Progress::new("account-days verified"));
        let show = |report: &Report| {
            let differ = format!("{} differ", report.differing_days);
            progress.borrow_mut().at(report.account_days, report.account_days_total, &differ);
        };
        let report = verifier.run(&range, |finding| found.add(finding, shown), show).await;
        let report = report.context("verifying broke off")?;
        drop(progress);
        if self.json {
            let document = Document { report: &report, differing: &found.differences, not_folded: &found.refused };
            output::json(&document)?;
        } else {
            print(&report, &found, &Names::load(pool).await?)?;
        }
        Ok(if report.differing_days == 0 { Outcome::Done } else { Outcome::Findings })
    }
}

impl Found {
    fn add(&mut self, finding: Finding, shown: usize) {
        match finding {
            Finding::Differs(difference) if self.differences.len() < shown => self.differences.push(difference),
            Finding::Refused(refused) if self.refused.len() < shown => self.refused.push(refused),
            _ => {}
        }
    }
}

/// Whose day differs; a summary is of no ad account.
pub(super) fn named(difference: &Difference, names: &Names) -> String {
    let Difference { account_id, ad_account_id, date, .. } = *difference;
    names.day(&AccountDay { account_id, ad_account_id: ad_account_id.unwrap_or_default(), date })
}

fn print(report: &Report, found: &Found, names: &Names) -> Result<()> {
    for difference in &found.differences {
        let of = named(difference, names);
        for sentence in &difference.sentences {
            output::line(&format!("{of}: {}", output::printable(sentence)))?;
        }
        let more = difference.differences.saturating_sub(difference.sentences.len() as u64);
        if more > 0 {
            output::line(&format!("{of}: … and {more} more"))?;
        }
    }
    let more = report.differing_days.saturating_sub(found.differences.len() as u64);
    if more > 0 {
        output::line(&format!("… and {more} more days (--json lists them)"))?;
    }
    for refused in &found.refused {
        let event = refused.event_id.map_or_else(|| "An event".to_owned(), |id| format!("Event {id}"));
        output::line(&format!(
            "{event} of {}, {} was not folded, as it should be: {}",
            refused.date,
            names.ad_account(refused.ad_account_id),
            output::printable(&refused.reason)
        ))?;
    }
    let more = report.refused.saturating_sub(found.refused.len() as u64);
    if more > 0 {
        output::line(&format!("… and {more} more events that were not folded (--json lists them)"))?;
    }
    if report.on_their_way > 0 {
        output::line(&format!("{} events came meanwhile, and are not folded yet.", report.on_their_way))?;
    }
    if report.account_days == 0 && report.tenant_days == 0 {
        return output::line("Neither log nor table has a day of this range: nothing was verified.");
    }
    let spend: Vec<String> =
        report.spend.iter().map(|(currency, spend)| format!("{} {currency}", output::thousands(spend, 2))).collect();
    output::line(&format!(
        "{} account-days verified: {} rows, spend {}; {} differ",
        output::thousands(&report.account_days.into(), 0),
        output::thousands(&report.rows.into(), 0),
        if spend.is_empty() { "0.00".to_owned() } else { spend.join(" and ") },
        report.differing_days
    ))
}
