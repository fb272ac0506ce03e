//! Through Meta's dialog and back.

use anyhow::{Context, Result, ensure};
use testkit::graph::{Decision, Endpoint, Failure};
use uuid::Uuid;

use crate::browser::{Browser, Seen};
use crate::house::{House, SECOND, SHOP};

/// The dialog's address for this browser.
async fn depart(browser: &Browser) -> Result<String> {
    browser.get("/connect/meta").await?.shows(200, &["Continue with Facebook"])?;
    Ok(browser.get("/connect/meta/oauth/start").await?.location()?.to_owned())
}

/// There and back: where the browser is sent after the way back.
async fn travel(house: &House, browser: &Browser, decision: Decision) -> Result<String> {
    let back = house.graph.decide(&depart(browser).await?, decision)?;
    Ok(arrive(browser, &back).await?.location()?.to_owned())
}

/// The way back: it says nothing, and whoever looks at the next address sees neither code nor state.
async fn arrive(browser: &Browser, back: &str) -> Result<Seen> {
    let seen = browser.get(back).await?;
    ensure!(seen.body.is_empty() && seen.headers["referrer-policy"] == "no-referrer", "{seen:?}");
    let next = seen.location()?;
    ensure!(!next.contains("code=") && !next.contains("state="), "{next}");
    Ok(seen)
}

