//! The past from outside: what was known at a time, by the command and over HTTP, and a rebuild of damaged tables.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jetstream::META_INSIGHTS;
use serde_json::Value;
use testkit::wait;

use crate::service::{self, DEADLINE};
use crate::shop::{AD_ACCOUNT, Shop, days_ago};

fn range() -> (String, String) {
    (days_ago(7).to_string(), days_ago(1).to_string())
}

/// The rows of `as-of`, without the names that differ from those of the API.
async fn as_of(shop: &Shop, time: &str, more: &[&str]) -> Result<Vec<Value>> {
    let (since, until) = range();
    let mut arguments = vec!["as-of", time, "--since", &since, "--until", &until, "--json"];
    arguments.extend(more);
    let report: Value = serde_json::from_str(&shop.done(&arguments).await?.stdout)?;
    let mut rows = report["rows"].as_array().context("rows")?.clone();
    for row in &mut rows {
        let row = row.as_object_mut().context("a row")?;
        row.remove("account_id").context("it says whose it is")?;
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_known_is_said_by_the_command_and_over_http() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let pool = &shop.database.pool;
    let between: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?;
    let first = as_of(&shop, "now", &[]).await?;
    ensure!(first.len() == 7, "{first:?}");
    // Meta restates yesterday, and it is asked again.
    shop.graph.edit(|world| {
        for ad in &mut world.ad_account(AD_ACCOUNT).ads {
            if let Some(delivery) = ad.days.get_mut(&days_ago(1)) {
                delivery.clicks += 1;
            }
        }
    });
    ensure!(shop.sync("meta_fresh").await?.code == 0);
    let second = as_of(&shop, "now", &[]).await?;
    ensure!(first != second, "nothing was restated: the test would see no difference");
    let at = between.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    for more in [&[][..], &["--from", "raw"], &["--rule", "then"]] {
        assert_eq!(as_of(&shop, &at, more).await?, first, "{more:?}");
    }
    ensure!(as_of(&shop, "2020-01-01", &[]).await?.is_empty());
    let (since, until) = range();
    let said = shop.done(&["as-of", &at, "--since", &since, "--until", &until]).await?.stdout;
    ensure!(said.contains("7 days as known at ") && said.contains(&since), "{said}");
    let refused = shop.run(&["as-of", "2999-01-01", "--since", &since, "--until", &until]).await?;
    ensure!(refused.code == 2 && refused.stderr.contains("has not been yet"), "{refused:?}");

    let account = shop.account_id.to_string();
    let token = shop.done(&["token", "create", "--account", &account, "--name", "reader"]).await?.stdout;
    let mut web = service::Service::start(shop.command(&["serve", "--role", "web"]))?;
    let url = format!("{}/api/daily-summary?since={since}&until={until}", web.url().await?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let asked = |query: String| {
        let request = client.get(format!("{url}{query}")).bearer_auth(token.trim());
        async move {
            let answer: Value = request.send().await?.error_for_status()?.json().await?;
            let mut rows = answer["rows"].as_array().context("rows")?.clone();
            for row in &mut rows {
                let row = row.as_object_mut().context("a row")?;
                ensure!(row.remove("shopify_orders").is_some() && row.remove("shopify_revenue").is_some());
            }
            Ok(rows)
        }
    };
    assert_eq!(asked(format!("&as_of={}", at.replace('+', "%2B"))).await?, first);
    let now: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?;
    let now = now.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    assert_eq!(asked(format!("&as_of={now}")).await?, asked(String::new()).await?);
    web.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_mends_what_a_hand_has_damaged() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let damage = "update fact_meta_daily set spend = spend + 1; update daily_summary set meta_spend = 1;
                  update daily_meta_metrics set projection_version = 0";
    sqlx::raw_sql(damage).execute(&shop.database.pool).await?;
    let said = shop.done(&["status"]).await?.stdout;
    ensure!(said.contains("7 account-days are folded by projection version 0, and 1 is the newest"), "{said}");
    let looked = shop.run(&["rebuild", "--dry-run"]).await?;
    ensure!(
        looked.code == 0 && looked.stdout.contains("7 account-days differ, and 0 summaries without them; nothing"),
        "{looked:?}"
    );
    let looked: Value = serde_json::from_str(&shop.done(&["rebuild", "--dry-run", "--json"]).await?.stdout)?;
    ensure!(
        looked["folded"]["account_days"] == 7
            && looked["verified"]["differing"].as_array().is_some_and(Vec::is_empty)
            && looked["differing_days"].as_array().is_some_and(|days| days.len() == 7),
        "{looked}"
    );
    ensure!(shop.check_sums(days_ago(7), days_ago(1)).await.is_err(), "the damage shows nowhere");
    for from in ["stream", "raw"] {
        let ran = shop.done(&["rebuild", "--from", from]).await?;
        ensure!(ran.stdout.contains("Folded 7 account-days into the schema rebuild"), "{ran:?}");
        ensure!(ran.stdout.contains("Verified by the second implementation: 7 account-days"), "{ran:?}");
        ensure!(
            ran.stdout.contains(if from == "stream" { "7 account-days differed" } else { "0 account-days differed" }),
            "{ran:?}"
        );
    }
    shop.check_sums(days_ago(7), days_ago(1)).await?;
    let said = shop.done(&["status"]).await?.stdout;
    ensure!(said.contains("7 account-days are folded by projection version 1, the newest"), "{said}");
    // Nothing goes that somebody else hung on it, or put there.
    for (make, unmake, words) in [
        ("create view mine as select * from rebuild_undo.fact_meta_daily", "drop view mine", "view mine depends on"),
        ("create table rebuild.mine (n int)", "drop table rebuild.mine", "rebuild.mine is not a table of a rebuild's"),
    ] {
        sqlx::raw_sql(make).execute(&shop.database.pool).await?;
        let ran = shop.run(&["rebuild", "--drop"]).await?;
        ensure!(ran.code == 1 && ran.stderr.contains(words), "{ran:?}");
        sqlx::raw_sql(unmake).execute(&shop.database.pool).await?;
    }
    shop.done(&["rebuild", "--drop"]).await?;
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'rebuild%'")
        .fetch_one(&shop.database.pool)
        .await?;
    assert_eq!(left, 0);
    Ok(())
}

/// Publishes the same answers under new ids, one after the other, until it is dropped.
async fn traffic(shop: &Shop) -> Result<()> {
    let log = shop.nats.wire.log(META_INSIGHTS).await?;
    for sequence in (1..=7).cycle() {
        let message = log.at(sequence).await?.context("a message of the first fetch")?;
        let id = uuid::Uuid::now_v7().to_string();
        let own = message.header_pairs().into_iter().filter(|(name, _)| !name.to_lowercase().starts_with("nats-"));
        let headers: Vec<_> =
            own.map(|(name, value)| if name == "ce-id" { (name, id.clone()) } else { (name, value) }).collect();
        shop.nats.publish_foreign(&message.subject, &headers, &message.payload).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_live_traffic_a_rebuild_is_applied_and_the_past_of_now_is_told() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    sqlx::raw_sql("update fact_meta_daily set spend = spend + 1").execute(&shop.database.pool).await?;
    let mut raw = service::Service::start(shop.command(&["serve", "--role", "raw"]))?;
    let mut project = service::Service::start(shop.command(&["serve", "--role", "project"]))?;
    let observed = async || {
        let count = sqlx::query_scalar("select count(*) from observations").fetch_one(&shop.database.pool).await?;
        Ok::<i64, anyhow::Error>(count)
    };
    let work = async {
        wait::until("live traffic is folded", DEADLINE, async || Ok(observed().await? > 10)).await?;
        let before = observed().await?;
        for from in ["stream", "raw"] {
            let ran = shop.run(&["rebuild", "--from", from]).await?;
            ensure!(ran.code == 0 && ran.stdout.contains("none differ."), "{from}: {ran:?}");
            ensure!(from == "raw" || ran.stdout.contains("7 account-days differed"), "{ran:?}");
        }
        ensure!(observed().await? > before, "a rebuild holds live traffic up");
        shop.check_sums(days_ago(7), days_ago(1)).await?;
        for _ in 0..3 {
            ensure!(as_of(&shop, "now", &[]).await?.len() == 7);
        }
        wait::until("live traffic went on", DEADLINE, async || Ok(observed().await? > before + 10)).await
    };
    tokio::select! {
        ended = traffic(&shop) => ended?,
        done = work => done?,
    }
    let ran = shop.run(&["verify"]).await?;
    ensure!(ran.code == 0, "{ran:?}");
    raw.end().await?;
    project.end().await
}
