//! No secret leaves its room: after the whole flow, well and badly, each is looked for in every answer, log line, trace,
//! table and event.

use anyhow::{Result, ensure};
use testkit::Collector;
use testkit::graph::{Decision, Endpoint, Failure};

use crate::house::{APP_SECRET, House, PASTED, SECOND, SHOP};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_the_flow_is_anywhere() -> Result<()> {
    let collector = Collector::start().await?;
    let settings = [("RUST_LOG", "trace"), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    let mut house = House::with(&settings).await?;
    let browser = house.browser()?;
    browser.get("/connect/meta").await?;
    let mut states = Vec::new();

    // Refusals that quote what they got, on every step.
    let quoting = "Oops: {token} {code} {secret} {verifier}";
    for endpoint in [None, Some(Endpoint::CodeExchange), Some(Endpoint::LongLived), Some(Endpoint::DebugToken)] {
        house.graph.heal();
        if let Some(endpoint) = endpoint {
            house.graph.fail(Failure::refusal(400, 100, None, quoting).on(endpoint));
        }
        let dialog = browser.get("/connect/meta/oauth/start").await?.location()?.to_owned();
        let url = reqwest::Url::parse(&dialog)?;
        states.extend(url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned()));
        let back = house.graph.decide(&dialog, Decision::Continue)?;
        browser.get(&back).await?.location()?;
        // And once more, with what has served already.
        browser.get(&back).await?.location()?;
        browser.get("/connect/meta/accounts").await?;
    }
    for endpoint in [Endpoint::AdAccounts, Endpoint::AdAccount, Endpoint::AccountRow, Endpoint::Permissions] {
        house.graph.heal();
        house.paste(&browser, PASTED).await?.location()?;
        house.graph.fail(Failure::refusal(403, 10, None, quoting).on(endpoint));
        browser.get("/connect/meta/accounts?anew=1").await?;
        house.choose(&browser, &[SHOP]).await?;
        house.paste(&browser, PASTED).await?;
    }
    house.graph.heal();
    house.paste(&browser, "EAABwrong/canary").await?.shows(422, &["not valid"])?;
    house.paste(&browser, PASTED).await?.location()?;
    house.choose(&browser, &[SECOND]).await?.shows(200, &["<h1>Connected</h1>"])?;
    // A token, and a trip under way, stay in the tables: sealed.
    house.paste(&browser, PASTED).await?.location()?;
    let dialog = browser.get("/connect/meta/oauth/start").await?.location()?.to_owned();
    let url = reqwest::Url::parse(&dialog)?;
    states.extend(url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned()));

    let mut secrets = vec![PASTED.to_owned(), "EAABwrong/canary".into(), APP_SECRET.into()];
    secrets
        .extend(house.graph.edit(|world| world.tokens.keys().chain(world.codes.keys()).cloned().collect::<Vec<_>>()));
    let exchanged = house.graph.requests();
    secrets.extend(exchanged.iter().filter_map(|request| request.parameter("code_verifier").map(str::to_owned)));
    ensure!(secrets.len() > 12, "{} secrets are looked for", secrets.len());
    house.web.end().await?;

    let (said, states) = (needles(&secrets), needles(&states));
    for answer in &browser.saw() {
        check("an answer", answer, &said)?;
        // The state goes to Meta, in the one address that leads there.
        if !answer.contains("/dialog/oauth?") {
            check("an answer", answer, &states)?;
        }
    }
    let log = house.web.log();
    ensure!(log.contains("TRACE") && log.lines().count() > 400, "{} lines were logged", log.lines().count());
    check("the log", &log, &said)?;
    check("the log", &log, &states)?;
    let spans = collector.bodies();
    ensure!(!spans.is_empty(), "there are traces");
    for body in spans {
        check("a trace", &String::from_utf8_lossy(&body), &said)?;
        check("a trace", &String::from_utf8_lossy(&body), &states)?;
    }
    let pool = &house.database.pool;
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public'").fetch_all(pool).await?;
    let mut rows = 0;
    for table in tables {
        let query = format!("select t::text from {table} t");
        for row in sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query)).fetch_all(pool).await? {
            rows += 1;
            check(&format!("table {table}"), &row, &said)?;
            check(&format!("table {table}"), &row, &states)?;
        }
    }
    ensure!(rows > 8 && house.drafts().await? == 1, "{rows} rows were looked through");
    assert_eq!(house.count("select count(*) from oauth_trips").await?, 1);
    let in_urls = house.graph.requests().into_iter().filter(|request| request.token_in_url).count();
    ensure!(in_urls == 0, "{in_urls} requests had a secret in their URL");
    Ok(())
}

/// Each secret as it is, escaped for a URL, for JSON and for HTML, and as the hex that `bytea` is shown in.
fn needles(secrets: &[String]) -> Vec<String> {
    let percent = |text: &str| text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D").replace('|', "%7C");
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let of = |secret: &String| [secret.clone(), percent(secret), secret.replace('/', "\\/"), hex(secret)];
    secrets.iter().flat_map(of).collect()
}

fn check(place: &str, text: &str, needles: &[String]) -> Result<()> {
    for needle in needles {
        if let Some(at) = text.find(needle.as_str()) {
            let around = text[..at].rfind('\n').map_or(0, |line| line + 1);
            anyhow::bail!("a secret is in {place}: …{}", &text[around..at]);
        }
    }
    Ok(())
}
