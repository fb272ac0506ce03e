//! Meta and the log at their worst: throttles, days that fail, a token that expires, a currency that changes, a full
//! log.

use anyhow::Result;
use testkit::graph::{Endpoint, Failure};

use crate::shop::{AD_ACCOUNT, Shop, TOKEN, days_ago};

async fn status_of(shop: &Shop) -> Result<String> {
    let status = sqlx::query_scalar("select status from integrations where id = $1").bind(shop.integration_id);
    Ok(status.fetch_one(&shop.database.pool).await?)
}

async fn newest_run(shop: &Shop) -> Result<runs::Run> {
    Ok(runs::runs(&shop.database.pool, 1).await?.remove(0))
}

async fn events(shop: &Shop) -> Result<u64> {
    Ok(shop.nats.wire.log(jetstream::META_INSIGHTS).await?.level().await?.messages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_run_waits_and_says_so() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.fail(Failure::account_throttle(0).times(2).on(Endpoint::AdRows));
    shop.graph.fail(Failure::abuse_throttle().times(1).on(Endpoint::AccountRow));
    shop.graph.fail(Failure::html(503).times(1).on(Endpoint::AdAccount));
    let ran = shop.sync("meta_7d_fill").await?;
    assert_eq!(ran.code, 0, "{ran:?}");
    shop.check_sums(days_ago(7), days_ago(1)).await?;
    let run = newest_run(&shop).await?;
    assert!(run.rate_limited && run.throttle_count == 3 && run.throttle_wait_ms > 0, "{run:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursor_stops_before_a_failed_day_and_fresh_catches_up() -> Result<()> {
    let shop = Shop::open().await?;
    let refused = Failure::refusal(400, 100, None, "(#100) no").on(Endpoint::AdRows).on_date(days_ago(4));
    shop.graph.fail(refused);
    let ran = shop.sync("meta_7d_fill").await?;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("the run partial with 6 of 7 days: Meta refuses the request"), "{ran:?}");
    assert_eq!(shop.cursor().await?, Some(days_ago(5)));
    shop.check_sums(days_ago(3), days_ago(1)).await?;

    // It has been down for a while: the cursor is far back, and a day is owed.
    shop.graph.heal();
    sqlx::query("update sync_cursors set value = $1").bind(days_ago(12)).execute(&shop.database.pool).await?;
    let ran = shop.sync("meta_fresh").await?;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(shop.cursor().await?, Some(days_ago(1)));
    shop.check_sums(days_ago(11), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_meta_is_away_a_run_waits_and_asks_little() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.forget_requests();
    // The ad account and the first day are answered; then Meta goes away.
    shop.graph.fail(Failure::html(503).on_date(days_ago(6)));
    shop.graph.fail(Failure::slow(std::time::Duration::ZERO).on(Endpoint::AdAccount).times(1));
    shop.graph.fail(Failure::html(503).on(Endpoint::AdAccount));
    let integration = shop.integration_id.to_string();
    let job = ["sync", "--integration", &integration, "--job", "meta_7d_fill", "--wait", "--deadline-seconds", "15"];
    let ran = shop.run(&job).await?;
    assert!(ran.code == 1 && ran.stderr.contains("waiting") && ran.stderr.contains("meta_unreachable"), "{ran:?}");
    let run = newest_run(&shop).await?;
    assert_eq!((run.status.as_str(), run.days_done), ("waiting", 1), "{run:?}");
    // Three for what is answered, four tries for the window, four to see that it is not the window alone.
    assert_eq!(shop.graph.requests().len(), 11);

    shop.graph.heal();
    sqlx::query("update sync_runs set not_before = now()").execute(&shop.database.pool).await?;
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    assert_eq!(newest_run(&shop).await?.id, run.id);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_meta_cannot_answer_is_asked_for_twice_and_then_day_by_day() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.fail(Failure::html(500).on(Endpoint::AdRows).on_date(days_ago(6)));
    let ran = shop.sync("meta_7d_fill").await?;
    assert!(ran.code == 1 && ran.stderr.contains("the run partial with 6 of 7 days: no usable answer"), "{ran:?}");
    let requests = shop.graph.requests();
    let of_day = requests.iter().filter(|q| q.endpoint() == Endpoint::AdRows && q.since() == Some(days_ago(6)));
    assert_eq!(of_day.count(), 3 * 4, "the window twice, then the day alone");
    shop.check_sums(days_ago(5), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_stops_the_jobs_until_somebody_connects_again() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.fail(Failure::token_expired());
    for _ in 0..2 {
        let ran = shop.sync("meta_7d_fill").await?;
        assert!(ran.code == 1 && ran.stderr.contains("connect again with a new token"), "{ran:?}");
        assert_eq!(status_of(&shop).await?, "needs_reconnect");
    }
    assert_eq!(shop.run(&["doctor"]).await?.code, 3);
    shop.graph.heal();
    let again = shop.connect(TOKEN).await?;
    assert_eq!(again.stdout.trim().parse::<uuid::Uuid>()?, shop.integration_id);
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    assert_eq!(shop.run(&["doctor"]).await?.code, 0);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_permission_stops_the_jobs_too_and_says_who_must_do_what() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.fail(Failure::refusal(403, 200, None, "(#200) no").on(Endpoint::AdRows));
    let ran = shop.sync("meta_7d_fill").await?;
    assert!(ran.code == 1 && ran.stderr.contains("which an admin of it gives"), "{ran:?}");
    assert_eq!(status_of(&shop).await?, "needs_reconnect");
    shop.graph.forget_requests();
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 1);
    assert_eq!(shop.graph.requests(), [], "nothing is asked until somebody connects again");

    shop.graph.heal();
    shop.connect(TOKEN).await?;
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_currency_blocks_the_integration_and_publishes_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| world.ad_account(AD_ACCOUNT).currency = "USD".into());
    let ran = shop.sync("meta_7d_fill").await?;
    assert!(ran.code == 1 && ran.stderr.contains("had currency EUR when it was connected and has USD now"), "{ran:?}");
    assert_eq!((status_of(&shop).await?.as_str(), events(&shop).await?), ("blocked", 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_without_rows_is_an_event_and_a_row_of_zeros() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| {
        for ad in &mut world.ad_account(AD_ACCOUNT).ads {
            ad.days.remove(&days_ago(3));
        }
    });
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    assert_eq!(events(&shop).await?, 7);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_makes_the_run_wait_and_loses_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let mut apply = shop.command(&["streams", "apply"]);
    apply.env("ADLEDGER_LOG_MAX_BYTES", "9000");
    assert_eq!(crate::shop::run(apply, None).await?.code, 0);
    let integration = shop.integration_id.to_string();
    let job = ["sync", "--integration", &integration, "--job", "meta_7d_fill", "--wait", "--deadline-seconds", "5"];
    let ran = shop.run(&job).await?;
    assert!(ran.code == 1 && ran.stderr.contains("waiting") && ran.stderr.contains("log_full"), "{ran:?}");
    let run = newest_run(&shop).await?;
    assert!(run.status == "waiting" && run.days_done > 0 && run.days_done < 7, "{run:?}");
    assert_eq!(shop.run(&["doctor"]).await?.code, 3);

    let lifted = shop.done(&["streams", "apply"]).await?.stdout;
    assert!(lifted.contains("stream META_INSIGHTS max_bytes: 9000 → -1"), "{lifted}");
    // The pause that the run is in is over; waiting for it would only make the test slow.
    sqlx::query("update sync_runs set not_before = now()").execute(&shop.database.pool).await?;
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    assert_eq!(newest_run(&shop).await?.id, run.id);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stub_answers_for_nothing_of_metas() -> Result<()> {
    let shop = Shop::open().await?;
    let integration = shop.integration_id.to_string();
    let mut sync = shop.command(&["sync", "--integration", &integration, "--job", "meta_7d_fill"]);
    sync.env("META_STUB_MODE", "1");
    let ran = crate::shop::run(sync, None).await?;
    assert!(ran.code == 2 && ran.stderr.contains("is Meta's, and META_STUB_MODE=1"), "{ran:?}");
    // A service in stub mode leaves a queued run of Meta's to others.
    runs::enqueue(&shop.database.pool, shop.integration_id, runs::JobType::Fresh, "test", None).await?;
    let claimed = runs::claim(&shop.database.pool, std::time::Duration::from_secs(60), None, true).await?;
    assert!(claimed.is_none(), "{claimed:?}");
    let claimed = runs::claim(&shop.database.pool, std::time::Duration::from_secs(60), None, false).await?;
    assert!(claimed.is_some());
    // And an ad account of Meta's is not connected to the stub.
    let account = shop.account_id.to_string();
    let mut connect = shop.command(&["connect", "--account", &account, "--ad-account", AD_ACCOUNT, "--token-stdin"]);
    connect.env("META_STUB_MODE", "1");
    let ran = crate::shop::run(connect, Some(TOKEN)).await?;
    assert!(ran.code == 1, "{ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_beside_another_range_is_refused() -> Result<()> {
    let shop = Shop::open().await?;
    let integration = shop.integration_id.to_string();
    let range = |since: u64, until: u64| (days_ago(since).to_string(), days_ago(until).to_string());
    let (since, until) = range(20, 15);
    shop.done(&["backfill", "--integration", &integration, "--since", &since, "--until", &until]).await?;
    let (other, _) = range(30, 0);
    let ran =
        shop.run(&["backfill", "--integration", &integration, "--since", &other, "--until", &until, "--wait"]).await?;
    assert!(ran.code == 1 && ran.stderr.contains(&format!("from {since} to {until} is under way")), "{ran:?}");
    let ran =
        shop.done(&["backfill", "--integration", &integration, "--since", &since, "--until", &until, "--wait"]).await?;
    assert!(ran.stdout.contains("6 days"), "{ran:?}");
    shop.check_sums(days_ago(20), days_ago(15)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_cannot_be_folded_is_owed_until_a_better_answer_comes() -> Result<()> {
    let shop = Shop::open().await?;
    let date = days_ago(3);
    shop.spoil(date);
    let ran = shop.sync("meta_7d_fill").await?;
    let said = format!("were parked, {date} first: row ");
    assert!(ran.code == 1 && ran.stderr.contains(&said), "{ran:?}");
    assert!(ran.stderr.contains("of the event: ad 1: spend \"12,34\" is not a number"), "{ran:?}");
    let run = newest_run(&shop).await?;
    assert_eq!((run.status.as_str(), run.error_code.as_deref()), ("partial", Some("parked")));
    assert_eq!(runs::days_owed(&shop.database.pool, shop.account_id, shop.integration_id).await?, [date]);
    // A replay meets the event again, and says so.
    let (since, until) = (days_ago(7).to_string(), days_ago(1).to_string());
    let replayed = shop.run(&["replay", "--since", &since, "--until", &until]).await?;
    assert!(replayed.code == 3 && replayed.stderr.contains("cannot be folded"), "{replayed:?}");
    shop.mend();
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    shop.check_sums(days_ago(7), days_ago(1)).await
}
