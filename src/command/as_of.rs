use std::cell::RefCell;
use std::collections::HashSet;

use anyhow::{Context, Result};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, ValueEnum};
use logs::{Logs, Range};
use projector::as_of::{Rule, SummaryDay};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::log_source::{LogChoice, with_log};
use super::names::Names;
use super::{findings, in_order};
use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output::{self, or_dash, thousands};
use crate::progress::Progress;

/// Show the summary as it was known at a time
///
/// The answers that had been fetched by then are folded once more, for this command alone; no table changes, and nothing
/// is asked of Meta. Days of which nothing was known then have no row.
#[derive(Args)]
pub struct AsOf {
    /// The time: 2026-11-12T15:00:00Z, with any offset; a date is its first moment in UTC; or `now`
    #[arg(value_parser = time)]
    time: Time,
    /// This tenant only
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
    /// First report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    since: NaiveDate,
    /// Last report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    until: NaiveDate,
    /// By which purchase rules: today's, or those of then
    #[arg(long, default_value = "today")]
    rule: ByRule,
    /// Which log to read
    #[arg(long, default_value = "stream")]
    from: LogChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy)]
enum Time {
    At(DateTime<Utc>),
    Now,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum ByRule {
    Today,
    Then,
}

fn time(text: &str) -> Result<Time, String> {
    if text == "now" {
        return Ok(Time::Now);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Time::At(at.to_utc()));
    }
    match text.parse::<NaiveDate>() {
        Ok(date) => Ok(Time::At(date.and_time(NaiveTime::MIN).and_utc())),
        Err(_) => Err("write a time as 2026-11-12T15:00:00Z, a date as 2026-11-12, or now".to_owned()),
    }
}

#[derive(Serialize)]
struct Report {
    as_of: DateTime<Utc>,
    rule: ByRule,
    since: NaiveDate,
    until: NaiveDate,
    events: u64,
    /// Decimals are text, so that they stay exact.
    rows: Vec<SummaryDay>,
}

impl AsOf {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        in_order(self.since, self.until)?;
        with_log(boot, self.from, async |pool, logs| self.show(pool, logs).await).await
    }

    async fn show(&self, pool: &PgPool, logs: Logs) -> Result<Outcome> {
        // An answer's time is PostgreSQL's.
        let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(pool).await?;
        let at = match self.time {
            Time::Now => None,
            Time::At(at) if at > now => return Err(usage(format!("{} has not been yet", output::time(at)))),
            Time::At(at) => Some(at),
        };
        if let Some(id) = self.account {
            accounts::tenant(pool, id).await?;
        }
        let range = Range { account_id: self.account, ad_account_id: None, since: self.since, until: self.until };
        let rule = match self.rule {
            ByRule::Today => Rule::Today,
            ByRule::Then => Rule::Then,
        };
        let session = (*pool.connect_options()).clone();
        let past =
            projector::as_of::AsOf { at, rule, range, logs, session, max_event_bytes: projector::MAX_EVENT_BYTES };
        let progress = RefCell::new(Progress::new("days folded"));
        let mut past = past
            .fold(|done, all| progress.borrow_mut().at(done as u64, all as u64, ""))
            .await
            .context("the past cannot be folded")?;
        drop(progress);
        let names = Names::load(pool).await?;
        findings::say_not_folded(&past.not_folded, &HashSet::new(), &names);
        let rows = past.summary().await?;
        let Self { rule, since, until, .. } = *self;
        let report = Report { as_of: at.unwrap_or(now), rule, since, until, events: past.events, rows };
        if self.json {
            output::json(&report)?;
        } else {
            print(&report, &names)?;
        }
        Ok(Outcome::Done)
    }
}

fn print(report: &Report, names: &Names) -> Result<()> {
    let mut table = output::table(&[
        "tenant",
        "day",
        "spend",
        "impressions",
        "clicks",
        "purchases",
        "value",
        "ROAS",
        "newest answer",
    ]);
    output::right(&mut table, 2..8);
    // What is larger than the type holds is shown as it is.
    let shown = |text: &Option<String>, decimals| {
        or_dash(text.as_ref().map(|text| match Decimal::from_str_exact(text) {
            Ok(number) => thousands(&number, decimals),
            Err(_) => text.clone(),
        }))
    };
    let whole = |n: Option<i64>| or_dash(n.map(|n| thousands(&Decimal::from(n), 0)));
    for row in &report.rows {
        table.add_row([
            names.tenant(row.account_id),
            row.date.to_string(),
            shown(&row.meta_spend, 2),
            whole(row.meta_impressions),
            whole(row.meta_clicks),
            shown(&row.meta_purchases, 0),
            shown(&row.meta_purchase_value, 2),
            shown(&row.meta_roas, 2),
            or_dash(row.updated_at.map(output::time)),
        ]);
    }
    output::line(&table.to_string())?;
    output::line(&format!(
        "\n{} days as known at {}, from {} events, by {} purchase rules.",
        report.rows.len(),
        report.as_of.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        report.events,
        match report.rule {
            ByRule::Today => "today's",
            ByRule::Then => "the then newest",
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_a_date_or_now() {
        for (text, read) in [
            ("2026-11-12T15:00:00+01:00", Some("2026-11-12T14:00:00+00:00")),
            ("2026-11-12", Some("2026-11-12T00:00:00+00:00")),
            ("12.11.2026", None),
        ] {
            let at = match time(text) {
                Ok(Time::At(at)) => Some(at.to_rfc3339()),
                _ => None,
            };
            assert_eq!(at.as_deref(), read, "{text}");
        }
        assert!(matches!(time("now"), Ok(Time::Now)));
    }
}
