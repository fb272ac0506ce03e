//! `daily_summary`: one row a tenant and day. The Meta fold owns the `meta_*` columns.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use sqlx::PgConnection;
use uuid::Uuid;

/// Sums these tenants' days anew from `daily_meta_metrics`.
///
/// The rows are locked first and read in a later statement: two transactions that changed two ad accounts of one tenant
/// would else each read the other's old row, and the later commit would lose the earlier one's sum.
pub(crate) async fn recompute(conn: &mut PgConnection, keys: &BTreeSet<(Uuid, NaiveDate)>) -> sqlx::Result<()> {
    let (account_ids, dates): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
    loop {
        sqlx::query!(
            "insert into daily_summary (account_id, date)
             select * from unnest($1::uuid[], $2::date[]) as day (account_id, date)
             order by account_id, date
             on conflict do nothing",
            &account_ids,
            &dates,
        )
        .execute(&mut *conn)
        .await?;
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
    sqlx::query_file!("daily_summary/recompute.sql", &account_ids, &dates).execute(&mut *conn).await?;
    // Only a replay that found no event for a day leaves a summary without a source.
    sqlx::query!(
        "delete from daily_summary s
         using unnest($1::uuid[], $2::date[]) as day (account_id, date)
         where (s.account_id, s.date) = (day.account_id, day.date)
           and shopify_orders is null and shopify_revenue is null
           and not exists (select from daily_meta_metrics m where (m.account_id, m.date) = (s.account_id, s.date))",
        &account_ids,
        &dates,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The planted fault: what is in one statement here looks right, and loses the sum of whoever commits first.
#[cfg(feature = "mutants")]
pub(crate) async fn upsert_without_lock(
    conn: &mut PgConnection,
    keys: &BTreeSet<(Uuid, NaiveDate)>,
) -> sqlx::Result<()> {
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
    Ok(())
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
           and (s.meta_spend, s.meta_impressions, s.meta_clicks, s.meta_purchases, s.meta_purchase_value) is distinct from
               (null::numeric, null::bigint, null::bigint, null::numeric, null::numeric)
           and not exists (select from daily_meta_metrics m where m.account_id = s.account_id and m.date = s.date)",
        account_id,
        since,
        until,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account_id, r.date)).collect())
}
