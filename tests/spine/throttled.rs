//! Meta's throttles stop whom they are about, and nobody else, on every machine and after every restart.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::graph::{AdAccount, Endpoint, Failure, Faults, Hint, Throttle};
use testkit::wait;
use uuid::Uuid;

use crate::shop::{AD_ACCOUNT, Ran, Shop, TOKEN, days_ago, run};

/// Two further ad accounts: one of the same token, and one of another app's.
const SAME_APP: &str = "act_7000000001";
const OTHER_APP: &str = "act_7000000002";
const OTHER_TOKEN: &str = "EAABanother";

struct Shops {
    shop: Shop,
    same_app: Uuid,
    other_app: Uuid,
}

async fn open() -> Result<Shops> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| {
        for (token, id) in [(TOKEN, SAME_APP), (OTHER_TOKEN, OTHER_APP)] {
            let days = days_ago(40)..=days_ago(1);
            world.insert(token, id, AdAccount::demo(id, "Asia/Tokyo", "EUR", days, 10));
        }
    });
    let account = shop.account_id.to_string();
    let connect = async |token: &str, ad_account: &str| -> Result<Uuid> {
        let arguments = ["connect", "--account", &account, "--ad-account", ad_account, "--token-stdin"];
        let ran = run(shop.command(&arguments), Some(token)).await?;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(ran.stdout.trim().parse()?)
    };
    let (same_app, other_app) = (connect(TOKEN, SAME_APP).await?, connect(OTHER_TOKEN, OTHER_APP).await?);
    shop.graph.forget_requests();
    shop.graph.forget_counts();
    Ok(Shops { shop, same_app, other_app })
}

impl Shops {
    async fn sync(&self, integration: Uuid, seconds: &str) -> Result<Ran> {
        let integration = integration.to_string();
        let job =
            ["sync", "--integration", &integration, "--job", "meta_7d_fill", "--wait", "--deadline-seconds", seconds];
        self.shop.run(&job).await
    }

