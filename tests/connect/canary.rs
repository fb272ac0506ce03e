//! No secret leaves its room: after the whole flow, well and badly, each is looked for in every answer, log line,
//! trace, table and event.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use testkit::Collector;
use testkit::graph::{Decision, Endpoint, Failure};

use crate::browser::Browser;
use crate::house::{APP_SECRET, House, PASTED, SECOND, SHOP};
use crate::shop::{KEYS, adledger, run};

const PASSWORD: &str = "correct horse/battery=canary";
const MISTYPED: &str = "incorrect horse/battery=canary";
const CRON_SECRET: &str = "cron-secret/of+the=canary";
/// The cookie that a session's id is in.
const SESSION: &str = "adledger_session";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_the_flow_is_anywhere() -> Result<()> {
    let collector = Collector::start().await?;
    rustls::crypto::ring::default_provider().install_default().ok();
    let hash = run(adledger(&["password"]), Some(PASSWORD)).await?.stdout.trim().to_owned();
    let settings = [
        ("RUST_LOG", "trace"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("ADLEDGER_ADMIN_PASSWORD_HASH", hash.as_str()),
        ("META_CRON_SECRET", CRON_SECRET),
    ];
    let mut house = House::with(&settings).await?;
    let (browser, program) = (house.browser()?, house.browser()?);
    browser.post("/login", &[("password", MISTYPED)]).await?.shows(401, &[])?;
    browser.post("/login", &[("password", PASSWORD)]).await?.location()?;
    let session = browser.cookies().get(SESSION).context("the login begins a session")?.clone();
    let (token, said_by_command) = use_token_and_cron_secret(&house, &program).await?;
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

    let csrf = browser.csrf().await?;
    let (_, key) = KEYS.split_once(':').context("a key has a name")?;
    let mut secrets: Vec<String> =
        [PASTED, "EAABwrong/canary", APP_SECRET, PASSWORD, MISTYPED, &hash, CRON_SECRET, KEYS, key, &token]
            .map(str::to_owned)
            .into();
    secrets.push(password(&house.database.url)?);
    secrets
        .extend(house.graph.edit(|world| world.tokens.keys().chain(world.codes.keys()).cloned().collect::<Vec<_>>()));
    let exchanged = house.graph.requests();
    let proofs: BTreeSet<_> =
        exchanged.iter().filter_map(|request| request.parameter("appsecret_proof").map(str::to_owned)).collect();
    ensure!(!proofs.is_empty(), "the proof went along with a token of the app's own");
    secrets.extend(proofs);
    secrets.extend(exchanged.iter().filter_map(|request| request.parameter("code_verifier").map(str::to_owned)));
    ensure!(secrets.len() > 20, "{} secrets are looked for", secrets.len());
    house.web.end().await?;

    let (said, states) = (needles(&secrets), needles(&states));
    let (session, csrf) = (needles(&[session]), needles(&[csrf]));
    let answers = [browser.saw(), program.saw()].concat();
    // The session's id goes to its browser, in the one header that sets the cookie.
    let (set, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.contains(&session[0]));
    ensure!(set.len() == 1, "{} answers have the session's id", set.len());
    let without = set[0].replacen(&format!("\"set-cookie\": \"{SESSION}={};", session[0]), "", 1);
    for answer in others.into_iter().chain([&without]) {
        check("an answer", answer, &session)?;
    }
    for answer in &answers {
        check("an answer", answer, &said)?;
        // The state goes to Meta, in the one address that leads there.
        if !answer.contains("/dialog/oauth?") {
            check("an answer", answer, &states)?;
        }
    }
    let log = house.web.log();
    ensure!(log.contains("TRACE") && log.lines().count() > 400, "{} lines were logged", log.lines().count());
    for needles in [&said, &states, &session, &csrf] {
        check("the log", &log, needles)?;
    }
    // The command's own answer is where its token is, and nothing else of it.
    check("what a command logs", &said_by_command, &said)?;
    let spans = collector.bodies();
    ensure!(!spans.is_empty(), "there are traces");
    for body in spans {
        for needles in [&said, &states, &session, &csrf] {
            check("a trace", &String::from_utf8_lossy(&body), needles)?;
        }
    }
    let pool = &house.database.pool;
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public'").fetch_all(pool).await?;
    let mut rows = 0;
    for table in tables {
        let query = format!("select t::text from {table} t");
        for row in sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query)).fetch_all(pool).await? {
            rows += 1;
            for needles in [&said, &states, &session] {
                check(&format!("table {table}"), &row, needles)?;
            }
        }
    }
    ensure!(rows > 8 && house.drafts().await? == 1, "{rows} rows were looked through");
    assert_eq!(house.count("select count(*) from oauth_trips").await?, 1);
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("select token_sha256 from api_tokens where last_used_at is not null")
        .fetch_all(pool)
        .await?;
    assert_eq!(kept, [accounts::secret_sha256(&token.into())], "of an API token its hash is kept");
    let in_urls = house.graph.requests().into_iter().filter(|request| request.token_in_url).count();
    ensure!(in_urls == 0, "{in_urls} requests had a secret in their URL");
    Ok(())
}

/// What a program brings along instead of a cookie: the API token that a command makes, and the scheduler's secret,
/// each good and bad. Returns the token, and what the command logged.
async fn use_token_and_cron_secret(house: &House, program: &Browser) -> Result<(String, String)> {
    let account = house.account_id.to_string();
    let made = house.done(&["token", "create", "--account", &account, "--name", "canary"]).await?;
    let token = made.stdout.trim().to_owned();
    for (bearer, status) in [(token.clone(), 200), (format!("{token}x"), 401)] {
        let bearer = format!("Bearer {bearer}");
        program.get_with("/api/sync-runs", &[("authorization", &bearer)]).await?.shows(status, &[])?;
    }
    for (bearer, status) in [(CRON_SECRET.to_owned(), 202), (format!("{CRON_SECRET}x"), 401)] {
        let bearer = format!("Bearer {bearer}");
        program.post_with("/api/scheduler/meta", &[("authorization", &bearer)], &[]).await?.shows(status, &[])?;
    }
    Ok((token, made.stderr))
}

/// The password of a server's URL.
fn password(url: &str) -> Result<String> {
    Ok(reqwest::Url::parse(url)?.password().context("the server asks for a password")?.to_owned())
}

/// Each secret as it is, escaped for a URL, for JSON and for HTML, as the hex that `bytea` is shown in, and as the list
/// of numbers that bytes are shown as.
fn needles(secrets: &[String]) -> Vec<String> {
    let percent = |text: &str| text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D").replace('|', "%7C");
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let numbers = |text: &str| format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned();
    let of =
        |secret: &String| [secret.clone(), percent(secret), secret.replace('/', "\\/"), hex(secret), numbers(secret)];
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
