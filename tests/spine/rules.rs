//! What counts as a purchase is changed from the command line: the past is folded again, and Meta is not asked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use testkit::wait;

use crate::shop::{self, AD_ACCOUNT, Shop, days_ago};

const DEADLINE: Duration = Duration::from_secs(60);

/// The purchases of yesterday: the ad account's and the tenant's.
async fn purchases(pool: &PgPool) -> Result<(Option<Decimal>, Option<Decimal>)> {
    let of_day =
        "select m.purchases, s.meta_purchases from daily_meta_metrics m join daily_summary s using (account_id, date)
                  where date = $1";
    Ok(sqlx::query_as(of_day).bind(days_ago(1)).fetch_one(pool).await?)
}

/// What the fake has for yesterday within a click of a day, among the ads that are asked for.
fn within_a_day(shop: &Shop) -> Decimal {
    shop.graph.edit(|world| {
        let ads = world.ad_account(AD_ACCOUNT).ads.iter();
        let asked = ads.filter(|ad| shop::DEFAULT_STATUSES.contains(&ad.effective_status.as_str()));
        asked.filter_map(|ad| ad.days.get(&days_ago(1))).map(|day| Decimal::from(day.purchases.click_1d.count)).sum()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_rule_folds_the_past_again_and_asks_meta_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let (pool, id) = (&shop.database.pool, shop.integration_id.to_string());
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let unified = purchases(pool).await?;
    ensure!(unified.0 > Some(Decimal::ZERO));
    shop.graph.forget_requests();

    let set =
        |window| ["purchase-rule", "set", "--integration", &id, "--action-type", "omni_purchase", "--window", window];
    let ran = shop.done(&set("1d_click")).await?;
    ensure!(ran.stdout.contains("version 2 of the rule") && ran.stdout.contains("of 7 account-days again"), "{ran:?}");
    ensure!(ran.stderr.is_empty() || !ran.stderr.contains("unknown"), "{ran:?}");
    let within = within_a_day(&shop);
    assert_eq!(purchases(pool).await?, (Some(within), Some(within)));
    ensure!(Some(within) < unified.0, "both windows say the same: the test would see no difference");
    let again = shop.done(&set("1d_click")).await?;
    ensure!(again.stdout.contains("has this rule already") && again.stdout.contains("nothing to do"), "{again:?}");

    // A window that nobody asked for is unknown, and not 0.
    let ran = shop.done(&set("28d_click")).await?;
    ensure!(ran.stderr.contains("28d_click is not among META_ATTRIBUTION_WINDOWS"), "{ran:?}");
    ensure!(ran.stderr.contains("Purchases are unknown for 7 days"), "{ran:?}");
    assert_eq!(purchases(pool).await?, (None, None));
    let named: Vec<(String, i32)> =
        sqlx::query_as("select distinct attribution_window, rule_version from fact_meta_daily").fetch_all(pool).await?;
    assert_eq!(named, [("28d_click".to_owned(), 3)]);

    // Back to how it began, from the second log alone.
    let first = [
        "omni_purchase",
        "purchase",
        "offsite_conversion.fb_pixel_purchase",
        "app_custom_event.fb_mobile_purchase+onsite_conversion.purchase",
    ];
    let mut arguments = vec!["purchase-rule", "set", "--integration", &id, "--from", "raw"];
    first.iter().for_each(|action_type| arguments.extend(["--action-type", action_type]));
    let mut back = shop.command(&arguments);
    back.env("NATS_URL", "nats://127.0.0.1:1");
    let ran = shop::run(back, None).await?;
    ensure!(ran.code == 0, "{ran:?}");
    assert_eq!(purchases(pool).await?, unified);
    let listed: Value = serde_json::from_str(&shop.done(&["purchase-rule", "list", "--json"]).await?.stdout)?;
    let versions: Vec<_> = listed.as_array().context("a list")?.iter().map(|r| (&r["version"], &r["newest"])).collect();
    assert_eq!(
        versions,
        [(&4.into(), &true.into()), (&3.into(), &false.into()), (&2.into(), &false.into()), (&1.into(), &false.into())]
    );

    ensure!(shop.graph.requests().is_empty(), "Meta was asked: {:?}", shop.graph.requests());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_killed_is_told_of_and_goes_on() -> Result<()> {
    let shop = Shop::open().await?;
    let (pool, id) = (&shop.database.pool, shop.integration_id.to_string());
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);

    // One of its days is held, so that it cannot be through when it is killed.
    let mut held = pool.begin().await?;
    sqlx::query("select from daily_meta_metrics where date = $1 for update")
        .bind(days_ago(3))
        .execute(&mut *held)
        .await?;
    let set = ["purchase-rule", "set", "--integration", &id, "--action-type", "purchase", "--window", "7d_click"];
    let mut child = shop.command(&set).stdout(std::process::Stdio::null()).spawn()?;
    wait::until("it waits for the day", DEADLINE, async || {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        Ok(sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await? > 0)
    })
    .await?;
    child.kill().await?;
    held.rollback().await?;

    let sentence = format!(
        "7 days of {AD_ACCOUNT} are not folded by version 2 of its purchase rule yet: \
                            `adledger purchase-rule refold --integration {id}` goes on."
    );
    let status = shop.done(&["status"]).await?;
    ensure!(status.stdout.contains(&sentence), "{status:?}");
    let doctor = shop.run(&["doctor"]).await?;
    ensure!(doctor.code == 3 && doctor.stdout.contains(&sentence), "{doctor:?}");
    let ran = shop.done(&["purchase-rule", "refold", "--integration", &id]).await?;
    ensure!(ran.stdout.contains("of 7 account-days again"), "{ran:?}");
    ensure!(!shop.done(&["status"]).await?.stdout.contains("purchase rule"));
    let versions: Vec<i32> =
        sqlx::query_scalar("select distinct rule_version from fact_meta_daily").fetch_all(pool).await?;
    assert_eq!(versions, [2]);

    // A replay of any range folds by the rule that holds.
    sqlx::raw_sql("truncate fact_meta_daily, observations, daily_meta_metrics, daily_summary").execute(pool).await?;
    shop.done(&["replay", "--since", &days_ago(7).to_string(), "--until", &days_ago(1).to_string()]).await?;
    let versions: Vec<i32> =
        sqlx::query_scalar("select distinct rule_version from fact_meta_daily").fetch_all(pool).await?;
    assert_eq!(versions, [2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_makes_no_sense_is_refused_in_a_sentence() -> Result<()> {
    let shop = Shop::open().await?;
    let id = shop.integration_id.to_string();
    let nobody = uuid::Uuid::nil().to_string();
    for (integration, action_types, window, code, words) in [
        (&nobody, &["purchase"][..], "unified", 1, "does not exist: `adledger status` lists them"),
        (&id, &[""], "unified", 2, "names an empty action type"),
        (&id, &["purchase", "a+purchase"], "unified", 2, "purchase stands twice"),
        (&id, &["purchase"], "3d_click", 2, "is no attribution window of Meta's"),
        (&id, &[], "unified", 2, "--action-type"),
    ] {
        let mut arguments = vec!["purchase-rule", "set", "--integration", integration, "--window", window];
        action_types.iter().for_each(|action_type| arguments.extend(["--action-type", action_type]));
        let ran = shop.run(&arguments).await?;
        ensure!(ran.code == code && ran.stderr.contains(words), "{action_types:?} {window}: {ran:?}");
    }
    let rules: i64 = sqlx::query_scalar("select count(*) from purchase_rules").fetch_one(&shop.database.pool).await?;
    assert_eq!(rules, 0);
    Ok(())
}
