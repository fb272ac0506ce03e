//! A token that is pasted, to numbers in the tables.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::graph::Token;
use testkit::wait;

use crate::house::{APP_ID, FOREIGN, House, PASTED, SECOND, SHOP};
use crate::shop::days_ago;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pasted_token_becomes_numbers_by_itself() -> Result<()> {
    let house = House::open().await?;
    let roles = ["relay", "fill", "fetch", "raw", "project"].map(|role| house.role(role));
    let browser = house.browser()?;
    assert_eq!(house.paste(&browser, &format!("  {PASTED}\n")).await?.location()?, "/connect/meta/accounts");
    house.choose(&browser, &[SHOP]).await?.shows(200, &["<h1>Connected</h1>"])?;
    wait::until("the last 7 days are in the tables", Duration::from_secs(90), async || {
        Ok(house.check_summary(&[SHOP], days_ago(7), days_ago(1)).await.is_ok())
    })
    .await?;
    assert_eq!(house.count("select count(*) from sync_runs where trigger = 'connect'").await?, 1);
    for role in roles {
        role?.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_cannot_work_is_not_kept() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    let no_scope = "EAABwithout";
    let expired = "EAABexpired";
    house.graph.edit(|world| {
        let scopes = ["public_profile".to_owned()].into();
        world.tokens.insert(no_scope.into(), Token { scopes, ..Token::default() });
        world
            .tokens
            .insert(expired.into(), Token { app_id: Some(APP_ID.into()), revoked: Some(463), ..Token::default() });
    });
    for (token, words) in [
        ("", "That is no token"),
        ("two words", "That is no token"),
        (&"x".repeat(20_000), "That is no token"),
        ("EAABwrong", "The token was not kept. The token is not valid"),
        (expired, "The token was not kept. The token is not valid"),
        (no_scope, "The token was not kept. ads_read was not granted"),
    ] {
        let seen = house.paste(&browser, token).await?;
        seen.shows(422, &[words, "role=\"alert\""])?;
        ensure!(token.is_empty() || token.contains(' ') || !seen.body.contains(token), "{token} is shown");
    }
    assert_eq!((house.drafts().await?, house.written().await?), (0, [0; 4]));
    assert_eq!(browser.get("/connect/meta/accounts").await?.location()?, "/connect/meta?ended=no_draft");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_known_of_a_token_is_said() -> Result<()> {
    // Of another app, of this one, and where there is no app.
    let mut house = House::open().await?;
    house.graph.edit(|world| {
        let token = Token { app_id: Some(APP_ID.into()), ..world.token(PASTED).clone() };
        world.tokens.insert("EAABofthisapp".into(), token);
    });
    let no_app = [("META_APP_ID", ""), ("META_APP_SECRET", "")];
    for (settings, token, words) in [
        (&[][..], PASTED, "It was made for another Meta app"),
        (&[], "EAABofthisapp", "Meta says that it is valid and never expires"),
        (&no_app, PASTED, "can be asked only where META_APP_ID and META_APP_SECRET are set"),
    ] {
        if !settings.is_empty() {
            house.restart(settings).await?;
            house.browser()?.get("/connect/meta/oauth/start").await?.shows(404, &["paste a token"])?;
        }
        let browser = house.browser()?;
        house.paste(&browser, token).await?.location()?;
        house.choose(&browser, &[SHOP, SECOND]).await?.shows(200, &["<h1>Connected</h1>", words])?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_do_not_see_each_others_drafts() -> Result<()> {
    let house = House::open().await?;
    let (one, two) = (house.browser()?, house.browser()?);
    house.paste(&one, PASTED).await?.location()?;
    let nothing = "/connect/meta?ended=no_draft";
    assert_eq!(two.get("/connect/meta/accounts").await?.location()?, nothing);
    assert_eq!(house.choose(&two, &[SHOP]).await?.location()?, nothing);
    // Another's proof is none.
    let (csrf, account) = (one.csrf().await?, house.account_id.to_string());
    let forged = [("csrf", csrf.as_str()), ("account_id", &account), ("ad_account", SHOP)];
    assert_eq!(two.post("/connect/meta/accounts", &forged).await?.status, 403);
    assert_eq!(house.written().await?, [0; 4]);
    one.get("/connect/meta/accounts").await?.shows(200, &[SHOP])?;

    // Half an hour, and no longer.
    let late = "update connect_drafts set created_at = now() - interval '1801 seconds'";
    sqlx::query(late).execute(&house.database.pool).await?;
    assert_eq!(house.choose(&one, &[SHOP]).await?.location()?, nothing);
    assert_eq!(house.written().await?, [0; 4]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_currencies_never_meet_whatever_a_form_says() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    let list = browser.get("/connect/meta/accounts").await?;
    let text = list.text();
    let (_, row) = text.split_once(&format!("value=\"{FOREIGN}\"")).context("it is shown")?;
    let tag = row.split('>').next().unwrap_or_default();
    ensure!(tag.contains("disabled"), "{tag}");
    list.shows(200, &["act_1000000004 is in USD, and the tenant Shop in EUR: two currencies are never summed"])?;
    let forged = house.choose(&browser, &[FOREIGN]).await?;
    forged.shows(200, &["<h1>Not connected yet</h1>", "Make a tenant in USD"])?;
    assert_eq!(house.written().await?, [0; 4]);
    Ok(())
}
