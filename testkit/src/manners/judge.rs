use std::collections::BTreeMap;

use anyhow::Result;
use chrono::NaiveDate;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::plan::{self, Plan};
use super::told::Told;
use crate::graph::{Totals, World};

/// What is asked for unless somebody sets something else.
const STATUSES: [&str; 2] = ["ACTIVE", "PAUSED"];
/// More than these of a kind are a number.
const SHOWN: usize = 10;
/// The most calls for each one that was needed.
const MOST_CALLS_A_NEEDED_ONE: f64 = 1.15;

/// Spend, impressions, clicks, purchases, their value.
pub(super) type Sums = (Decimal, i64, i64, Decimal, Decimal);

/// What Meta has of each ad account and day under the filter that is asked for.
pub(super) fn wanted(plan: &Plan, world: &World, until: NaiveDate) -> BTreeMap<(String, NaiveDate), Sums> {
    let days = || plan.since(until).iter_days().take_while(|date| *date <= until);
    let all = (0..plan.ad_accounts).flat_map(|number| days().map(move |date| (plan::external_id(number), date)));
    all.map(|(external_id, date)| {
        let sums = of_world(&world.totals(&external_id, date, Some(&STATUSES)));
        ((external_id, date), sums)
    })
    .collect()
}

/// Adds what is complete, and what is not as it must be.
pub(super) async fn judge(
    told: &mut Told,
    wanted: &BTreeMap<(String, NaiveDate), Sums>,
    account_id: Uuid,
    connection: &mut PgConnection,
) -> Result<()> {
    let mut found = BTreeMap::new();
    let rows = sqlx::query(
        "select spend, impressions, clicks, coalesce(purchases, 0), coalesce(purchase_value, 0), external_id, date
         from daily_meta_metrics m join ad_accounts a on a.account_id = m.account_id and a.id = m.ad_account_id
         where m.account_id = $1",
    );
    for row in rows.bind(account_id).fetch_all(&mut *connection).await? {
        found.insert((row.try_get::<String, _>(5)?, row.try_get::<NaiveDate, _>(6)?), sums(&row)?);
    }
    let mut summed: BTreeMap<NaiveDate, Sums> = BTreeMap::new();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for (key, wanted) in wanted {
        let (external_id, date) = key;
        let sum = summed.entry(*date).or_default();
        *sum = (sum.0 + wanted.0, sum.1 + wanted.1, sum.2 + wanted.2, sum.3 + wanted.3, sum.4 + wanted.4);
        match found.get(key) {
            None => missing.push(format!("missing: {external_id} has no row of {date}")),
            Some(sums) if sums == wanted => told.days_complete += 1,
            Some(sums) => wrong.push(format!("wrong: {external_id} on {date}: {sums:?}, and Meta has {wanted:?}")),
        }
    }
    let rows = sqlx::query(
        "select meta_spend, meta_impressions, meta_clicks, coalesce(meta_purchases, 0), coalesce(meta_purchase_value, 0), date
         from daily_summary where account_id = $1",
    );
    let mut summary = BTreeMap::new();
    for row in rows.bind(account_id).fetch_all(&mut *connection).await? {
        summary.insert(row.try_get::<NaiveDate, _>(5)?, sums(&row)?);
    }
    let differing = summed.iter().filter(|(date, wanted)| summary.get(date) != Some(wanted));
    let differing = differing.map(|(date, wanted)| {
        format!("wrong: the tenant's {date}: {:?}, and the ad accounts of Meta's have {wanted:?}", summary.get(date))
    });
    let differing: Vec<_> = differing.collect();
    let rows: Vec<String> = sqlx::query_scalar(
        "select format('a run of %s ended %s with %s of %s days: %s', job_type, status, days_done, days_total,
                       coalesce(error_message, 'no reason'))
         from sync_runs where finished_at is not null and status <> 'succeeded'",
    )
    .fetch_all(connection)
    .await?;
    for findings in [missing, wrong, differing, rows] {
        let more = findings.len().saturating_sub(SHOWN);
        told.findings.extend(findings.into_iter().take(SHOWN));
        if more > 0 {
            told.findings.push(format!("… and {more} more of these"));
        }
    }
    if told.ratio() > MOST_CALLS_A_NEEDED_ONE {
        told.findings.push(format!("impolite: {:.3} calls for each one that was needed", told.ratio()));
    }
    if told.counts.during_block > 0 {
        told.findings.push(format!("impolite: {} calls although a block's end was told", told.counts.during_block));
    }
    Ok(())
}

fn sums(row: &PgRow) -> Result<Sums> {
    let amount = |at: usize| row.try_get::<Option<Decimal>, _>(at).map(Option::unwrap_or_default);
    let count = |at: usize| row.try_get::<Option<i64>, _>(at).map(Option::unwrap_or_default);
    Ok((amount(0)?, count(1)?, count(2)?, amount(3)?, amount(4)?))
}

fn of_world(totals: &Totals) -> Sums {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (impressions, clicks) = (count(totals.impressions), count(totals.clicks));
    (totals.spend, impressions, clicks, totals.purchases.into(), totals.purchase_value)
}
