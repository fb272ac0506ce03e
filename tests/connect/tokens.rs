//! Tokens with an end: exchanged, warned of, refused, and replaced without the loss of a day.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use testkit::graph::{Endpoint, Failure, Token};
use testkit::wait;
use uuid::Uuid;

use crate::house::{APP_ID, House, PASTED, SECOND, SHOP};
use crate::shop::{Ran, days_ago};

const SOON: Duration = Duration::from_secs(90);
const SHORT: &str = "EAABshort/0123456789+own=";

/// A token of the house's own app that ends after so long.
async fn own_token(house: &House, token: &str, ends_after: TimeDelta) -> Result<()> {
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&house.database.pool).await?;
    house.graph.edit(|world| {
        let ad_accounts = [SHOP.to_owned(), SECOND.to_owned()].into();
        let (app_id, expires_at) = (Some(APP_ID.to_owned()), Some(now + ends_after));
        world.tokens.insert(token.into(), Token { ad_accounts, app_id, expires_at, ..Token::default() });
    });
    Ok(())
}

async fn days_left(house: &House, integration: Uuid) -> Result<i64> {
    let query = "select round(extract(epoch from expires_at - now()) / 86400)::bigint from integration_secrets
                 where integration_id = $1";
    Ok(sqlx::query_scalar(query).bind(integration).fetch_one(&house.database.pool).await?)
}

async fn sync(house: &House, integration: Uuid, job: &str) -> Result<Ran> {
    let integration = integration.to_string();
    house.run(&["sync", "--integration", &integration, "--job", job, "--wait", "--deadline-seconds", "60"]).await
}

