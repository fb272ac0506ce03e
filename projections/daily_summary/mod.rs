//! `daily_summary`: one row a tenant and day. The Meta fold owns the `meta_*` columns.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use events::DailySummaryValues;
use sqlx::PgConnection;
use uuid::Uuid;

/// What changed of a tenant's day: what the fold says in the row of `daily_summary` before and after, of which `None`
/// says that there was or is no row. The day's changes are numbered from 1 without a gap, also where its row went and
/// came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryChange {
    /// The tenant.
    pub account_id: Uuid,
    pub date: NaiveDate,
    pub version: i64,
    /// Decimals are PostgreSQL's own texts, because a sum can have more digits than any decimal type here holds.
    pub old: Option<DailySummaryValues>,
    pub new: Option<DailySummaryValues>,
}

/// Sums these tenants' days anew from `daily_meta_metrics`, and returns those whose values changed by it.
///
/// The rows are locked first and read in a later statement: two transactions that changed two ad accounts of one tenant
/// would else each read the other's old row, and the later commit would lose the earlier one's sum. What was there
/// before, what is there now and the change's number are said under the same lock: each change begins with what the one
/// before it ended with.
pub(crate) async fn recompute(
    conn: &mut PgConnection,
    keys: &BTreeSet<(Uuid, NaiveDate)>,
) -> sqlx::Result<Vec<SummaryChange>> {
    let (account_ids, dates): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
    let mut made: BTreeSet<(Uuid, NaiveDate)> = BTreeSet::new();
    loop {
        let rows = sqlx::query!(
            "insert into daily_summary (account_id, date)
             select * from unnest($1::uuid[], $2::date[]) as day (account_id, date)
             order by account_id, date
             on conflict do nothing
             returning account_id, date",
            &account_ids,
            &dates,
        )
        .fetch_all(&mut *conn)
        .await?;
        made.extend(rows.into_iter().map(|r| (r.account_id, r.date)));
        let locked = sqlx::query_scalar!(
            "select s.date from unnest($1::uuid[], $2::date[]) as day (account_id, date)
             join daily_summary s using (account_id, date)
             order by s.account_id, s.date
             for update of s",
            &account_ids,
            &dates,
        )
        .fetch_all(&mut *conn)
        .await?;
        // A row can be deleted while it is waited for, when its day turns out to have no event; it is then made again.
        if locked.len() == keys.len() {
            break;
        }
    }
    let were_made: Vec<bool> = keys.iter().map(|key| made.contains(key)).collect();
    let rows = sqlx::query_file!("daily_summary/recompute.sql", &account_ids, &dates, &were_made)
        .fetch_all(&mut *conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|r| SummaryChange {
            account_id: r.account_id,
            date: r.date,
            version: r.version,
            old: (!r.was_made).then_some(DailySummaryValues {
                meta_spend: r.old_spend,
                meta_impressions: r.old_impressions,
                meta_clicks: r.old_clicks,
                meta_purchases: r.old_purchases,
                meta_purchase_value: r.old_purchase_value,
                meta_roas: r.old_roas,
            }),
            new: (!r.is_gone).then_some(DailySummaryValues {
                meta_spend: r.new_spend,
                meta_impressions: r.new_impressions,
                meta_clicks: r.new_clicks,
                meta_purchases: r.new_purchases,
                meta_purchase_value: r.new_purchase_value,
                meta_roas: r.new_roas,
            }),
        })
        .collect())
}

/// The planted fault: what is in one statement here looks right, and loses the sum of whoever commits first.
#[cfg(feature = "mutants")]
pub(crate) async fn upsert_without_lock(
    conn: &mut PgConnection,
    keys: &BTreeSet<(Uuid, NaiveDate)>,
) -> sqlx::Result<Vec<SummaryChange>> {
    let (account_ids, dates): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
    sqlx::query!(
        "insert into daily_summary (account_id, date, meta_spend, meta_impressions, meta_clicks, meta_purchases, meta_purchase_value)
         select account_id, date, sum(spend), sum(impressions)::bigint, sum(clicks)::bigint, sum(purchases), sum(purchase_value)
         from unnest($1::uuid[], $2::date[]) as day (account_id, date)
         join daily_meta_metrics using (account_id, date)
         group by account_id, date
         on conflict (account_id, date) do update set
             meta_spend = excluded.meta_spend, meta_impressions = excluded.meta_impressions,
             meta_clicks = excluded.meta_clicks, meta_purchases = excluded.meta_purchases,
             meta_purchase_value = excluded.meta_purchase_value",
        &account_ids,
        &dates,
    )
    .execute(conn)
    .await?;
    Ok(Vec::new())
}

/// Days of tenants that a summary speaks of and no ad account does: nobody but a hand can have made their numbers.
pub(crate) async fn without_ad_accounts(
    conn: &mut PgConnection,
    account_id: Option<Uuid>,
    since: NaiveDate,
    until: NaiveDate,
) -> sqlx::Result<BTreeSet<(Uuid, NaiveDate)>> {
    let rows = sqlx::query!(
        "select s.account_id, s.date from daily_summary s
         where ($1::uuid is null or s.account_id = $1) and s.date between $2 and $3
           and num_nonnulls(s.meta_spend, s.meta_impressions, s.meta_clicks, s.meta_purchases, s.meta_purchase_value,
                            s.meta_roas) > 0
           and not exists (select from daily_meta_metrics m where m.account_id = s.account_id and m.date = s.date)",
        account_id,
        since,
        until,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account_id, r.date)).collect())
}
