//! Bad input ends in one sentence that names the thing, the value and what to do; and nothing is half-written.

use anyhow::{Result, ensure};

use crate::shop::{AD_ACCOUNT, Ran, Shop, TOKEN, adledger, run};

/// One line, of this exit code, with these words.
fn check(ran: &Ran, code: i32, words: &str) -> Result<()> {
    ensure!(ran.code == code, "exit code {code} was expected: {ran:?}");
    ensure!(ran.stderr.contains(words), "{words:?} was expected: {ran:?}");
    // Beside a check list, which has a line a check.
    let is_check = |line: &&str| ["passed ", "failed ", "not asked "].iter().any(|state| line.starts_with(state));
    let lines = ran.stderr.trim().lines().filter(|line| !is_check(line)).count();
    ensure!(lines == 1 || code == 2 && ran.stderr.contains("--help"), "one sentence was expected: {ran:?}");
    ensure!(!ran.stderr.contains(TOKEN) && !ran.stderr.contains("panicked"), "{ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_named() -> Result<()> {
    for (name, value, words) in [
        ("LOG_FORMAT", "xml", "LOG_FORMAT is \"xml\": write pretty or json"),
        ("RUST_LOG", "=nonsense=", "RUST_LOG is \"=nonsense=\""),
        ("DATABASE_URL", "mysql://user:secret@host/x", "DATABASE_URL is no postgres URL"),
        ("NATS_URL", "http://host", "NATS_URL is no nats URL"),
        ("NATS_CREDS", "/nowhere/x.creds", "NATS_CREDS names \"/nowhere/x.creds\""),
        ("NATS_REPLICAS", "9", "NATS_REPLICAS is \"9\": write a whole number from 1 to 5"),
        ("ADLEDGER_LOG_MAX_BYTES", "1GB", "ADLEDGER_LOG_MAX_BYTES is \"1GB\""),
        ("ADLEDGER_WAREHOUSE_MAX_AGE_DAYS", "month", "ADLEDGER_WAREHOUSE_MAX_AGE_DAYS is \"month\""),
        ("META_MAX_BACKOFF_SECONDS", "0", "META_MAX_BACKOFF_SECONDS is \"0\""),
        ("META_EFFECTIVE_STATUS", "ACTIVE,RUNNING", "META_EFFECTIVE_STATUS holds \"RUNNING\""),
        ("META_ATTRIBUTION_WINDOWS", "7_days", "META_ATTRIBUTION_WINDOWS holds \"7_days\""),
        ("META_STUB_MODE", "maybe", "META_STUB_MODE is \"maybe\": write true or false"),
        ("ADLEDGER_STUB_NOW", "tomorrow", "ADLEDGER_STUB_NOW is \"tomorrow\""),
        ("ADLEDGER_STUB_NOW", "2026-12-01T12:00:00Z", "set META_STUB_MODE=1 too"),
    ] {
        let mut command = adledger(&["status"]);
        command.env(name, value);
        check(&run(command, None).await?, 2, words)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_do_not_answer_are_named_without_their_passwords() -> Result<()> {
    let shop = Shop::open().await?;
    for (name, value, words) in [
        (
            "DATABASE_URL",
            "postgres://u:hunter2@127.0.0.1:1/x",
            "cannot connect to PostgreSQL at 127.0.0.1:1, database \"x\"",
        ),
        ("NATS_URL", "nats://u:hunter2@127.0.0.1:1", "cannot connect to NATS at nats://127.0.0.1:1"),
    ] {
        let mut command = shop.command(&["replay", "--since", "2026-03-01", "--until", "2026-03-01"]);
        command.env(name, value);
        let ran = run(command, None).await?;
        check(&ran, 1, words)?;
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
    let mut command = shop.command(&["status"]);
    command.env("NATS_URL", "nats://u:hunter2@127.0.0.1:1");
    let ran = run(command, None).await?;
    assert!(ran.stdout.contains("cannot connect to NATS at nats://127.0.0.1:1"), "the tables are shown: {ran:?}");
    assert!(ran.code == 0 && !ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{ran:?}");
    let empty = testkit::nats_without_streams().await?;
    let mut command = shop.command(&["replay", "--since", "2026-03-01", "--until", "2026-03-01"]);
    command.env("NATS_URL", &empty.url);
    check(&run(command, None).await?, 1, "run `adledger streams apply`")?;
    sqlx::raw_sql("create database empty").execute(&shop.database.pool).await?;
    let (server, _) = shop.database.url.rsplit_once('/').unwrap_or_default();
    let mut command = shop.command(&["status"]);
    command.env("DATABASE_URL", format!("{server}/empty"));
    check(&run(command, None).await?, 1, "run `adledger migrate`")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_arguments_are_named_and_write_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let unknown = "00000000-0000-7000-8000-000000000000";
    let account = shop.account_id.to_string();
    let integration = shop.integration_id.to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["account", "create", "--name", " ", "--currency", "EUR", "--timezone", "UTC"], 2, "the name is empty"),
        (
            &["account", "create", "--name", "x", "--currency", "euro", "--timezone", "UTC"],
            2,
            "\"euro\" is no currency code",
        ),
        (
            &["account", "create", "--name", "x", "--currency", "EUR", "--timezone", "Berlin"],
            2,
            "\"Berlin\" is no time zone",
        ),
        (&["connect", "--account", "7", "--ad-account", AD_ACCOUNT], 2, "'7'"),
        (
            &["connect", "--account", unknown, "--ad-account", AD_ACCOUNT],
            1,
            "account 00000000-0000-7000-8000-000000000000 does not exist",
        ),
        (&["connect", "--account", &account, "--ad-account", "1234"], 2, "\"1234\" is not the id of a Meta ad account"),
        (&["connect", "--account", &account, "--ad-account", "act_99"], 1, "act_99"),
        (
            &["sync", "--integration", unknown, "--job", "meta_fresh"],
            1,
            "integration 00000000-0000-7000-8000-000000000000 does not exist",
        ),
        (&["sync", "--integration", &integration, "--job", "meta_daily"], 2, "meta_daily"),
        (
            &["backfill", "--integration", &integration, "--since", "2026-02-30", "--until", "2026-03-01"],
            2,
            "2026-02-30",
        ),
        (
            &["backfill", "--integration", &integration, "--since", "2001-01-01", "--until", "2001-01-02"],
            2,
            "2001-01-01 is too long ago",
        ),
        (
            &["backfill", "--integration", &integration, "--since", "2026-01-01", "--until", "2999-01-02"],
            2,
            "2999-01-02 is not over",
        ),
        (
            &["replay", "--since", "2026-03-02", "--until", "2026-03-01"],
            2,
            "--since 2026-03-02 is after --until 2026-03-01",
        ),
        (&["replay", "--since", "2026-03-01", "--until", "2026-03-01", "--account", unknown], 1, "does not exist"),
        (
            &["replay", "--since", "2026-03-01", "--until", "2026-03-01", "--ad-account", "act_9"],
            1,
            "\"act_9\" is not connected",
        ),
        (&["serve", "--role", "dance"], 2, "dance"),
    ];
    let before = rows(&shop).await?;
    for (arguments, code, words) in cases {
        let ran = run(shop.command(arguments), Some(TOKEN)).await?;
        check(&ran, *code, words).map_err(|error| error.context(format!("{arguments:?}")))?;
    }
    assert_eq!(rows(&shop).await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_keys_and_currencies_that_do_not_fit_connect_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let before = rows(&shop).await?;
    let account = shop.account_id.to_string();
    let connect = ["connect", "--account", &account, "--ad-account", AD_ACCOUNT, "--token-stdin"];
    for (token, code, words) in [
        ("", 2, "no token came on standard input"),
        ("two words", 2, "is no token (it holds a space"),
        ("EAABwrong", 1, "Meta refuses the access token"),
    ] {
        check(&run(shop.command(&connect), Some(token)).await?, code, words)?;
    }
    for (keys, words) in [("", "ADLEDGER_SECRET_KEYS is not set"), ("k1:short", "is not base64 of 32 bytes")] {
        let mut command = shop.command(&connect);
        command.env("ADLEDGER_SECRET_KEYS", keys);
        check(&run(command, Some(TOKEN)).await?, 2, words)?;
    }
    for (base_url, words) in [
        ("http://graph.example.com", "plain http would show the token"),
        ("https://graph.example.com", "META_API_UNSAFE_BASE_URL=1"),
        ("not a url", "META_API_BASE_URL is \"not a url\""),
    ] {
        let mut command = shop.command(&connect);
        command.env("META_API_BASE_URL", base_url);
        check(&run(command, Some(TOKEN)).await?, 2, words)?;
    }
    let dollars = shop.done(&["account", "create", "--name", "US", "--currency", "USD", "--timezone", "UTC"]).await?;
    let dollars = dollars.stdout.trim().to_owned();
    let ran = run(shop.command(&["connect", "--account", &dollars, "--ad-account", AD_ACCOUNT]), Some(TOKEN)).await?;
    check(&ran, 1, "is in EUR, and the tenant US in USD")?;
    sqlx::query("delete from accounts where name = 'US'").execute(&shop.database.pool).await?;
    assert_eq!(rows(&shop).await?, before);
    Ok(())
}

/// How many rows the tables of tenants and of work have.
async fn rows(shop: &Shop) -> Result<i64> {
    let count = sqlx::query_scalar(
        "select (select count(*) from accounts) + (select count(*) from ad_accounts) + (select count(*) from integrations)
              + (select count(*) from integration_secrets) + (select count(*) from sync_runs)",
    );
    Ok(count.fetch_one(&shop.database.pool).await?)
}
