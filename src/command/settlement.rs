use anyhow::{Context, Result};
use chrono::{Days, NaiveDate};
use clap::{Args, ValueEnum};
use rust_decimal::Decimal;
use serde::Serialize;
use settlement::{Backtested, Curve, Estimate, FEWEST_DAYS, HISTORY_DAYS, Metric, Restatement, restatements};
use sqlx::PgPool;
use uuid::Uuid;

use super::ad_account_named;
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output::{self, or_dash, thousands};

/// How a day's numbers mature with its age, where provisional days will end, and how well that was estimated before
///
/// Of each ad account: what share of a day's end was known when it was so old, in the middle of the days that have settled
/// and of eight in ten; each day that Meta may still restate, with an estimate of its end; and a backtest of such
/// estimates. With --date, the restatements of that day. It works from the tables alone.
#[derive(Args)]
pub struct Settlement {
    /// The tenant
    #[arg(long, value_name = "ID")]
    account: Uuid,
    /// This ad account only: Meta's id (act_…), or its id in our tables
    #[arg(long, value_name = "ACT")]
    ad_account: Option<String>,
    /// Which number
    #[arg(long, default_value = "purchases")]
    metric: Which,
    /// Each answer about this report day, YYYY-MM-DD, and what it changed
    #[arg(long, value_name = "DATE", conflicts_with = "metric")]
    date: Option<NaiveDate>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Which {
    Spend,
    Impressions,
    Purchases,
    PurchaseValue,
}

impl From<Which> for Metric {
    fn from(which: Which) -> Self {
        match which {
            Which::Spend => Metric::Spend,
            Which::Impressions => Metric::Impressions,
            Which::Purchases => Metric::Purchases,
            Which::PurchaseValue => Metric::PurchaseValue,
        }
    }
}

struct AdAccount {
    id: Uuid,
    external_id: String,
    name: String,
    currency: String,
}

/// Amounts are text, so that they stay exact.
#[derive(Serialize)]
struct OfAdAccount<T: Serialize> {
    ad_account_id: Uuid,
    external_id: String,
    currency: String,
    #[serde(flatten)]
    said: T,
}

#[derive(Serialize)]
struct OfDay {
    date: NaiveDate,
    observations: Vec<Restatement>,
}

impl Settlement {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, _servers) = boot.tables().await?;
        accounts::tenant(&pool, self.account).await?;
        let ad_accounts = self.ad_accounts(&pool).await?;
        let today = boot.settings.clock().now().date_naive();
        let mut of_all = Vec::new();
        let mut of_day = Vec::new();
        for ad_account in ad_accounts {
            let since = self
                .date
                .or_else(|| today.checked_sub_days(Days::new(HISTORY_DAYS)))
                .context("the day is in no calendar")?;
            let mut observations = settlement::observations(&pool, self.account, ad_account.id, since).await?;
            let AdAccount { id: ad_account_id, external_id, currency, .. } = &ad_account;
            let (ad_account_id, external_id, currency) = (*ad_account_id, external_id.clone(), currency.clone());
            if let Some(date) = self.date {
                observations.retain(|observation| observation.date == date);
                let said = OfDay { date, observations: restatements(&observations) };
                of_day.push((ad_account, OfAdAccount { ad_account_id, external_id, currency, said }));
            } else {
                let said = Backtested::of(&observations, self.metric.into());
                of_all.push((ad_account, OfAdAccount { ad_account_id, external_id, currency, said }));
            }
        }
        match (self.json, self.date) {
            (true, None) => output::json(&of_all.iter().map(|(_, of)| of).collect::<Vec<_>>())?,
            (true, Some(_)) => output::json(&of_day.iter().map(|(_, of)| of).collect::<Vec<_>>())?,
            (false, None) => of_all.iter().try_for_each(|(ad_account, of)| print(ad_account, &of.said))?,
            (false, Some(_)) => of_day.iter().try_for_each(|(ad_account, of)| print_day(ad_account, &of.said))?,
        }
        Ok(Outcome::Done)
    }

    async fn ad_accounts(&self, pool: &PgPool) -> Result<Vec<AdAccount>> {
        let id = match &self.ad_account {
            Some(name) => Some(ad_account_named(pool, name, Some(self.account)).await?),
            None => None,
        };
        let all = sqlx::query_as!(
            AdAccount,
            "select id, external_id, name, currency from ad_accounts
             where account_id = $1 and ($2::uuid is null or id = $2) order by external_id",
            self.account,
            id,
        );
        all.fetch_all(pool).await.context("the ad accounts cannot be listed")
    }
}

fn percent(share: Decimal) -> String {
    format!("{:.1} %", (share * Decimal::ONE_HUNDRED).round_dp(1))
}

