//! A tenant's days on the terminal, and what the four tables hold.

use anyhow::Result;
use chrono::{Datelike, NaiveDate, Weekday};
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::output::{self, or_dash, thousands};

/// Width of the longest bar.
const BAR_WIDTH: usize = 16;

struct Day {
    date: NaiveDate,
    spend: Option<Decimal>,
    impressions: Option<i64>,
    clicks: Option<i64>,
    purchases: Option<Decimal>,
    purchase_value: Option<Decimal>,
    roas: Option<Decimal>,
    coverage: Option<Decimal>,
    provisional: bool,
}

/// Prints a tenant's range, its newest day by ad, and the size of each table.
pub async fn print(pool: &PgPool, account_id: Uuid, since: NaiveDate, until: NaiveDate) -> Result<()> {
    let currency = accounts::tenant(pool, account_id).await?.currency;
    let days = sqlx::query_file_as!(Day, "src/daily_table.sql", account_id, since, until).fetch_all(pool).await?;
    output::line(&format!("\ndaily_summary, {since} to {until}, in {currency}\n"))?;
    output::line(&daily(&days).to_string())?;
    output::line(
        "~ Meta may still restate the day.   cover: counted spend as a share of the unfiltered control total; below 100%\n\
         where the status filter hides ads that were archived since (META_EFFECTIVE_STATUS=all shows them).",
    )?;
    output::line(&format!("\nfact_meta_daily, {until}, by ad\n"))?;
    output::line(&ads(pool, account_id, until).await?.to_string())?;
    sizes(pool, account_id).await
}

fn daily(days: &[Day]) -> comfy_table::Table {
    let mut table =
        output::table(&["day", "", "spend", "impressions", "clicks", "CTR", "purchases", "value", "ROAS", "cover", ""]);
    output::right(&mut table, 2..10);
    let most = days.iter().filter_map(|day| day.spend).max().unwrap_or_default();
    for day in days {
        // Weeks stand apart.
        if day.date.weekday() == Weekday::Mon && day.date != days[0].date {
            table.add_row([""]);
        }
        table.add_row([
            day.date.format("%a %Y-%m-%d").to_string(),
            bar(day.spend.unwrap_or_default(), most),
            decimal(day.spend, 2),
            count(day.impressions),
            count(day.clicks),
            or_dash(ctr(day.clicks, day.impressions)),
            decimal(day.purchases, 0),
            decimal(day.purchase_value, 2),
            decimal(day.roas, 2),
            or_dash(day.coverage.map(|n| format!("{}%", thousands(&(n * Decimal::from(100)), 0)))),
            if day.provisional { "~".into() } else { String::new() },
        ]);
    }
    // As in the tables: what nobody said is not zero.
    let sum = |of: fn(&Day) -> Option<Decimal>| days.iter().filter_map(of).reduce(|a, b| a + b);
    let whole = |of: fn(&Day) -> Option<i64>| days.iter().filter_map(of).reduce(|a, b| a + b);
    let (spend, value) = (sum(|d| d.spend), sum(|d| d.purchase_value));
    let (impressions, clicks) = (whole(|d| d.impressions), whole(|d| d.clicks));
    let roas = spend.zip(value).and_then(|(spend, value)| value.checked_div(spend));
    table.add_row([""]);
    table.add_row([
        format!("{} days", days.len()),
        String::new(),
        decimal(spend, 2),
        count(impressions),
        count(clicks),
        or_dash(ctr(clicks, impressions)),
        decimal(sum(|d| d.purchases), 0),
        decimal(value, 2),
        decimal(roas, 2),
    ]);
    table
}

fn decimal(number: Option<Decimal>, decimals: u32) -> String {
    or_dash(number.map(|n| thousands(&n, decimals)))
}

fn count(number: Option<i64>) -> String {
    decimal(number.map(Decimal::from), 0)
}

fn ctr(clicks: Option<i64>, impressions: Option<i64>) -> Option<String> {
    let (clicks, impressions) = clicks.zip(impressions).filter(|(_, impressions)| *impressions > 0)?;
    Some(format!("{}%", thousands(&(Decimal::from(clicks) * Decimal::from(100) / Decimal::from(impressions)), 2)))
}

fn bar(amount: Decimal, most: Decimal) -> String {
    let eighths = (amount * Decimal::from(BAR_WIDTH * 8)).checked_div(most).unwrap_or_default();
    let eighths = usize::try_from(eighths.round()).unwrap_or(0).min(BAR_WIDTH * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{rest}", "█".repeat(eighths / 8))
}

async fn ads(pool: &PgPool, account_id: Uuid, date: NaiveDate) -> Result<comfy_table::Table> {
    let rows = sqlx::query!(
        "select campaign_name, ad_name, spend, impressions, clicks, purchases, purchase_value
         from fact_meta_daily where account_id = $1 and date = $2 and absence is distinct from 'deleted'
         order by spend desc nulls last, ad_id",
        account_id,
        date,
    )
    .fetch_all(pool)
    .await?;
    let mut table = output::table(&["campaign", "ad", "spend", "impressions", "clicks", "purchases", "value"]);
    output::right(&mut table, 2..7);
    for row in rows {
        table.add_row([
            or_dash(row.campaign_name),
            or_dash(row.ad_name),
            decimal(row.spend, 2),
            count(row.impressions),
            count(row.clicks),
            decimal(row.purchases, 0),
            decimal(row.purchase_value, 2),
        ]);
    }
    Ok(table)
}

async fn sizes(pool: &PgPool, account_id: Uuid) -> Result<()> {
    let sizes = sqlx::query!(
        r#"select (select count(*) from meta_insights_raw where account_id = $1) as "raw!",
                  (select count(*) from fact_meta_daily where account_id = $1) as "facts!",
                  (select count(*) from daily_meta_metrics where account_id = $1) as "metrics!",
                  (select count(*) from daily_summary where account_id = $1) as "summary!""#,
        account_id,
    )
    .fetch_one(pool)
    .await?;
    output::line(&format!(
        "\nThe tables: meta_insights_raw {} events · fact_meta_daily {} rows · daily_meta_metrics {} rows · daily_summary {} rows\n",
        sizes.raw, sizes.facts, sizes.metrics, sizes.summary
    ))
}
