//! A connection ends: its token and its runs, and nothing of its numbers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::graph::{Endpoint, Failure};
use testkit::wait;

use crate::house::{House, SECOND, SHOP};
use crate::shop::days_ago;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_and_writes_nothing_more_and_the_numbers_stay() -> Result<()> {
    let house = House::open().await?;
    let integration = house.connect(&[SHOP]).await?.to_string();
    let sync = ["sync", "--integration", &integration, "--job", "meta_7d_fill"];
    house.done(&[&sync[..], &["--wait", "--deadline-seconds", "60"]].concat()).await?;
    // One day more, and then an answer that comes only after the disconnection.
    let slow = Duration::from_secs(3);
    house.graph.fail(Failure::slow(slow).on(Endpoint::AdRows).on_date(days_ago(12)));
    let (since, until) = (days_ago(12).to_string(), days_ago(10).to_string());
    let mut fetch = house.role("fetch")?;
    house.done(&["backfill", "--integration", &integration, "--since", &since, "--until", &until]).await?;
    let days = "select count(*) from sync_days where state = 'published'";
    wait::until("Meta is asked for the day", Duration::from_secs(60), async || {
        let asked = house.graph.requests();
        Ok(asked.iter().any(|request| request.endpoint() == Endpoint::AdRows && request.since() == Some(days_ago(12))))
    })
    .await?;
    let published = house.count(days).await?;

    let browser = house.browser()?;
    let path = format!("/integrations/{integration}/disconnect");
    browser.get(&path).await?.shows(200, &["Its token is deleted here", "All numbers that are here stay"])?;
    let (csrf, account) = (browser.csrf().await?, house.account_id.to_string());
    let sure = [("csrf", csrf.as_str()), ("account_id", account.as_str())];
    assert_eq!(browser.post(&path, &sure[1..]).await?.status, 403, "not without the form");
    assert_eq!(browser.post(&path, &sure).await?.location()?, format!("/integrations/{integration}"));
    let ended = "select count(*) from sync_runs where status = 'failed' and error_code = 'disconnected'";
    assert_eq!((house.count(ended).await?, house.count("select count(*) from integration_secrets").await?), (1, 0));
    let run: String = sqlx::query_scalar("select r::text from sync_runs r where status = 'failed'")
        .fetch_one(&house.database.pool)
        .await?;

    // The answer came; the worker has noticed whose run it is not any more, and takes the next one.
    let second = house.connect(&[SECOND]).await?.to_string();
    house.done(&["sync", "--integration", &second, "--job", "meta_7d_fill"]).await?;
    wait::until("the worker is at another run", Duration::from_secs(60), async || {
        Ok(house.count("select count(*) from sync_runs where status = 'succeeded'").await? == 2)
    })
    .await?;
    fetch.end().await?;
    let (of_it, in_all) = (
        "select count(*) from sync_days d join integrations i on i.id = d.integration_id join ad_accounts a
        on a.id = i.ad_account_id where d.state = 'published' and a.external_id = 'act_1000000001'",
        published,
    );
    assert_eq!(house.count(of_it).await?, in_all, "nothing was written after");
    let after: String = sqlx::query_scalar("select r::text from sync_runs r where status = 'failed'")
        .fetch_one(&house.database.pool)
        .await?;
    assert_eq!(after, run);
    house.check_summary(&[SHOP], days_ago(7), days_ago(1)).await?;
    let events = "select count(*) from outbox where headers::text like '%ad_account.disconnected%'";
    assert_eq!(house.count(events).await?, 1);

    // Once more changes nothing, and it can be connected again.
    assert_eq!(browser.post(&path, &sure).await?.location()?, format!("/integrations/{integration}"));
    assert_eq!(house.count(events).await?, 1);
    browser.get(&path).await?.shows(200, &["is disconnected", "Connect it again"])?;
    assert_eq!(house.connect(&[SHOP]).await?.to_string(), integration);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_disconnects_too() -> Result<()> {
    let house = House::open().await?;
    let integration = house.connect(&[SHOP]).await?;
    let id = integration.to_string();
    house.done(&["sync", "--integration", &id, "--job", "meta_fresh"]).await?;
    let ran = house.done(&["disconnect", "--integration", &id]).await?;
    ensure!(ran.stderr.contains("Disconnected act_1000000001: its token is deleted"), "{ran:?}");
    let found = accounts::integration(&house.database.pool, integration).await?.context("it stays")?;
    assert_eq!(found.status, accounts::Status::Disconnected);
    assert_eq!(house.count("select count(*) from integration_secrets").await?, 0);
    assert_eq!(house.count("select count(*) from sync_runs where error_code = 'disconnected'").await?, 1);
    let ran = house.done(&["disconnect", "--integration", &id]).await?;
    ensure!(ran.stderr.contains("was disconnected already"), "{ran:?}");
    let ran = house.run(&["disconnect", "--integration", "00000000-0000-7000-8000-000000000000"]).await?;
    ensure!(ran.code == 1 && ran.stderr.contains("does not exist"), "{ran:?}");
    Ok(())
}