    fn calls(&self, external_id: &str) -> usize {
        self.shop.graph.requests().iter().filter(|question| question.external_id() == external_id).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_of_the_app_stops_its_ad_accounts_in_every_process() -> Result<()> {
    let shops = open().await?;
    let (shop, graph) = (&shops.shop, &shops.shop.graph);
    graph.fail(Failure::app_throttle(7).on(Endpoint::AdRows));
    let ran = shops.sync(shop.integration_id, "3").await?;
    ensure!(ran.code == 1 && ran.stderr.contains("throttled"), "{ran:?}");
    let learned = graph.requests().len();

    // Another process, another ad account, the same app: nothing is asked, and the run says until when it waits.
    graph.heal();
    for integration in [shops.same_app, shop.integration_id] {
        let ran = shops.sync(integration, "2").await?;
        ensure!(ran.code == 1 && ran.stderr.contains("throttled"), "{ran:?}");
    }
    ensure!(graph.requests().len() == learned, "{} calls during a block", graph.requests().len() - learned);
    let waiting = runs::waiting(&shop.database.pool, 10).await?;
    ensure!(waiting.len() == 2, "{waiting:?}");
    for run in &waiting {
        ensure!(run.wait_reason.as_deref() == Some("throttled") && run.rate_limited, "{run:?}");
        ensure!(run.throttle_wait_ms > 5 * 60 * 1000, "{run:?}");
        let until = run.throttled_until.context("it says until when")?;
        let left = until - insights::Clock::System.now();
        ensure!((360..=420).contains(&left.num_seconds()), "{left} {run:?}");
        ensure!(run.error_message.as_deref().is_some_and(|m| m.contains("Meta throttles the Meta app")), "{run:?}");
    }
    ensure!(waiting.iter().map(|run| run.throttle_count).sum::<i32>() == 1, "one call learned of it: {waiting:?}");

    // An app that is not throttled goes on.
    let ran = shops.sync(shops.other_app, "60").await?;
    ensure!(ran.code == 0, "{ran:?}");

    // The block is over, and the runs go on where they were.
    sqlx::query("update throttles set blocked_until = now()").execute(&shop.database.pool).await?;
    sqlx::query("update sync_runs set not_before = now()").execute(&shop.database.pool).await?;
    ensure!(shops.sync(shop.integration_id, "60").await?.code == 0);
    ensure!(shops.sync(shops.same_app, "60").await?.code == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_of_an_ad_account_stops_that_one_alone() -> Result<()> {
    let shops = open().await?;
    let (shop, graph) = (&shops.shop, &shops.shop.graph);
    graph.fail(Failure::account_throttle(7).about(AD_ACCOUNT));
    ensure!(shops.sync(shop.integration_id, "2").await?.code == 1);
    let learned = shops.calls(AD_ACCOUNT);
    ensure!(shops.sync(shops.same_app, "60").await?.code == 0, "the other ad account of the app goes on");
    ensure!(shops.sync(shop.integration_id, "2").await?.code == 1);
    ensure!(shops.calls(AD_ACCOUNT) == learned);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_between_two_pages_goes_on_at_the_page_where_it_was() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| {
        let days = days_ago(40)..=days_ago(1);
        let large = AdAccount::demo(AD_ACCOUNT, "Asia/Tokyo", "EUR", days, 300);
        world.insert(TOKEN, AD_ACCOUNT, large);
        world.limits.max_page_rows = Some(50);
    });
    // Longer than the longest wait, which is a second here.
    let throttle = Failure::refusal(429, 80_004, None, "There have been too many calls to this ad-account.");
    let throttle = throttle.header("retry-after", "3").on(Endpoint::AdRows).on_later_pages();
    shop.graph.fail(throttle.times(4));
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let rows = shop.graph.requests().into_iter().filter(|question| question.endpoint() == Endpoint::AdRows);
    let pages: Vec<_> = rows
        .map(|q| ["time_range", "limit", "after"].map(|name| q.parameter(name).unwrap_or_default().to_owned()))
        .collect();
    let distinct: std::collections::HashSet<_> = pages.iter().collect();
    ensure!(pages.len() == distinct.len() + 4, "only what was throttled is asked for again: {pages:#?}");
    shop.check_sums(days_ago(7), days_ago(1)).await
}

/// Two services work on three ad accounts while Meta throttles every fourth question, and blocks are real.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_during_a_block() -> Result<()> {
    let shops = open().await?;
    let (shop, graph) = (&shops.shop, &shops.shop.graph);
    graph.edit(|world| {
        world.faults = Faults {
            seed: 7,
            throttles: 0.25,
            block_seconds: 1,
            kinds: vec![Throttle::App, Throttle::User, Throttle::BusinessUseCase, Throttle::Status429],
            hints: vec![Hint::AdAccountUsage, Hint::RetryAfter],
            ..Faults::default()
        };
    });
    for integration in [shop.integration_id, shops.same_app, shops.other_app] {
        let (since, until) = (days_ago(40).to_string(), days_ago(2).to_string());
        let integration = integration.to_string();
        shop.done(&["backfill", "--integration", &integration, "--since", &since, "--until", &until]).await?;
    }
    let mut services = Vec::new();
    for _ in 0..2 {
        let mut service = shop.command(&["serve", "--role", "all"]);
        service.env("META_MAX_BACKOFF_SECONDS", "5").stdout(Stdio::null()).stderr(Stdio::null());
        services.push(service.spawn()?);
    }
    wait::until("every run is through", Duration::from_secs(120), async || {
        let open: i64 = sqlx::query_scalar("select count(*) from sync_runs where finished_at is null")
            .fetch_one(&shop.database.pool)
            .await?;
        Ok(open == 0)
    })
    .await?;
    drop(services);
    let counts = graph.counts();
    ensure!(counts.throttles > 3 && counts.during_block == 0, "{counts}");
    let failed: i64 = sqlx::query_scalar("select count(*) from sync_runs where status <> 'succeeded'")
        .fetch_one(&shop.database.pool)
        .await?;
    ensure!(failed == 0, "{failed} runs");
    Ok(())
}
