//! A token never leaves its room: after a connect, syncs, failures and a parked event it is looked for everywhere.

use anyhow::{Context, Result, ensure};
use events::{headers, payload};
use jetstream::{DEAD_LETTERS, META_INSIGHTS};
use testkit::Collector;
use testkit::graph::{Endpoint, Failure};

use crate::shop::{AD_ACCOUNT, Ran, Shop, TOKEN, days_ago, run};

const APP_ID: &str = "424242424242";
const APP_SECRET: &str = "app-secret-of-the-canary";
const APP: [(&str, &str); 2] = [("META_APP_ID", APP_ID), ("META_APP_SECRET", APP_SECRET)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_sealed_and_nowhere_else() -> Result<()> {
    let shop = Shop::open().await?;
    let collector = Collector::start().await?;
    // It is a token of our own app, so that its proof goes along.
    shop.graph.edit(|world| {
        world.insert_app(APP_ID, APP_SECRET, &[]);
        world.token(TOKEN).app_id = Some(APP_ID.into());
    });
    let mut again = shop.command(&[
        "connect",
        "--account",
        &shop.account_id.to_string(),
        "--ad-account",
        AD_ACCOUNT,
        "--token-stdin",
    ]);
    again.envs(APP).env("RUST_LOG", "trace");
    let connected = run(again, Some(TOKEN)).await?;
    ensure!(connected.code == 0 && connected.stderr.contains("never expires"), "{}", end(&connected));
    let mut said = vec![connected];
    // The server quotes the token in each of these, too.
    shop.graph.fail(Failure::account_throttle(0).times(1).on(Endpoint::AdRows));
    shop.graph.fail(Failure::refusal(500, 2, None, "Oops, {token} broke").times(1).on(Endpoint::AccountRow));
    said.push(traced(&shop, &collector, &["--job", "meta_7d_fill"]).await?);
    shop.spoil(days_ago(1));
    let parked = traced(&shop, &collector, &["--job", "meta_fresh"]).await?;
    ensure!(parked.code == 1 && parked.stderr.contains("of the event: ad 1: spend"), "{}", end(&parked));
    said.push(parked);
    shop.mend();
    shop.graph.heal();
    shop.graph.fail(Failure::token_expired());
    let expired = traced(&shop, &collector, &["--job", "meta_fresh"]).await?;
    ensure!(expired.code == 1 && expired.stderr.contains("must connect again with a new token"), "{}", end(&expired));
    said.push(expired);
    for command in [["status"].as_slice(), &["runs"], &["doctor"], &["runs", "--json"]] {
        said.push(shop.run(command).await?);
    }

    let proofs: Vec<String> = shop
        .graph
        .requests()
        .iter()
        .filter_map(|request| request.parameter("appsecret_proof").map(str::to_owned))
        .collect();
    ensure!(proofs.len() > 10, "{} questions had the proof", proofs.len());
    let mut needles = needles();
    needles.extend([APP_SECRET.to_owned(), proofs[0].clone()]);
    for ran in &said {
        check("what a command said", &ran.stdout, &needles)?;
        check("what a command said", &ran.stderr, &needles)?;
    }
    for body in collector.bodies() {
        check("a trace", &String::from_utf8_lossy(&body), &needles)?;
    }
    let asked = collector.spans().into_iter().filter(|span| span.name == "ask_meta").count();
    ensure!(asked > 8, "{asked} spans of calls to Meta were looked through");
    check_tables(&shop, &needles).await?;
    let letters = check_stream(&shop, DEAD_LETTERS, "dead.>", &needles).await?;
    let events = check_stream(&shop, META_INSIGHTS, &events::subject::insights_filter(None, None), &needles).await?;
    ensure!(letters >= 1 && events >= 13, "{letters} dead letters and {events} events were looked through");
    let in_urls = shop.graph.requests().into_iter().filter(|request| request.token_in_url).count();
    ensure!(in_urls == 0, "{in_urls} requests had the token in their URL");
    opens_with_its_key(&shop).await
}

/// The last line of a long log.
fn end(ran: &Ran) -> &str {
    ran.stderr.trim().lines().last().unwrap_or_default()
}

/// A sync with every log line and every span there is.
async fn traced(shop: &Shop, collector: &Collector, job: &[&str]) -> Result<Ran> {
    let integration = shop.integration_id.to_string();
    let mut arguments = vec!["sync", "--integration", &integration, "--wait", "--deadline-seconds", "60"];
    arguments.extend(job);
    let mut command = shop.command(&arguments);
    command.envs(APP).env("RUST_LOG", "trace").env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    run(command, None).await
}

/// The token as it is, escaped for a URL or for JSON, and as the hex that `bytea` is shown in.
fn needles() -> Vec<String> {
    let hex = TOKEN.bytes().map(|b| format!("{b:02x}")).collect();
    let url = TOKEN.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    vec![TOKEN.into(), hex, url, TOKEN.replace('/', "\\/")]
}

fn check(place: &str, text: &str, needles: &[String]) -> Result<()> {
    for needle in needles {
        if let Some(at) = text.find(needle.as_str()) {
            let around = text[..at].rfind('\n').map_or(0, |line| line + 1);
            anyhow::bail!("the token is in {place}: …{}", &text[around..at]);
        }
    }
    Ok(())
}

async fn check_tables(shop: &Shop, needles: &[String]) -> Result<()> {
    let pool = &shop.database.pool;
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public'").fetch_all(pool).await?;
    ensure!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let query = format!("select t::text from {table} t");
        for row in sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query)).fetch_all(pool).await? {
            check(&format!("table {table}"), &row, needles)?;
        }
    }
    let payloads: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "select distinct r.codec, p.payload from meta_insights_raw r join meta_payloads p using (account_id, payload_sha256)",
    )
    .fetch_all(pool)
    .await?;
    for (codec, bytes) in payloads {
        let json = payload::decode(codec.parse()?, &bytes, 1 << 24)?;
        check("a decompressed payload", &String::from_utf8_lossy(&json), needles)?;
    }
    Ok(())
}

async fn check_stream(shop: &Shop, stream: &str, filter: &str, needles: &[String]) -> Result<u32> {
    let log = shop.nats.wire.log(stream).await?;
    let mut seen = 0;
    for (subject, _) in log.counts(filter).await? {
        let mut sequence = 1;
        while let Some(message) = log.next(&subject, sequence).await? {
            sequence = message.sequence + 1;
            seen += 1;
            for (name, value) in message.header_pairs() {
                check("a header", &format!("{name}: {value}"), needles)?;
            }
            check("a message", &String::from_utf8_lossy(&message.payload), needles)?;
            let codec =
                headers::extension(&message.attributes()?, headers::DATACODEC).unwrap_or_else(|| "plain".into());
            let json = payload::decode(codec.parse()?, &message.payload, 1 << 24)?;
            check("a decompressed message", &String::from_utf8_lossy(&json), needles)?;
        }
    }
    Ok(seen)
}

/// The search would find nothing in an empty house, so: the token is there, and its key opens it.
async fn opens_with_its_key(shop: &Shop) -> Result<()> {
    use secrecy::ExposeSecret;
    let pool = &shop.database.pool;
    let integration = accounts::integration(pool, shop.integration_id).await?.context("it is connected")?;
    let keys = accounts::KeyRing::parse(&crate::shop::KEYS.to_owned().into())?;
    let token = accounts::token(pool, &keys, &integration).await?.context("it has a token")??;
    ensure!(token.token.expose_secret() == TOKEN);
    Ok(())
}