fn number(value: Decimal) -> String {
    thousands(&value, if value.fract().is_zero() { 0 } else { 2 })
}

fn heading(ad_account: &AdAccount, what: &str) -> String {
    format!("{} ({}), {what}", output::shortened(&ad_account.name, 60), ad_account.external_id)
}

fn print(ad_account: &AdAccount, settled: &Backtested) -> Result<()> {
    let Backtested { settlement: settlement::Settlement { metric, curve, provisional }, backtest } = settled;
    let unit = match metric {
        Metric::Spend | Metric::PurchaseValue => format!(" in {}", ad_account.currency),
        Metric::Impressions | Metric::Purchases => String::new(),
    };
    let days = match curve.settled_days {
        0 => "no day has settled yet that was watched until it did".to_owned(),
        1 => "1 day has settled".to_owned(),
        n => format!("{n} days have settled"),
    };
    output::line(&heading(ad_account, &format!("{}{unit}: {days}", metric.words())))?;
    if curve.settled_days < FEWEST_DAYS {
        output::line(&format!(
            "From {FEWEST_DAYS} settled days on there are bands; estimates of fewer are hardly more than guesses."
        ))?;
    }
    print_curve(curve)?;
    print_provisional(provisional)?;
    if backtest.ages.is_empty() {
        return output::line("No backtest yet: it takes settled days that had as many before them.\n");
    }
    let mut table =
        output::table(&["backtest at age", "days", "their end", "off as estimated", "off as it stands", "band held"]);
    output::right(&mut table, 0..6);
    for line in &backtest.ages {
        let held = Decimal::from(line.band_held).checked_div(line.days.into()).unwrap_or_default();
        table.add_row([
            line.age_days.to_string(),
            line.days.to_string(),
            number(line.mean_end),
            number(line.mean_absolute_error),
            number(line.mean_absolute_error_as_it_stands),
            percent(held),
        ]);
    }
    output::line(&format!("{table}\n"))
}

fn print_curve(curve: &Curve) -> Result<()> {
    if curve.points.is_empty() {
        return Ok(());
    }
    let mut table = output::table(&["age", "known of the end", "eight days in ten", "days"]);
    output::right(&mut table, 0..4);
    for point in &curve.points {
        let band = point.band.map(|(low, high)| format!("{} – {}", percent(low), percent(high)));
        table.add_row([point.age_days.to_string(), percent(point.median), or_dash(band), point.days.to_string()]);
    }
    output::line(&format!("{table}\n"))
}

fn print_provisional(provisional: &[Estimate]) -> Result<()> {
    if provisional.is_empty() {
        return output::line("No day is provisional.\n");
    }
    let mut table = output::table(&["provisional day", "age", "as it stands", "will end at", "eight chances in ten"]);
    output::right(&mut table, 1..5);
    for day in provisional {
        let band = day.band.map(|(low, high)| match high {
            Some(high) => format!("{} – {}", number(low), number(high)),
            None => format!("{} or more", number(low)),
        });
        table.add_row([
            day.date.to_string(),
            day.age_days.to_string(),
            number(day.value),
            or_dash(day.end.map(number)),
            or_dash(band),
        ]);
    }
    output::line(&format!("{table}\n"))
}

fn print_day(ad_account: &AdAccount, day: &OfDay) -> Result<()> {
    output::line(&heading(ad_account, &day.date.to_string()))?;
    if day.observations.is_empty() {
        return output::line("No answer about this day is in the tables.\n");
    }
    let mut table =
        output::table(&["fetched", "age", "spend", "impressions", "purchases", "purchase value", "what changed"]);
    output::right(&mut table, 1..6);
    for (at, restated) in day.observations.iter().enumerate() {
        let observation = &restated.observation;
        let changed: Vec<String> = restated
            .changes
            .iter()
            .map(|change| {
                let (before, after) = (change.before, change.after);
                let by = before.zip(after).map(|(before, after)| after - before);
                match by {
                    Some(by) if by > Decimal::ZERO => format!("{} +{}", change.metric.words(), number(by)),
                    Some(by) => format!("{} {}", change.metric.words(), number(by)),
                    None if after.is_none() => format!("{} unknown now", change.metric.words()),
                    None => format!("{} known now", change.metric.words()),
                }
            })
            .collect();
        let nothing = if at == 0 { "the first answer" } else { "nothing" };
        let mut row = vec![output::time(observation.fetched_at), observation.age_days.to_string()];
        row.extend(Metric::ALL.map(|metric| or_dash(observation.value(metric).map(number))));
        row.push(if changed.is_empty() { nothing.to_owned() } else { changed.join(", ") });
        table.add_row(row);
    }
    output::line(&format!("{table}\n"))
}
