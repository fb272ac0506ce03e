//! The scheduler's call: who may make it, and what comes of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::{Site, answer};

const SECRET: (&str, &str) = ("META_CRON_SECRET", "s3cret");

/// Why each integration was skipped.
fn skipped(scheduled: &Value) -> Result<BTreeMap<String, String>> {
    let entries = scheduled["skipped"].as_array().context("a list")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    entries.iter().map(|entry| Ok((text(&entry["integration_id"])?, text(&entry["reason"])?))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_call_is_settled_before_anything_is_done() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let cron = ("CRON_SECRET", "of-cron");
    for (settings, secret, status) in [
        // Jobs that are off come first, whatever else is set or sent.
        (&[("META_JOBS_ENABLED", "false"), SECRET][..], "s3cret", 404),
        (&[("META_JOBS_ENABLED", "false"), SECRET], "wrong", 404),
        (&[("META_JOBS_ENABLED", "0")], "", 404),
        // Then a secret that is not there, which no guess can be right about.
        (&[], "s3cret", 503),
        (&[("META_CRON_SECRET", " ")], "", 503),
        (&[SECRET], "", 401),
        (&[SECRET], "s3cre", 401),
        (&[SECRET], "s3cretx", 401),
        (&[SECRET], &member.token, 401),
        // The one of Meta's goes before the general one.
        (&[SECRET, cron], "of-cron", 401),
        (&[cron], "s3cret", 401),
        (&[cron], "of-cron", 202),
        (&[SECRET, cron], "s3cret", 202),
    ] {
        let web = site.serve(settings).await?;
        let by_header = web.request(Method::POST, "/api/scheduler/meta").header("x-cron-secret", secret);
        let both =
            web.request(Method::POST, "/api/scheduler/meta").bearer_auth("wrong").header("x-cron-secret", secret);
        let requests = [web.request(Method::POST, "/api/scheduler/meta").bearer_auth(secret), by_header, both];
        for request in requests {
            let answer = answer(request).await?;
            if status == 202 {
                answer.json(202)?;
                continue;
            }
            answer.problem(status).with_context(|| format!("{settings:?} {secret}"))?;
            assert!(site.runs().await?.is_empty());
        }
    }
    let without = site.serve(&[SECRET]).await?;
    answer(without.request(Method::POST, "/api/scheduler/meta")).await?.problem(401)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_calls_to_two_processes_make_one_run() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let integration = member.tenant.integration_id;
    let (one, other) = (site.serve(&[SECRET]).await?, site.serve(&[SECRET]).await?);
    let answers = try_join_all((0..20).map(|i| if i % 2 == 0 { &one } else { &other }.schedule("s3cret"))).await?;
    let mut enqueued = Vec::new();
    for answer in answers {
        let scheduled = answer.json(202)?;
        assert_eq!(scheduled["failed"], json!([]));
        match scheduled["enqueued"].as_array().context("a list")?.as_slice() {
            [] => assert_eq!(skipped(&scheduled)?[&integration.to_string()], "already_running"),
            entries => enqueued.extend_from_slice(entries),
        }
    }
    let runs = site.runs().await?;
    ensure!(runs.len() == 1 && runs[0].trigger == "scheduler" && runs[0].job_type == "meta_fresh", "{runs:?}");
    assert_eq!(enqueued, [json!({"integration_id": integration, "sync_run_id": runs[0].id})]);

    // A run that is done holds the next one off for the cooldown, of an hour here.
    site.sql("update sync_runs set status = 'failed', finished_at = now()").await?;
    let calls = try_join_all((0..10).map(|i| if i % 2 == 0 { &one } else { &other }.schedule("s3cret"))).await?;
    for answer in calls {
        assert_eq!(skipped(&answer.json(202)?)?[&integration.to_string()], "cooldown");
    }
    site.sql("update sync_runs set requested_at = now() - interval '61 minutes'").await?;
    let again = other.schedule("s3cret").await?.json(202)?;
    assert_eq!(again["enqueued"].as_array().context("a list")?.len(), 1);
    assert_eq!(site.runs().await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gets_no_run_says_why_and_one_tenants_trouble_is_its_own() -> Result<()> {
    let site = Site::open().await?;
    let mut wanted = BTreeMap::new();
    for status in ["needs_reconnect", "blocked", "disconnected"] {
        let id = site.member().await?.tenant.integration_id;
        let update = sqlx::query("update integrations set status = $2 where id = $1").bind(id).bind(status);
        update.execute(&site.database.pool).await?;
        wanted.insert(id.to_string(), status.to_owned());
    }
    let troubled = site.member().await?.tenant;
    let fine = [site.member().await?.tenant, site.member().await?.tenant];
    let trouble = format!(
        "create function trouble() returns trigger language plpgsql as $$ begin raise exception 'a disk of its own'; end $$;
         create trigger trouble before insert on sync_runs for each row when (new.account_id = '{}')
         execute function trouble()",
        troubled.account_id
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trouble)).execute(&site.database.pool).await?;
    let web = site.serve(&[SECRET]).await?;
    let scheduled = web.schedule("s3cret").await?.json(202)?;
    assert_eq!(skipped(&scheduled)?, wanted);
    let enqueued: Vec<_> =
        scheduled["enqueued"].as_array().context("a list")?.iter().map(|e| &e["integration_id"]).collect();
    assert!(enqueued.len() == 2 && fine.iter().all(|tenant| enqueued.contains(&&json!(tenant.integration_id))));
    let failed = scheduled["failed"].as_array().context("a list")?;
    assert!(failed.len() == 1 && failed[0]["account_id"] == json!(troubled.account_id), "{scheduled}");
    assert!(!scheduled.to_string().contains("a disk of its own"), "what PostgreSQL says is for the log");

    // Where the stub answers, nobody answers for what is Meta's.
    sqlx::query("delete from sync_runs").execute(&site.database.pool).await?;
    site.sql("drop trigger trouble on sync_runs").await?;
    let of_stub: Uuid = fine[0].integration_id;
    sqlx::query("update integrations set source = 'stub' where id = $1")
        .bind(of_stub)
        .execute(&site.database.pool)
        .await?;
    let stub = site.serve(&[SECRET, ("META_STUB_MODE", "1")]).await?;
    let scheduled = stub.schedule("s3cret").await?.json(202)?;
    assert_eq!(scheduled["enqueued"][0]["integration_id"], json!(of_stub));
    let reasons = skipped(&scheduled)?;
    assert!(reasons.len() == 5 && reasons.values().all(|reason| reason == "stub_mode"), "{reasons:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_calls_too_often_waits() -> Result<()> {
    let site = Site::open().await?;
    let web = site.serve(&[SECRET]).await?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.extend(try_join_all((0..40).map(|_| web.schedule("guess"))).await?);
    }
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(answers.iter().filter(|answer| answer.status == 401).count() >= 60);
    assert!(limited.len() >= 10, "{} were limited", limited.len());
    for answer in limited {
        let detail = answer.problem(429)?;
        assert!(detail.contains("wait"), "{detail}");
        assert!(answer.header("retry-after").context("it says how long")?.parse::<u32>()? >= 1);
    }
    // The right secret has to wait like any other, and nothing else has to.
    web.schedule("s3cret").await?.problem(429)?;
    answer(web.request(Method::GET, "/openapi.json")).await?.json(200)?;
    Ok(())
}
