use std::collections::BTreeMap;

use anyhow::Result;
use chrono::NaiveDate;
use events::{DailySummaryChanged, DailySummaryValues};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

/// Numbers of a day that was announced: spend, impressions, clicks, purchases, their value.
type Numbers = (Option<Decimal>, Option<i64>, Option<i64>, Option<Decimal>, Option<Decimal>);

type Row = (Uuid, NaiveDate, Option<Decimal>, Option<i64>, Option<i64>, Option<Decimal>, Option<Decimal>);

/// What was announced of the tenants' days, put together as whoever listens would, is what the table says: of each day
/// the changes are there from 1 on, and each begins with what the one before it ended with.
pub(super) async fn findings(changes: &[DailySummaryChanged], connection: &mut PgConnection) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut told: BTreeMap<(Uuid, NaiveDate), BTreeMap<i64, &DailySummaryChanged>> = BTreeMap::new();
    for change in changes {
        let known = told.entry((change.account_id, change.date)).or_default().insert(change.version, change);
        if known.is_some_and(|known| known != change) {
            findings.push(format!("wrong: {} of {} is two changes", change.version, change.date));
        }
    }
    let rows: Vec<Row> = sqlx::query_as(
        "select account_id, date, meta_spend, meta_impressions, meta_clicks, meta_purchases, meta_purchase_value
         from daily_summary",
    )
    .fetch_all(connection)
    .await?;
    let mut table: BTreeMap<(Uuid, NaiveDate), Numbers> =
        rows.into_iter().map(|(id, date, a, b, c, d, e)| ((id, date), (a, b, c, d, e))).collect();
    for ((account_id, date), changes) in &told {
        let mut before = None;
        for (wanted, (version, change)) in (1..).zip(changes) {
            if *version != wanted || numbers(change.old.as_ref())? != before {
                findings.push(format!("lost: a change of {date} before {change:?}"));
            }
            before = numbers(change.new.as_ref())?;
        }
        if table.remove(&(*account_id, *date)) != before {
            findings.push(format!("wrong: the last change of {date} is not what its summary says"));
        }
    }
    findings.extend(table.keys().map(|(_, date)| format!("lost: no change of {date} was announced")));
    Ok(findings)
}

fn numbers(values: Option<&DailySummaryValues>) -> Result<Option<Numbers>> {
    let decimal = |text: &Option<String>| text.as_deref().map(Decimal::from_str_exact).transpose();
    values
        .map(|v| {
            let (spend, purchases) = (decimal(&v.meta_spend)?, decimal(&v.meta_purchases)?);
            Ok((spend, v.meta_impressions, v.meta_clicks, purchases, decimal(&v.meta_purchase_value)?))
        })
        .transpose()
}