fn parameter(address: &str, name: &str) -> Result<String> {
    let url = reqwest::Url::parse(address)?;
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.with_context(|| format!("{address} has no {name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_ends_in_connected_ad_accounts() -> Result<()> {
    let house = House::open().await?;
    house.let_only_the_webs_role_write().await?;
    let browser = house.browser()?;
    browser
        .get("/connect/meta")
        .await?
        .shows(200, &["Continue with Facebook", "/connect/meta/oauth/start\"", "EUR"])?;
    assert_eq!(travel(&house, &browser, Decision::Continue).await?, "/connect/meta/accounts");
    assert_eq!(house.drafts().await?, 1);
    let list = browser.get("/connect/meta/accounts").await?;
    list.shows(200, &[SHOP, SECOND, "EUR", "Asia/Tokyo", "active", "disabled", "This token lasts until"])?;
    let done = house.choose(&browser, &[SHOP]).await?;
    let integration = house.integration(SHOP).await?.context("it is connected")?;
    done.shows(200, &["Connected", &format!("/integrations/{integration}"), "The last 7 days"])?;
    assert_eq!((house.written().await?, house.drafts().await?), ([1, 1, 1, 1], 0));
    let days = "select round(extract(epoch from expires_at - now()) / 86400)::bigint from integration_secrets";
    assert_eq!(house.count(days).await?, 60);
    let exchanges = house.graph.requests();
    ensure!(exchanges.iter().all(|request| !request.token_in_url), "a secret was in an address");
    assert_eq!(exchanges.iter().filter(|request| request.endpoint() == Endpoint::LongLived).count(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_to_come_back_to_is_the_settings_one() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    browser.get("/connect/meta").await?;
    let port = house.url.rsplit_once(':').context("a port")?.1;
    let local = format!("localhost:{port}");
    for headers in [
        [("host", local.as_str()), ("x-forwarded-host", "evil.example")],
        [("x-forwarded-proto", "https"), ("forwarded", "host=evil.example")],
    ] {
        let seen = browser.get_with("/connect/meta/oauth/start", &headers).await?;
        let redirect_uri = parameter(seen.location()?, "redirect_uri")?;
        assert_eq!(redirect_uri, format!("{}/connect/meta/oauth/callback", house.url));
    }
    let evil = browser.get_with("/connect/meta/oauth/start", &[("host", "evil.example")]).await?;
    assert_eq!(evil.status, 403);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_serves_once_for_ten_minutes_and_in_its_own_browser() -> Result<()> {
    let house = House::open().await?;
    let (browser, other) = (house.browser()?, house.browser()?);
    other.get("/connect/meta").await?;
    let over = "/connect/meta?ended=over";

    // In another browser, and then not in its own: whoever has the address has tried it.
    let back = house.graph.decide(&depart(&browser).await?, Decision::Continue)?;
    assert_eq!(arrive(&other, &back).await?.location()?, over);
    assert_eq!(house.drafts().await?, 0);
    // The one that it began in is not robbed of it.
    assert_eq!(arrive(&browser, &back).await?.location()?, "/connect/meta/accounts");
    assert_eq!(arrive(&browser, &back).await?.location()?, over, "twice");
    sqlx::query("delete from connect_drafts").execute(&house.database.pool).await?;

    let back = house.graph.decide(&depart(&browser).await?, Decision::Continue)?;
    sqlx::query("update oauth_trips set started_at = now() - interval '601 seconds'")
        .execute(&house.database.pool)
        .await?;
    assert_eq!(arrive(&browser, &back).await?.location()?, over, "after ten minutes");
    assert_eq!(house.count("select count(*) from oauth_trips").await?, 0);

    let back = house.graph.decide(&depart(&browser).await?, Decision::Continue)?;
    let (code, state) = (parameter(&back, "code")?, parameter(&back, "state")?);
    let stranger = format!("{}{}", Uuid::now_v7().simple(), &state[32..]);
    for query in [
        format!("?code={code}"),
        format!("?code={code}&state="),
        format!("?code={code}&state={}", &state[..state.len() - 1]),
        format!("?code={code}&state={stranger}"),
        format!("?code={code}&state=%ff%fe"),
        format!("?code={code}&state={state}&state={state}"),
        String::new(),
    ] {
        let seen = arrive(&browser, &format!("/connect/meta/oauth/callback{query}")).await?;
        assert_eq!(seen.location()?, over, "{query}");
    }
    assert_eq!((house.drafts().await?, house.written().await?), (0, [0; 4]));
    let exchanges = |house: &House| {
        house.graph.requests().iter().filter(|request| request.endpoint() == Endpoint::CodeExchange).count()
    };
    assert_eq!(exchanges(&house), 1, "nothing of what was refused reached Meta");

    // A code that somebody else's challenge was made for.
    house.graph.edit(|world| {
        for code in world.codes.values_mut() {
            code.code_challenge = testkit::graph::code_challenge("another verifier");
        }
    });
    assert_eq!(arrive(&browser, &back).await?.location()?, "/connect/meta?ended=code");
    browser.get("/connect/meta?ended=code").await?.shows(200, &["Meta gave no token for this sign-in"])?;
    assert_eq!((house.drafts().await?, house.written().await?), (0, [0; 4]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialog_that_grants_nothing_is_said_kindly() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    for (decision, ended, words) in [
        (Decision::Cancel, "/connect/meta?ended=declined", "You cancelled in Facebook's dialog"),
        (
            Decision::ContinueWithout("ads_read".into()),
            "/connect/meta?ended=scope",
            "The permission to read ads (ads_read) was kept back",
        ),
    ] {
        assert_eq!(travel(&house, &browser, decision).await?, ended);
        browser.get(ended).await?.shows(200, &[words, "Continue with Facebook"])?;
    }
    let back = house.graph.decide(&depart(&browser).await?, Decision::Cancel)?;
    let other = back.replace("access_denied", "server_error").replace("user_denied", "other");
    assert_eq!(arrive(&browser, &other).await?.location()?, "/connect/meta?ended=dialog");
    // An address can say no more than one of our own sentences.
    let odd = browser.get("/connect/meta?ended=%3Cscript%3E").await?;
    ensure!(odd.status == 200 && !odd.body.contains("role=\"alert\"") && !odd.body.contains("<script>"), "{odd:?}");

    for (failure, ended) in [
        (Failure::refusal(400, 1, None, "Error validating client secret. {secret}"), "app"),
        (Failure::refusal(400, 191, None, "Can't load URL"), "redirect_address"),
        (Failure::html(502), "code"),
    ] {
        house.graph.heal();
        house.graph.fail(failure.on(Endpoint::CodeExchange));
        let address = format!("/connect/meta?ended={ended}");
        assert_eq!(travel(&house, &browser, Decision::Continue).await?, address);
        browser.get(&address).await?.shows(200, &["role=\"alert\""])?;
    }
    assert_eq!((house.drafts().await?, house.written().await?), (0, [0; 4]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_long_lived_token_the_short_one_is_kept_and_said() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    house.graph.fail(Failure::refusal(400, 100, None, "No").on(Endpoint::LongLived));
    assert_eq!(travel(&house, &browser, Decision::Continue).await?, "/connect/meta/accounts");
    browser.get("/connect/meta/accounts").await?.shows(200, &["This token ends at", "Meta gave no longer one"])?;
    house.choose(&browser, &[SHOP]).await?.shows(200, &["<h1>Connected</h1>"])?;
    let hours = "select round(extract(epoch from expires_at - now()) / 3600)::bigint from integration_secrets";
    assert_eq!(house.count(hours).await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_comes_back_to_the_tenant_that_it_began_in() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    let other = Uuid::now_v7();
    let integration = house.connect(&[SHOP]).await?.to_string();
    browser.get("/connect/meta").await?.shows(200, &["Shop"])?;
    let start = browser.get(&format!("/connect/meta/oauth/start?reconnect={integration}")).await?;
    let back = house.graph.decide(start.location()?, Decision::Continue)?;
    accounts::create_account(&house.database.pool, other, "Other", "EUR", "Europe/Berlin").await?;
    let (csrf, other) = (browser.csrf().await?, other.to_string());
    browser.post("/tenants/choose", &[("csrf", &csrf), ("account_id", &other)]).await?.location()?;
    browser.get("/connect/meta").await?.shows(200, &["Other"])?;
    let reconnect = format!("/connect/meta/accounts?reconnect={integration}");
    assert_eq!(arrive(&browser, &back).await?.location()?, reconnect);
    let drafts: Vec<Uuid> =
        sqlx::query_scalar("select account_id from connect_drafts").fetch_all(&house.database.pool).await?;
    ensure!(drafts.iter().all(|account| *account == house.account_id) && !drafts.is_empty(), "{drafts:?}");
    browser.get(&reconnect).await?.shows(200, &["<strong>Shop</strong>", "is ticked: it is to be connected again"])?;

    // A form that was shown for one tenant does nothing for another.
    let fields = [("csrf", csrf.as_str()), ("account_id", &other), ("ad_account", SECOND)];
    assert_eq!(browser.post("/connect/meta/accounts", &fields).await?.status, 409);
    assert_eq!(house.integration(SECOND).await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_session_is_not_sent_to_log_in_with_the_code() -> Result<()> {
    let hash = connect::password::hash(&"correct horse battery".to_owned().into())?;
    let house = House::with(&[("ADLEDGER_ADMIN_PASSWORD_HASH", &hash)]).await?;
    let browser = house.browser()?;
    let seen = arrive(&browser, "/connect/meta/oauth/callback?code=AQcanary&state=canary").await?;
    assert_eq!(seen.location()?, "/connect/meta?ended=over");
    // And not from the login's form to another site, which a browser does not let happen.
    assert_eq!(browser.get("/connect/meta/oauth/start").await?.location()?, "/connect/meta");
    assert_eq!(browser.get("/connect/meta").await?.location()?, "/login?wanted=/connect/meta");
    Ok(())
}
