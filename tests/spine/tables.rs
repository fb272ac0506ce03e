//! What the tables say, as text that can be compared, and held against the server's own sums.

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::shop::{AD_ACCOUNT, DEFAULT_STATUSES, Shop};

/// Every table of the folds, row by row. `updated_at` and the like are left in: a replay restores them, too.
pub async fn folded(pool: &PgPool) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for table in ["observations", "fact_meta_daily", "daily_meta_metrics", "daily_summary"] {
        let query = format!("select '{table} ' || t::text from {table} t order by 1");
        all.extend(sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query)).fetch_all(pool).await?);
    }
    Ok(all)
}

/// The numbers of the folds without event ids and times: what a second fetch of equal answers must not change.
pub async fn numbers(pool: &PgPool) -> Result<Vec<String>> {
    let queries = [
        "select concat_ws(' ', account_id, date, ad_id, ad_name, spend, impressions, clicks, inline_link_clicks, purchases,
                          purchase_value, absence) from fact_meta_daily order by 1",
        "select concat_ws(' ', account_id, date, ads, spend, impressions, clicks, purchases, purchase_value, roas, control_spend,
                          coverage) from daily_meta_metrics order by 1",
        "select concat_ws(' ', account_id, date, meta_spend, meta_impressions, meta_clicks, meta_purchases, meta_purchase_value,
                          meta_roas) from daily_summary order by 1",
    ];
    let mut all = Vec::new();
    for query in queries {
        all.extend(sqlx::query_scalar::<_, String>(query).fetch_all(pool).await?);
    }
    Ok(all)
}

/// Each day's metrics and summary equal what the server says of the ads that were asked for, to the cent, and its
/// control total equals what the server says of all.
pub async fn check_sums(shop: &Shop, since: NaiveDate, until: NaiveDate) -> Result<()> {
    for date in since.iter_days().take_while(|day| *day <= until) {
        let wanted = shop.graph.edit(|world| world.totals(AD_ACCOUNT, date, Some(&DEFAULT_STATUSES)));
        let control = shop.graph.edit(|world| world.totals(AD_ACCOUNT, date, None));
        let found: (i32, Decimal, i64, i64, i64, Option<Decimal>, Option<Decimal>, Decimal) = sqlx::query_as(
            "select ads, spend, impressions, clicks, inline_link_clicks, purchases, purchase_value, control_spend
             from daily_meta_metrics where account_id = $1 and date = $2",
        )
        .bind(shop.account_id)
        .bind(date)
        .fetch_optional(&shop.database.pool)
        .await?
        .with_context(|| format!("{date} has no row"))?;
        let (ads, spend, impressions, clicks, link_clicks, purchases, value, control_spend) = found;
        ensure!(ads as usize == wanted.ads, "{date}: {ads} ads, the server has {wanted:?}");
        ensure!(spend == wanted.spend, "{date}: spend {spend}, the server has {wanted:?}");
        ensure!(control_spend == control.spend, "{date}: control {control_spend}, the server has {control:?}");
        let counts = (impressions as u64, clicks as u64, link_clicks as u64);
        ensure!(
            counts == (wanted.impressions, wanted.clicks, wanted.link_clicks),
            "{date}: {counts:?}, the server has {wanted:?}"
        );
        let sales = (purchases.unwrap_or_default(), value.unwrap_or_default());
        ensure!(
            sales == (wanted.purchases.into(), wanted.purchase_value),
            "{date}: {sales:?}, the server has {wanted:?}"
        );

        let summary: (Decimal, i64, i64, Option<Decimal>, Option<Decimal>) = sqlx::query_as(
            "select meta_spend, meta_impressions, meta_clicks, meta_purchases, meta_purchase_value
             from daily_summary where account_id = $1 and date = $2",
        )
        .bind(shop.account_id)
        .bind(date)
        .fetch_one(&shop.database.pool)
        .await?;
        ensure!(summary == (spend, impressions, clicks, purchases, value), "{date}: the summary has {summary:?}");
    }
    Ok(())
}
