//! How days settle, from the command line.

use anyhow::{Context, Result, ensure};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::shop::{AD_ACCOUNT, Shop, days_ago};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_day_was_restated_to_is_told_answer_by_answer() -> Result<()> {
    let shop = Shop::open().await?;
    let account = shop.account_id.to_string();
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let ran = shop.done(&["settlement", "--account", &account]).await?;
    for words in [
        "no day has settled yet that was watched until it did",
        "From 10 settled days on there are bands",
        "No backtest yet",
    ] {
        ensure!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
    // Meta knows of three more purchases of one ad by now.
    let day = days_ago(2);
    shop.graph.edit(|world| {
        let ads = world.ad_account(AD_ACCOUNT).ads.iter_mut().filter(|ad| ad.effective_status == "ACTIVE");
        if let Some(delivery) = ads.filter_map(|ad| ad.days.get_mut(&day)).next() {
            delivery.purchases.click_7d.count += 3;
            delivery.purchases.click_7d.value += Decimal::new(6_000, 2);
        }
    });
    ensure!(shop.sync("meta_fresh").await?.code == 0);
    let text = day.to_string();
    let ran = shop.done(&["settlement", "--account", &account, "--date", &text]).await?;
    ensure!(
        ran.stdout.contains("the first answer") && ran.stdout.contains("purchases +3, purchase value +60"),
        "{ran:?}"
    );
    let ran = shop.done(&["settlement", "--account", &account, "--date", &text, "--json"]).await?;
    let document: Value = serde_json::from_str(&ran.stdout)?;
    let restated = &document[0]["observations"][1];
    assert_eq!((&restated["age_days"], &restated["changes"][0]["metric"]), (&2.into(), &"purchases".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_settled_say_where_the_others_will_end() -> Result<()> {
    let shop = Shop::open().await?;
    let account = shop.account_id.to_string();
    // Each of 40 days ended at 100.00, of which 50 to 59 were known on the next day; the last one is a day old.
    sqlx::query(
        "insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
             spend, impressions, purchases, purchase_value, projection_version)
         select account_id, ad_account_id, $1::date - day, gen_random_uuid(), now() - (day - age) * interval '1 day', age, 1, '',
                case when age = 1 then 50 + day % 10 else 100 end, 7, 1, 1, 1
         from integrations, generate_series(1, 69) as day, unnest(array[1, 29]) as age
         where (day >= 30 or day = 1) and age <= day",
    )
    .bind(days_ago(0))
    .execute(&shop.database.pool)
    .await?;
    let arguments = ["settlement", "--account", &account, "--ad-account", AD_ACCOUNT, "--metric", "spend"];
    let ran = shop.done(&arguments).await?;
    ensure!(ran.stdout.contains("spend in EUR: 40 days have settled"), "{ran:?}");
    let ran = shop.done(&[&arguments[..], &["--json"]].concat()).await?;
    let document: Value = serde_json::from_str(&ran.stdout)?;
    let of = &document[0];
    assert_eq!((&of["metric"], &of["curve"]["settled_days"]), (&"spend".into(), &40.into()));
    assert_eq!(of["curve"]["points"].as_array().context("points")?.len(), 28);
    // 51, by a median of 54.5 percent.
    let day = &of["provisional"][0];
    assert_eq!((&day["value"], &day["end"]), (&"51".into(), &"93.58".into()), "{of}");
    // Nothing had settled when the first of these days were a day old; 29 days later something had.
    let line = &of["backtest"]["ages"][0];
    ensure!(line["age_days"] == 1 && line["days"].as_u64() > Some(0), "{of}");
    ensure!(line["band_held"].as_u64() > Some(0), "{of}");
    let nobody = shop.run(&["settlement", "--account", &uuid::Uuid::nil().to_string()]).await?;
    ensure!(nobody.code == 1, "{nobody:?}");
    Ok(())
}
