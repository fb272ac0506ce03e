//! A range folded again from the command line: told beforehand, broken off in every way, and gone on with.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::wait;

use crate::shop::{Ran, Shop, days_ago};

const DEADLINE: Duration = Duration::from_secs(60);

/// A shop with seven folded days, and its range on the command line.
async fn opened() -> Result<(Shop, [String; 4])> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    shop.graph.forget_requests();
    let range = ["--since".into(), days_ago(7).to_string(), "--until".into(), days_ago(1).to_string()];
    Ok((shop, range))
}

async fn replay(shop: &Shop, range: &[String; 4], more: &[&str]) -> Result<Ran> {
    let range = range.iter().map(String::as_str);
    shop.run(&[&["replay"], range.collect::<Vec<_>>().as_slice(), more].concat()).await
}

async fn damage(shop: &Shop, statement: &'static str) -> Result<()> {
    ensure!(sqlx::query(statement).execute(&shop.database.pool).await?.rows_affected() > 0);
    Ok(())
}

/// The newest replay, as programs read it.
async fn newest(shop: &Shop) -> Result<Value> {
    let listed: Value = serde_json::from_str(&shop.done(&["replays", "--json"]).await?.stdout)?;
    listed.get(0).cloned().context("a replay is listed")
}

/// Starts a slow replay, and ends it by `end` when some days are done. What it left behind.
async fn broken_off(shop: &Shop, range: &[String; 4], end: Option<Signal>) -> Result<(Ran, Value)> {
    let range = range.iter().map(String::as_str).collect::<Vec<_>>();
    let slowly = ["--rows-a-transaction", "1", "--rows-a-second", "20"];
    let mut command = shop.command(&[&["replay"], range.as_slice(), &slowly].concat());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    wait::until("some days are done", DEADLINE, async || {
        let running = sqlx::query_scalar("select max(days_done) from replays where state = 'running'");
        let done: Option<i64> = running.fetch_one(&shop.database.pool).await?;
        Ok(done >= Some(2))
    })
    .await?;
    let before = newest(shop).await?;
    ensure!(before["state"] == "running" && before["days_total"] == 7, "{before}");
    match end {
        Some(signal) => kill(Pid::from_raw(child.id().context("it runs")?.try_into()?), signal)?,
        None => drop(shop.done(&["replays", "pause", &before["id"].to_string()]).await?),
    }
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await??;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let ran =
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) };
    let state = if end == Some(Signal::SIGKILL) { "broken off" } else { "paused" };
    wait::until("it is seen to be over", DEADLINE, async || Ok(newest(shop).await?["state"] == state)).await?;
    Ok((ran, newest(shop).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_killed_interrupted_or_paused_goes_on_where_it_was() -> Result<()> {
    let (shop, range) = opened().await?;
    for end in [Some(Signal::SIGKILL), Some(Signal::SIGINT), Some(Signal::SIGTERM), None] {
        damage(&shop, "update fact_meta_daily set spend = spend + 1").await?;
        let (ran, left) = broken_off(&shop, &range, end).await?;
        let done = left["days_done"].as_u64().context("a number")?;
        ensure!((2..7).contains(&done), "{end:?}: {left}");
        if end != Some(Signal::SIGKILL) {
            let sentence = format!("paused after {done} of 7 days; the same command goes on from there");
            ensure!(ran.code == 1 && ran.stderr.contains(&sentence), "{end:?}: {ran:?}");
        }
        let ran = replay(&shop, &range, &[]).await?;
        let sentence = format!("after {done} of 7 days; --restart begins anew.");
        ensure!(ran.code == 0 && ran.stderr.contains("Going on with the replay begun at"), "{end:?}: {ran:?}");
        ensure!(ran.stderr.contains(&sentence), "{end:?}: {ran:?}");
        let sentence = "With what was done before it was broken off: 7 days, 7 events, ";
        ensure!(
            ran.stdout.contains(sentence)
                && ran.stdout.contains("; 7 days changed, 0 left as they were, 0 events not folded."),
            "{ran:?}"
        );
        let over = newest(&shop).await?;
        ensure!(over["id"] == left["id"] && over["state"] == "finished" && over["days_done"] == 7, "{over}");
        ensure!(over["days_changed"] == 7, "each day was mended once: {over}");
        shop.check_sums(days_ago(7), days_ago(1)).await?;
        let again = replay(&shop, &range, &[]).await?;
        ensure!(
            again.code == 0 && !again.stderr.contains("Going on") && again.stdout.contains("none changed"),
            "{again:?}"
        );
    }
    let listed = shop.done(&["replays", "--limit", "3"]).await?;
    ensure!(listed.stdout.contains("finished") && listed.stdout.contains("7/7"), "{listed:?}");
    let refused = shop.run(&["replays", "pause", "1"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("no replay 1 is running"), "{refused:?}");
    ensure!(shop.graph.requests().is_empty(), "Meta was asked: {:?}", shop.graph.requests());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_before_it_was_broken_off_is_a_finding_of_the_whole() -> Result<()> {
    let (shop, range) = opened().await?;
    damage(
        &shop,
        "update observations set event_id = gen_random_uuid() where date = (select min(date) from observations)",
    )
    .await?;
    let (_, left) = broken_off(&shop, &range, Some(Signal::SIGKILL)).await?;
    ensure!(left["days_left"] == 1, "{left}");
    let ran = replay(&shop, &range, &["--json"]).await?;
    let document: Value = serde_json::from_str(&ran.stdout)?;
    ensure!(ran.code == 3 && ran.stderr.contains("Going on with"), "{ran:?}");
    ensure!(document["left"] == Value::Array(Vec::new()) && document["in_all"]["days_left"] == 1, "{document}");
    ensure!(document["in_all"]["days_done"] == 7, "{document}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_change_is_told_beforehand() -> Result<()> {
    let (shop, range) = opened().await?;
    let told = replay(&shop, &range, &["--dry-run"]).await?;
    ensure!(told.code == 0 && told.stdout.starts_with("Would fold 7 events ("), "{told:?}");
    ensure!(
        told.stdout.contains(" MB) of 7 account-days again: ") && told.stdout.contains("none would change."),
        "{told:?}"
    );

    for statement in [
        "update fact_meta_daily set ad_name = 'x'
         where (date, ad_id) in (select date, min(ad_id) from fact_meta_daily group by 1 order by 1 limit 2)",
        "update daily_summary set meta_clicks = 0 where date = (select min(date) from daily_summary)",
    ] {
        damage(&shop, statement).await?;
    }
    let sentence = |verb: &str| format!("again: 2 rows of fact_meta_daily, 1 of daily_summary {verb}, in 2 days.");
    let told = replay(&shop, &range, &["--dry-run"]).await?;
    ensure!(told.stdout.contains(&sentence("would change")), "{told:?}");
    for day in [days_ago(7), days_ago(6)] {
        ensure!(told.stdout.contains(&format!("  {day} of act_")), "{told:?}");
    }
    let trusting = replay(&shop, &range, &["--trust-hash"]).await?;
    ensure!(trusting.stdout.contains("7 days were skipped, because their hashes are known."), "{trusting:?}");
    let document: Value = serde_json::from_str(&replay(&shop, &range, &["--dry-run", "--json"]).await?.stdout)?;
    ensure!(
        document["dry_run"] == true
            && document["days"] == 7
            && document["events"] == 7
            && document["days_changed"] == 2
            && document["rows_changed"]["fact_meta_daily"] == 2
            && document["first_days_changed"].as_array().is_some_and(|days| days.len() == 2),
        "{document}"
    );
    // A dry run leaves no record, and one that is to be gone on with none to it.
    let listed: Value = serde_json::from_str(&shop.done(&["replays", "--json"]).await?.stdout)?;
    ensure!(listed.as_array().is_some_and(|all| all.len() == 1), "{listed}");

    let mut alone = shop.command(&["replay", "--table", "daily_summary", &range[0], &range[1], &range[2], &range[3]]);
    alone.env("NATS_URL", "nats://127.0.0.1:1");
    let ran = crate::shop::run(alone, None).await?;
    ensure!(ran.code == 0 && ran.stdout.contains("1 row of daily_summary changed, in 1 day"), "{ran:?}");
    let ran = replay(&shop, &range, &["--from", "raw"]).await?;
    ensure!(ran.stdout.contains("again: 2 rows of fact_meta_daily changed, in 2 days."), "{ran:?}");
    shop.check_sums(days_ago(7), days_ago(1)).await?;

    for (more, words) in [
        (&["--table", "daily_summary", "--trust-hash"][..], "daily_summary is summed without it"),
        (&["--table", "facts"], "fact_meta_daily"),
        (&["--rows-a-second", "0"], "--rows-a-second"),
    ] {
        let ran = replay(&shop, &range, more).await?;
        ensure!(ran.code == 2 && ran.stderr.contains(words), "{more:?}: {ran:?}");
    }
    Ok(())
}
