//! The two logs, seen from the command line: compared, healed, and one of them trimmed.

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use jetstream::META_INSIGHTS;
use serde_json::Value;

use crate::shop::{Ran, Shop, days_ago};

fn check(ran: &Ran, code: i32, words: &str) -> Result<()> {
    ensure!(ran.code == code && (ran.stdout.contains(words) || ran.stderr.contains(words)), "{ran:?}");
    Ok(())
}

async fn messages(shop: &Shop) -> Result<u64> {
    Ok(shop.nats.wire.log(META_INSIGHTS).await?.level().await?.messages)
}

async fn days(shop: &Shop) -> Result<Vec<NaiveDate>> {
    let days = sqlx::query_scalar("select date from daily_summary order by date");
    Ok(days.fetch_all(&shop.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_a_lost_message_and_a_lost_stream_come_back() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    check(&shop.run(&["audit"]).await?, 0, "Both logs hold the same.")?;

    sqlx::query("delete from meta_insights_raw where stream_sequence = 1").execute(&shop.database.pool).await?;
    shop.nats.wire.log(META_INSIGHTS).await?.delete(2).await?;
    check(&shop.run(&["audit"]).await?, 3, "1 events missing in raw.")?;
    let document: Value = serde_json::from_str(&shop.run(&["audit", "--json"]).await?.stdout)?;
    let kinds: Vec<&str> =
        document["differences"].as_array().context("a list")?.iter().filter_map(|d| d["kind"].as_str()).collect();
    ensure!(
        kinds.len() == 2 && kinds.contains(&"missing_in_raw") && kinds.contains(&"missing_in_stream"),
        "{document}"
    );
    ensure!(document["left"] == 2 && document["healed"] == 0, "{document}");
    let far_away = ["audit", "--since", "2020-01-01", "--until", "2020-12-31"];
    check(&shop.run(&far_away).await?, 0, "Compared 0 days")?;
    check(&shop.run(&["audit", "--heal"]).await?, 0, "Both logs hold the same now.")?;
    check(&shop.run(&["audit"]).await?, 0, "Both logs hold the same.")?;

    shop.nats.delete_stream(META_INSIGHTS).await?;
    check(&shop.run(&["audit"]).await?, 1, "run `adledger streams apply`")?;
    shop.done(&["streams", "apply"]).await?;
    check(&shop.run(&["audit"]).await?, 3, "The stream was created anew on")?;
    check(&shop.run(&["audit", "--heal"]).await?, 0, "7 events missing in the stream, 7 healed.")?;
    ensure!(messages(&shop).await? == 7);
    // The log that came back is as good as the one that was lost.
    let (since, until) = (days_ago(7).to_string(), days_ago(1).to_string());
    sqlx::raw_sql("truncate fact_meta_daily, daily_meta_metrics, observations, daily_summary")
        .execute(&shop.database.pool)
        .await?;
    shop.done(&["replay", "--since", &since, "--until", &until]).await?;
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_day_is_folded_again_from_raw() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let before = days_ago(3).to_string();
    let trim = ["streams", "trim", "--before", &before];
    sqlx::query("delete from meta_insights_raw where date = $1").bind(days_ago(7)).execute(&shop.database.pool).await?;
    check(&shop.run(&trim).await?, 1, "nothing was trimmed: 1 events")?;
    check(&shop.run(&["audit", "--heal"]).await?, 0, "1 events missing in raw, 1 healed.")?;
    check(&shop.run(&[&trim[..], &["--dry-run"]].concat()).await?, 0, "Would take out 4 events of 4 days")?;
    ensure!(messages(&shop).await? == 7, "a dry run takes nothing");
    check(&shop.run(&trim).await?, 0, "Took out 4 events of 4 days")?;
    ensure!(messages(&shop).await? == 3);
    check(&shop.run(&trim).await?, 0, "Took out 0 events")?;
    check(&shop.run(&["audit", "--heal"]).await?, 0, "4 events were trimmed from the stream")?;
    ensure!(messages(&shop).await? == 3, "an audit does not bring them back");
    let whole = days(&shop).await?;
    let (since, until) = (days_ago(7).to_string(), days_ago(1).to_string());
    shop.done(&["replay", "--since", &since, "--until", &until]).await?;
    ensure!(days(&shop).await? == whole);
    shop.check_sums(days_ago(7), days_ago(1)).await
}
