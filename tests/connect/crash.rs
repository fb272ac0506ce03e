//! The web role is killed between steps: nothing is half-written, and whoever comes back goes on.

use std::time::Duration;

use anyhow::Result;
use testkit::graph::{Decision, Endpoint, Failure};
use testkit::wait;

use crate::house::{House, PASTED, SECOND, SHOP};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_meta_is_asked_connects_whole_ad_accounts_or_none() -> Result<()> {
    let mut house = House::open().await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    house.graph.fail(Failure::slow(Duration::MAX).on(Endpoint::AccountRow).about(SECOND));
    // The first passes and is connected, while Meta says nothing of the second.
    let choosing = house.choose(&browser, &[SHOP, SECOND]);
    let connected = wait::until("the first is connected", Duration::from_secs(60), async || {
        Ok(house.count("select count(*) from integrations").await? == 1)
    });
    tokio::select! {
        seen = choosing => anyhow::bail!("it cannot be done: {seen:?}"),
        connected = connected => connected?,
    }
    house.restart(&[]).await?;
    assert_eq!((house.written().await?, house.drafts().await?), ([1; 4], 1));
    assert_eq!(house.integration(SECOND).await?, None);
    house.graph.heal();
    // The same browser, with the draft that it had.
    house.choose(&browser, &[SHOP, SECOND]).await?.shows(200, &["<h1>Connected</h1>"])?;
    assert_eq!((house.written().await?, house.drafts().await?), ([2, 2, 2, 3], 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_row_is_locked_writes_nothing() -> Result<()> {
    let mut house = House::open().await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    // In the middle of the transaction: ad account and integration are written, the token is not.
    let mut holder = house.database.pool.begin().await?;
    sqlx::query("lock table integration_secrets in access exclusive mode").execute(&mut *holder).await?;
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let waits =
        wait::until("the transaction waits", Duration::from_secs(60), async || Ok(house.count(waiting).await? == 1));
    tokio::select! {
        seen = house.choose(&browser, &[SHOP]) => anyhow::bail!("it cannot be done: {seen:?}"),
        waits = waits => waits?,
    }
    house.restart(&[]).await?;
    holder.rollback().await?;
    wait::until("nobody waits", Duration::from_secs(60), async || Ok(house.count(waiting).await? == 0)).await?;
    assert_eq!((house.written().await?, house.drafts().await?), ([0; 4], 1));
    house.choose(&browser, &[SHOP]).await?.shows(200, &["<h1>Connected</h1>"])?;
    assert_eq!((house.written().await?, house.drafts().await?), ([1; 4], 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_on_the_way_back_from_the_dialog_leaves_a_trip_that_is_over() -> Result<()> {
    let mut house = House::open().await?;
    let browser = house.browser()?;
    browser.get("/connect/meta").await?;
    let dialog = browser.get("/connect/meta/oauth/start").await?;
    let back = house.graph.decide(dialog.location()?, Decision::Continue)?;
    house.graph.fail(Failure::slow(Duration::MAX).on(Endpoint::CodeExchange));
    let asked = wait::until("the code is under way", Duration::from_secs(60), async || {
        Ok(house.graph.requests().iter().any(|request| request.endpoint() == Endpoint::CodeExchange))
    });
    tokio::select! {
        seen = browser.get(&back) => anyhow::bail!("it cannot be done: {seen:?}"),
        asked = asked => asked?,
    }
    house.restart(&[]).await?;
    house.graph.heal();
    assert_eq!(house.count("select count(*) from oauth_trips").await?, 0);
    assert_eq!((house.written().await?, house.drafts().await?), ([0; 4], 0));
    assert_eq!(browser.get(&back).await?.location()?, "/connect/meta?ended=over");
    let dialog = browser.get("/connect/meta/oauth/start").await?;
    let back = house.graph.decide(dialog.location()?, Decision::Continue)?;
    assert_eq!(browser.get(&back).await?.location()?, "/connect/meta/accounts");
    Ok(())
}
