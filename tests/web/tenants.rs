//! Two tenants, two tokens: neither sees, asks for or is told anything of the other's.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;

use crate::site::{Site, Web, answer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_one_tenant() -> Result<()> {
    let site = Site::open().await?;
    let (one, other) = (site.member().await?, site.member().await?);
    let web = site.serve(&[]).await?;
    let theirs = web.sync(&other, "meta_fresh").await?.run_id()?;
    sqlx::query("insert into daily_summary (account_id, date, meta_spend) values ($1, '2026-11-01', 5)")
        .bind(other.tenant.account_id)
        .execute(&site.database.pool)
        .await?;
    let integration = other.tenant.integration_id;
    let range = "since=2026-11-01&until=2026-11-02";
    for path in [
        format!("/api/sync-runs/{theirs}"),
        format!("/api/sync-runs/{theirs}/events"),
        format!("/api/sync-runs?integration_id={integration}"),
        format!("/api/daily-summary?account_id={}&{range}", other.tenant.account_id),
    ] {
        let foreign = web.get(&one, &path).await?.problem(404).with_context(|| path.clone())?;
        // As if it were not there: also in the words.
        let nobody = uuid::Uuid::new_v4().to_string();
        let unknown = path.replace(&theirs.to_string(), &nobody).replace(&integration.to_string(), &nobody);
        let unknown = unknown.replace(&other.tenant.account_id.to_string(), &nobody);
        assert_eq!(web.get(&one, &unknown).await?.problem(404)?, foreign);
        if !path.ends_with("/events") {
            ensure!(web.get(&other, &path).await?.status == 200, "{path} is the other's own");
        }
    }
    let path = format!("/api/integrations/{integration}/sync");
    web.post(&one, &path, &json!({"job_type": "meta_fresh"})).await?.problem(404)?;
    assert_eq!(web.get(&one, "/api/sync-runs").await?.json(200)?["sync_runs"], json!([]));
    let summary = web.get(&one, &format!("/api/daily-summary?{range}")).await?.json(200)?;
    assert_eq!((&summary["rows"], &summary["account_id"]), (&json!([]), &json!(one.tenant.account_id)));
    assert_eq!(site.runs().await?.len(), 1);
    Ok(())
}

/// The cookie and the form token of a browser that has just come.
async fn browser(web: &Web) -> Result<(String, String)> {
    let page = answer(web.request(Method::GET, "/tenants").header("accept", "text/html")).await?;
    let cookie =
        page.header("set-cookie").context("a session begins")?.split(';').next().context("a cookie")?.to_owned();
    let (_, rest) = page.body.split_once("\"x-csrf-token\":\"").context("the page has the token")?;
    Ok((cookie, rest.split('"').next().context("it ends")?.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_asks_for_the_tenant_that_it_looks_at() -> Result<()> {
    let site = Site::open().await?;
    let (one, other) = (site.member().await?, site.member().await?);
    let web = site.serve(&[]).await?;
    let (cookie, csrf) = browser(&web).await?;
    let path = format!("/api/integrations/{}/sync", one.tenant.integration_id);
    let sync = |csrf: Option<&str>| {
        let request =
            web.request(Method::POST, &path).header("cookie", &cookie).json(&json!({"job_type": "meta_fresh"}));
        answer(match csrf {
            Some(csrf) => request.header("x-csrf-token", csrf),
            None => request,
        })
    };
    sync(None).await?.problem(403)?;
    sync(Some("wrong")).await?.problem(403)?;
    assert!(sync(Some(&csrf)).await?.problem(409)?.contains("choose a tenant"));
    for member in [&other, &one] {
        let form = [("csrf", csrf.clone()), ("account_id", member.tenant.account_id.to_string())];
        let choice = web.request(Method::POST, "/tenants/choose").header("cookie", &cookie).form(&form);
        ensure!(answer(choice).await?.status == 303);
        let status = sync(Some(&csrf)).await?.status;
        assert_eq!(status, if member.tenant.account_id == one.tenant.account_id { 202 } else { 404 });
    }
    let from_elsewhere = web.request(Method::POST, &path).header("cookie", &cookie).header("x-csrf-token", &csrf);
    let from_elsewhere =
        from_elsewhere.header("origin", "https://evil.example.com").json(&json!({"job_type": "meta_fresh"}));
    answer(from_elsewhere).await?.problem(403)?;
    let list = answer(web.request(Method::GET, "/api/sync-runs").header("cookie", &cookie)).await?.json(200)?;
    assert_eq!(list["sync_runs"].as_array().context("a list")?.len(), 1);
    Ok(())
}
