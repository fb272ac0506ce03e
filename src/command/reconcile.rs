mod day;
#[cfg(test)]
mod tests;

use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use comfy_table::Table;
use day::{Cause, Day, is_small, percent};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::{ad_account_named, in_order};
use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output::{self, or_dash, thousands};

/// Hold each day's counted spend against Meta's account-level total, and say why they differ; exit code 3 beyond the
/// tolerance
///
/// Nothing is fetched: it works from the tables alone, and the control totals in them came with each answer. A day
/// beyond the tolerance is a finding, and so is one that failed, that is not fetched or not folded, or that has no
/// control total. Unknown purchases are said, and are no finding: the comparison is one of spend.
#[derive(Args)]
pub struct Reconcile {
    /// This tenant only
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
    /// This ad account only: Meta's id (act_…), or its id in our tables
    #[arg(long, value_name = "ACT")]
    ad_account: Option<String>,
    /// First report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    since: NaiveDate,
    /// Last report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    until: NaiveDate,
    /// How much of a day's control total may be missing, or too much, in percent
    #[arg(long, value_name = "PERCENT", default_value = "0.5", value_parser = tolerance)]
    tolerance: Decimal,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The longest range: all that Meta has, 37 months, and some air.
const MOST_DAYS: i64 = 1200;

fn tolerance(text: &str) -> Result<Decimal, String> {
    let number = Decimal::from_str_exact(text).ok().filter(|n| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(n));
    number.ok_or_else(|| "write a number of percent from 0 to 100, such as 0.5".to_owned())
}

/// What is compared; in JSON money is text, so that it stays exact.
#[derive(Serialize)]
struct Report {
    days: Vec<Line>,
    summary: Summary,
}

#[derive(Serialize)]
struct Line {
    account_id: Uuid,
    ad_account_id: Uuid,
    external_id: String,
    date: NaiveDate,
    currency: String,
    counted_spend: Option<Decimal>,
    control_spend: Option<Decimal>,
    /// Control total less counted spend.
    gap: Option<Decimal>,
    /// Of the control total.
    gap_percent: Option<Decimal>,
    coverage: Option<Decimal>,
    causes: Vec<Cause>,
    within_tolerance: bool,
}

#[derive(Serialize)]
struct Summary {
    tolerance_percent: Decimal,
    ad_accounts: Vec<Sum>,
    /// All of them together, a currency: two are never summed.
    totals: Vec<Sum>,
}

/// The sum over days of which both figures are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sum {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ad_account_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    currency: String,
    days: u64,
    /// Days that could be compared; the figures are of these.
    days_compared: u64,
    /// Days that are findings.
    findings: u64,
    counted_spend: Decimal,
    control_spend: Decimal,
    gap: Decimal,
    gap_percent: Option<Decimal>,
    within_tolerance: bool,
}

impl Reconcile {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        in_order(self.since, self.until)?;
        let days = (self.until - self.since).num_days() + 1;
        if days > MOST_DAYS {
            return Err(usage(format!("{days} days are more than {MOST_DAYS}: take a shorter range")));
        }
        let (pool, _servers) = boot.tables().await?;
        if let Some(id) = self.account {
            accounts::tenant(&pool, id).await?;
        }
        let ad_account_id = match &self.ad_account {
            Some(name) => Some(ad_account_named(&pool, name, self.account).await?),
            None => None,
        };
        let days =
            read(&pool, self.account, ad_account_id, self.since, self.until, boot.settings.clock().now()).await?;
        let report = compare(days, self.tolerance);
        if self.json {
            output::json(&report)?;
        } else {
            print(&report)?;
        }
        let findings = report.days.iter().any(|line| !line.within_tolerance);
        Ok(if findings { Outcome::Findings } else { Outcome::Done })
    }
}

