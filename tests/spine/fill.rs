//! From an empty database to sums that equal the server's; and back from damage.

use anyhow::Result;

use crate::shop::{AD_ACCOUNT, Shop, days_ago};
use crate::tables;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fill_and_fresh_end_in_the_servers_sums() -> Result<()> {
    let shop = Shop::open().await?;
    let ran = shop.sync("meta_7d_fill").await?;
    assert_eq!(ran.code, 0, "{ran:?}");
    shop.check_sums(days_ago(7), days_ago(1)).await?;
    assert_eq!(shop.cursor().await?, Some(days_ago(1)));

    // Meta restates: fresh takes it over, within its window.
    shop.graph.edit(|world| {
        for ad in &mut world.ad_account(AD_ACCOUNT).ads {
            for delivery in ad.days.values_mut() {
                delivery.spend += rust_decimal::Decimal::new(7, 2);
                delivery.impressions += 3;
            }
        }
    });
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    shop.check_sums(days_ago(6), days_ago(1)).await?;
    assert!(shop.check_sums(days_ago(7), days_ago(7)).await.is_err(), "fresh has a window of 6 days");

    // Asked again, nothing changes but what says when it was asked.
    let before = tables::numbers(&shop.database.pool).await?;
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    assert_eq!(tables::numbers(&shop.database.pool).await?, before);

    // An ad that is archived goes on counting for the days on which it spent.
    let (date, spent) = (days_ago(2), spend(&shop, 2).await?);
    shop.graph.edit(|world| {
        for ad in world.ad_account(AD_ACCOUNT).ads.iter_mut().filter(|ad| ad.effective_status == "ACTIVE").take(2) {
            ad.effective_status = "ARCHIVED".into();
        }
    });
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    assert_eq!(spend(&shop, 2).await?, spent, "{date}");
    let absent: i64 = sqlx::query_scalar("select count(*) from fact_meta_daily where absence = 'not_returned'")
        .fetch_one(&shop.database.pool)
        .await?;
    assert!(absent > 0);
    Ok(())
}

async fn spend(shop: &Shop, days: u64) -> Result<String> {
    let spend = sqlx::query_scalar("select spend::text from daily_meta_metrics where date = $1").bind(days_ago(days));
    Ok(spend.fetch_one(&shop.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_undone_from_the_stream_and_from_raw_alone() -> Result<()> {
    let shop = Shop::open().await?;
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    let whole = tables::folded(&shop.database.pool).await?;
    let (since, until) = (days_ago(7).to_string(), days_ago(1).to_string());
    let damages = [
        "delete from fact_meta_daily; update daily_summary set meta_spend = meta_spend * 2",
        "truncate observations, daily_meta_metrics; update fact_meta_daily set spend = 0, ad_id = 'x' || ad_id",
        "truncate observations, daily_meta_metrics, fact_meta_daily, daily_summary",
    ];
    for damage in damages {
        for from in ["stream", "raw"] {
            sqlx::raw_sql(damage).execute(&shop.database.pool).await?;
            let mut replay = shop.command(&["replay", "--since", &since, "--until", &until, "--from", from]);
            if from == "raw" {
                // The stream is gone: nothing listens there.
                replay.env("NATS_URL", "nats://127.0.0.1:1");
            }
            let ran = crate::shop::run(replay, None).await?;
            assert_eq!(ran.code, 0, "{ran:?}");
            assert_eq!(tables::folded(&shop.database.pool).await?, whole, "from {from} after {damage}");
        }
    }
    // Numbers that nothing stands behind go; what another source wrote stays.
    let baseless =
        "insert into daily_summary (account_id, date, meta_spend, shopify_orders) select id, $1, 99, 4 from accounts";
    sqlx::query(baseless).bind(days_ago(30)).execute(&shop.database.pool).await?;
    shop.done(&["replay", "--since", &days_ago(30).to_string(), "--until", &until]).await?;
    let left: (Option<rust_decimal::Decimal>, Option<i64>) =
        sqlx::query_as("delete from daily_summary where date = $1 returning meta_spend, shopify_orders")
            .bind(days_ago(30))
            .fetch_one(&shop.database.pool)
            .await?;
    assert_eq!(left, (None, Some(4)));
    assert_eq!(tables::folded(&shop.database.pool).await?, whole);
    // A dry run says what it would do, and does nothing.
    sqlx::raw_sql(damages[0]).execute(&shop.database.pool).await?;
    let damaged = tables::folded(&shop.database.pool).await?;
    let ran = shop.done(&["replay", "--since", &since, "--until", &until, "--dry-run"]).await?;
    assert!(ran.stdout.contains("of 7 account-days again"), "{ran:?}");
    assert_eq!(tables::folded(&shop.database.pool).await?, damaged);
    Ok(())
}
