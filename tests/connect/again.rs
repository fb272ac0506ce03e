//! A token that came to its end: the same integration goes on with a new one.

use anyhow::{Context, Result, ensure};
use testkit::graph::Token;
use uuid::Uuid;

use crate::house::{House, PASTED, SECOND, SHOP};
use crate::shop::{Ran, days_ago};

async fn sync(house: &House, integration: Uuid, job: &str) -> Result<Ran> {
    let integration = integration.to_string();
    house.run(&["sync", "--integration", &integration, "--job", job, "--wait", "--deadline-seconds", "60"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connected_again_it_goes_on_and_no_day_is_lost() -> Result<()> {
    let house = House::open().await?;
    let integration = house.connect(&[SHOP]).await?;
    ensure!(sync(&house, integration, "meta_7d_fill").await?.code == 0);
    house.check_summary(&[SHOP], days_ago(7), days_ago(1)).await?;
    // As if it had been two days ago: the days since then are still owed.
    let ago = "update sync_cursors set value = value - 2";
    sqlx::query(ago).execute(&house.database.pool).await?;
    sqlx::query("delete from sync_days where date >= $1").bind(days_ago(2)).execute(&house.database.pool).await?;
    house.graph.edit(|world| world.revoke(PASTED));
    ensure!(sync(&house, integration, "meta_fresh").await?.code == 1);
    let pool = &house.database.pool;
    let found = accounts::integration(pool, integration).await?.context("it is there")?;
    assert_eq!(found.status, accounts::Status::NeedsReconnect);
    let cursor = runs::sync_cursor(pool, house.account_id, integration).await?;
    assert_eq!(cursor, Some(days_ago(3)));

    let renewed = "EAABrenewed";
    house.graph.edit(|world| {
        world
            .tokens
            .insert("EAABofanother".into(), Token { ad_accounts: [SECOND.to_owned()].into(), ..Token::default() });
        let ad_accounts = [SHOP.to_owned(), SECOND.to_owned()].into();
        world.tokens.insert(renewed.into(), Token { ad_accounts, ..Token::default() });
    });
    let browser = house.browser()?;
    let start = browser.get(&format!("/connect/meta?reconnect={integration}")).await?;
    start.shows(200, &["<h1>Connect again</h1>", SHOP, "gets a new token"])?;
    let (csrf, account, id) = (browser.csrf().await?, house.account_id.to_string(), integration.to_string());
    let reconnect = format!("/connect/meta/accounts?reconnect={integration}");
    for (token, words, is_ticked) in
        [("EAABofanother", "This token does not see", false), (renewed, "is ticked: it is to be connected again", true)]
    {
        let fields = [("csrf", csrf.as_str()), ("account_id", &account), ("token", token), ("reconnect", &id)];
        assert_eq!(browser.post("/connect/meta/token", &fields).await?.location()?, reconnect);
        let list = browser.get(&reconnect).await?;
        list.shows(200, &[words])?;
        assert_eq!(list.body.contains(&format!("value=\"{SHOP}\" checked")), is_ticked);
    }
    house.choose(&browser, &[SHOP]).await?.shows(200, &["is connected again, and goes on where it was"])?;

    let after = accounts::integration(pool, integration).await?.context("it is there")?;
    assert_eq!((after.status, after.status_reason), (accounts::Status::Connected, None));
    assert_eq!(house.integration(SHOP).await?, Some(integration), "the same");
    assert_eq!(runs::sync_cursor(pool, house.account_id, integration).await?, cursor, "how far it was, it still is");
    let reconnected = "select count(*) from outbox where headers::text like '%ad_account.reconnected%'";
    assert_eq!(house.count(reconnected).await?, 1);
    ensure!(sync(&house, integration, "meta_fresh").await?.code == 0);
    house.check_summary(&[SHOP], days_ago(7), days_ago(1)).await?;
    assert_eq!(runs::sync_cursor(pool, house.account_id, integration).await?, Some(days_ago(1)));
    assert_eq!(house.count("select count(*) from sync_days where state <> 'published'").await?, 0);

    for unknown in ["?reconnect=7", &format!("?reconnect={}", Uuid::now_v7())] {
        assert_eq!(browser.get(&format!("/connect/meta{unknown}")).await?.status, 404);
    }
    Ok(())
}