async fn read(
    pool: &PgPool,
    account_id: Option<Uuid>,
    ad_account_id: Option<Uuid>,
    since: NaiveDate,
    until: NaiveDate,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Day>> {
    sqlx::query_file_as!(Day, "src/command/reconcile/days.sql", account_id, ad_account_id, since, until, now)
        .fetch_all(pool)
        .await
}

fn compare(days: Vec<Day>, tolerance: Decimal) -> Report {
    let mut ad_accounts: Vec<Sum> = Vec::new();
    let mut totals: Vec<Sum> = Vec::new();
    let mut lines = Vec::new();
    for day in days {
        let (causes, gap, within_tolerance) = (day.causes(), day.gap(), day.is_within(tolerance));
        if ad_accounts.last().is_none_or(|sum| sum.ad_account_id != Some(day.ad_account_id)) {
            ad_accounts.push(Sum::of_ad_account(&day));
        }
        if !totals.iter().any(|sum| sum.currency == day.currency) {
            totals.push(Sum::new(day.currency.clone()));
        }
        for sum in ad_accounts.last_mut().into_iter().chain(totals.iter_mut().find(|sum| sum.currency == day.currency))
        {
            sum.add(&day, within_tolerance);
        }
        lines.push(Line {
            gap_percent: gap.zip(day.control_spend).and_then(|(gap, control)| percent(gap, control)),
            account_id: day.account_id,
            ad_account_id: day.ad_account_id,
            external_id: day.external_id,
            date: day.date,
            currency: day.currency,
            counted_spend: day.counted_spend,
            control_spend: day.control_spend,
            coverage: day.coverage,
            gap,
            causes,
            within_tolerance,
        });
    }
    ad_accounts.iter_mut().chain(&mut totals).for_each(|sum| sum.close(tolerance));
    Report { days: lines, summary: Summary { tolerance_percent: tolerance, ad_accounts, totals } }
}

impl Sum {
    fn new(currency: String) -> Self {
        Sum {
            account_id: None,
            ad_account_id: None,
            external_id: None,
            currency,
            days: 0,
            days_compared: 0,
            findings: 0,
            counted_spend: Decimal::ZERO,
            control_spend: Decimal::ZERO,
            gap: Decimal::ZERO,
            gap_percent: None,
            within_tolerance: true,
        }
    }

    fn of_ad_account(day: &Day) -> Self {
        Sum {
            account_id: Some(day.account_id),
            ad_account_id: Some(day.ad_account_id),
            external_id: Some(day.external_id.clone()),
            ..Sum::new(day.currency.clone())
        }
    }

    fn add(&mut self, day: &Day, within_tolerance: bool) {
        self.days += 1;
        self.findings += u64::from(!within_tolerance);
        if let (Some(counted), Some(control)) = (day.counted_spend, day.control_spend) {
            self.days_compared += 1;
            self.counted_spend += counted;
            self.control_spend += control;
        }
    }

    fn close(&mut self, tolerance: Decimal) {
        self.gap = self.control_spend - self.counted_spend;
        self.gap_percent = percent(self.gap, self.control_spend);
        self.within_tolerance = self.findings == 0 && is_small(self.gap, self.control_spend, tolerance);
    }
}

fn print(report: &Report) -> Result<()> {
    if report.days.is_empty() {
        return output::line("No ad account is connected: there is nothing to compare.");
    }
    for sum in &report.summary.ad_accounts {
        let of_it = || report.days.iter().filter(|line| Some(line.ad_account_id) == sum.ad_account_id);
        output::line(&format!("{}, in {}", or_dash(sum.external_id.as_ref()), sum.currency))?;
        let mut table = header(&["day", "counted", "control total", "gap", "gap %", ""]);
        for line in of_it() {
            let figures = [line.counted_spend, line.control_spend, line.gap, line.gap_percent].map(money);
            let verdict = if line.within_tolerance { "✓" } else { "✗" };
            table.add_row([vec![line.date.to_string()], figures.into(), vec![verdict.to_owned()]].concat());
        }
        table.add_row(sum_row(format!("{} of {} days", sum.days_compared, sum.days), sum));
        output::line(&table.to_string())?;
        for line in of_it() {
            for cause in &line.causes {
                output::line(&format!("{}: {}", line.date, output::printable(&cause.sentence)))?;
            }
        }
        output::line("")?;
    }
    if report.summary.ad_accounts.len() > 1 {
        let mut table = header(&["all", "counted", "control total", "gap", "gap %", ""]);
        for sum in &report.summary.totals {
            table.add_row(sum_row(format!("{} of {} days, {}", sum.days_compared, sum.days, sum.currency), sum));
        }
        output::line(&table.to_string())?;
    }
    let findings: u64 = report.summary.totals.iter().map(|sum| sum.findings).sum();
    output::line(&format!(
        "{findings} of {} days are findings, at a tolerance of {}%.",
        report.days.len(),
        report.summary.tolerance_percent
    ))
}

fn header(titles: &[&str]) -> Table {
    let mut table = output::table(titles);
    output::right(&mut table, 1..5);
    table
}

fn sum_row(name: String, sum: &Sum) -> Vec<String> {
    let figures = [Some(sum.counted_spend), Some(sum.control_spend), Some(sum.gap), sum.gap_percent].map(money);
    [vec![name], figures.into(), vec![if sum.within_tolerance { "✓" } else { "✗" }.to_owned()]].concat()
}

fn money(amount: Option<Decimal>) -> String {
    or_dash(amount.map(|amount| thousands(&amount, 2)))
}