/// What `status --json` says of an integration.
async fn status(house: &House, integration: Uuid) -> Result<Value> {
    let report: Value = serde_json::from_str(&house.done(&["status", "--json"]).await?.stdout)?;
    let all = report["integrations"].as_array().context("a list")?;
    let found = all.iter().find(|row| row["integration_id"] == integration.to_string());
    found.cloned().context("the integration is listed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_lived_token_of_our_own_app_is_exchanged_before_it_is_kept() -> Result<()> {
    let house = House::open().await?;
    own_token(&house, SHORT, TimeDelta::hours(2)).await?;
    let browser = house.browser()?;
    house.paste(&browser, SHORT).await?.location()?;
    browser.get("/connect/meta/accounts").await?.shows(200, &["This token lasts until"])?;
    house.choose(&browser, &[SHOP]).await?.shows(200, &["<h1>Connected</h1>"])?;
    let integration = house.integration(SHOP).await?.context("it is connected")?;
    assert_eq!(days_left(&house, integration).await?, 60);
    ensure!(sync(&house, integration, "meta_fresh").await?.code == 0);

    // Each question with a token has the proof of it, and never the one of another.
    let mut proofs = 0;
    for question in house.graph.requests() {
        let token = question.authorization.as_deref().and_then(|header| header.strip_prefix("Bearer "));
        let is_apps = matches!(question.endpoint(), Endpoint::DebugToken | Endpoint::LongLived | Endpoint::Dialog);
        let Some(token) = token.filter(|_| !is_apps) else { continue };
        let app = meta_api::App { app_id: APP_ID.into(), app_secret: crate::house::APP_SECRET.to_owned().into() };
        let wanted = app.proof(&token.to_owned().into());
        let wanted = secrecy::ExposeSecret::expose_secret(&wanted);
        assert_eq!(question.parameter("appsecret_proof"), Some(wanted), "{}", question.path);
        proofs += 1;
    }
    ensure!(proofs > 5, "{proofs} questions");

    let said = status(&house, integration).await?;
    assert_eq!((&said["token_warning"], &said["token_never_expires"]), (&Value::Null, &false.into()));
    ensure!(said["token"].as_str().is_some_and(|words| words.starts_with("expires in 60 days, on ")), "{said}");
    ensure!(said["token_expires_at"].is_string() && said["token_checked_at"].is_string(), "{said}");

    // The command does the same; where Meta gives none, the short one is kept, and that it ends soon is said.
    let account = house.account_id.to_string();
    let arguments = ["connect", "--account", &account, "--ad-account", SECOND, "--token-stdin"];
    for (days, failure) in [(60, None), (0, Some(Failure::refusal(400, 100, None, "No").on(Endpoint::LongLived)))] {
        if let Some(failure) = failure {
            house.graph.fail(failure);
        }
        let ran = house.run_with(&arguments, SHORT).await?;
        ensure!(ran.code == 0, "{ran:?}");
        let second = house.integration(SECOND).await?.context("it is connected")?;
        assert_eq!(days_left(&house, second).await?, days);
    }
    let second = house.integration(SECOND).await?.context("it is connected")?;
    let warning = status(&house, second).await?["token_warning"].to_string();
    ensure!(warning.contains("expires in 1 day") && warning.contains("connects it again before then"), "{warning}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_comes_near_is_said_everywhere() -> Result<()> {
    let house = House::open().await?;
    own_token(&house, SHORT, TimeDelta::hours(6 * 24 - 1)).await?;
    house.graph.fail(Failure::refusal(400, 100, None, "No").on(Endpoint::LongLived));
    let browser = house.browser()?;
    house.paste(&browser, SHORT).await?.location()?;
    house.choose(&browser, &[SHOP]).await?.shows(200, &["<h1>Connected</h1>"])?;
    house.paste(&browser, PASTED).await?.location()?;
    house.choose(&browser, &[SECOND]).await?.shows(200, &["<h1>Connected</h1>"])?;
    let (shop, second) = (house.integration(SHOP).await?.context("a")?, house.integration(SECOND).await?.context("b")?);
    let roles = ["schedule", "relay", "fill"].map(|role| house.role(role));

    let warned = "select count(*) from integration_secrets where warned_threshold = 7";
    wait::until("it is warned of", SOON, async || Ok(house.count(warned).await? == 1)).await?;
    wait::until("the events are published", SOON, async || {
        Ok(house.count("select count(*) from outbox where subject like 'meta.connect.%'").await? == 0)
    })
    .await?;
    let fills = "select count(*) from sync_runs where trigger = 'connect'";
    wait::until("each connection has its fill", SOON, async || Ok(house.count(fills).await? == 2)).await?;

    let said = status(&house, shop).await?;
    ensure!(said["token"].as_str().is_some_and(|words| words.starts_with("expires in 6 days, on ")), "{said}");
    let other = status(&house, second).await?;
    assert_eq!(other["token"], "unknown: nobody here is told when it expires");
    let table = house.done(&["status"]).await?.stdout;
    ensure!(table.contains(&format!("{SHOP} of Shop: the token expires in 6 days")), "{table}");
    let doctor = house.run(&["doctor"]).await?;
    ensure!(
        doctor.code == 3 && doctor.stdout.contains(&format!("✗ tokens         {SHOP}: the token expires in 6 days")),
        "{doctor:?}"
    );
    ensure!(doctor.stdout.contains("✓ dead letters"), "the warning is no letter: {}", doctor.stdout);
    let page = browser.get(&format!("/integrations/{shop}")).await?;
    page.shows(200, &["5 days left", "Reconnect before that", "token need not expire"])?;

    // Then Meta takes it no more: that one stops, and says who must do what; the other goes on.
    house.graph.edit(|world| world.token(SHORT).revoked = Some(458));
    let due = "update integration_secrets set next_check_at = now() - interval '1 second'";
    sqlx::query(due).execute(&house.database.pool).await?;
    wait::until("it needs a reconnect", SOON, async || Ok(status(&house, shop).await?["status"] == "needs_reconnect"))
        .await?;
    let reason = status(&house, shop).await?["status_reason"].to_string();
    ensure!(reason.contains("has removed the app") && reason.contains("must connect again"), "{reason}");
    wait::until("the other was asked about", SOON, async || {
        Ok(status(&house, second).await?["token_checked_at"].is_string())
    })
    .await?;
    assert_eq!(status(&house, second).await?["status"], "connected");
    for role in roles {
        role?.end().await?;
    }
    Ok(())
}

/// Longer than the fill's seven days: what follows from the connection by itself brings them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_days_without_a_token_are_brought_by_the_reconnect_itself() -> Result<()> {
    let house = House::open().await?;
    let integration = house.connect(&[SHOP]).await?;
    let pool = &house.database.pool;
    // The event of the first connection is answered before days are fetched, so that it asks for nothing later.
    let followers = ["relay", "fill"].map(|role| house.role(role));
    let fills = "select count(*) from sync_runs where job_type = 'meta_7d_fill' and trigger = 'connect'";
    wait::until("the first connection has its fill", SOON, async || Ok(house.count(fills).await? == 1)).await?;
    ensure!(sync(&house, integration, "meta_7d_fill").await?.code == 0);
    // As if it had been twelve days ago: nothing of the days since then is known.
    for ago in [
        "update sync_cursors set value = value - 12",
        "update sync_days set date = date - 12",
        "delete from fact_meta_daily",
        "delete from daily_meta_metrics",
        "delete from observations",
        "delete from daily_summary",
    ] {
        sqlx::query(ago).execute(pool).await?;
    }
    house.graph.edit(|world| world.revoke(PASTED));
    ensure!(sync(&house, integration, "meta_fresh").await?.code == 1);
    let refused = accounts::integration(pool, integration).await?.context("it is there")?;
    assert_eq!(refused.status, accounts::Status::NeedsReconnect);
    let reason = refused.status_reason.unwrap_or_default();
    ensure!(reason.contains("the password of the person it belongs to was changed"), "{reason}");

    let renewed = "EAABrenewed";
    house.graph.edit(|world| {
        let facts = Token { revoked: None, ..world.token(PASTED).clone() };
        world.tokens.insert(renewed.into(), facts);
    });
    let workers = ["fetch", "raw", "project"].map(|role| house.role(role));
    let browser = house.browser()?;
    house.paste(&browser, renewed).await?.location()?;
    house.choose(&browser, &[SHOP]).await?.shows(200, &["is connected again"])?;
    wait::until("the cursor is where it would be", SOON, async || {
        Ok(runs::sync_cursor(pool, house.account_id, integration).await? == Some(days_ago(1)))
    })
    .await?;
    wait::until("all twelve days are in the tables", SOON, async || {
        Ok(house.check_summary(&[SHOP], days_ago(12), days_ago(1)).await.is_ok())
    })
    .await?;
    assert_eq!(house.count("select count(*) from sync_days where state <> 'published'").await?, 0);
    let fresh = "select count(*) from sync_runs where job_type = 'meta_fresh' and trigger = 'connect'";
    assert_eq!(house.count(fresh).await?, 1, "nobody asked for it");
    for role in followers.into_iter().chain(workers) {
        role?.end().await?;
    }
    Ok(())
}
