//! Whatever is wrong with a request, the answer is a problem that says so.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;

use crate::site::{Site, answer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_a_problem() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let web = site.serve(&[("META_CRON_SECRET", "s3cret")]).await?;
    let sync = format!("/api/integrations/{}/sync", member.tenant.integration_id);
    let (get, post) = (Method::GET, Method::POST);
    let large = format!("{{\"job_type\":\"{}\"}}", "x".repeat(70 << 10));
    let fresh = json!({"job_type": "meta_fresh"}).to_string();
    let json = Some("application/json");
    for (method, path, kind, body, status, said) in [
        // The body.
        (&post, sync.as_str(), json, "{", 400, "no JSON: EOF"),
        (&post, &sync, json, "", 400, "no JSON: EOF"),
        (&post, &sync, json, "{}", 422, "missing field `job_type`"),
        (&post, &sync, json, "[]", 422, "not what is asked for"),
        (&post, &sync, json, "{\"job_type\":\"meta_settle\"}", 422, "expected `meta_fresh` or `meta_7d_fill`"),
        (&post, &sync, json, "{\"job_type\":\"meta_fresh\",\"days\":3}", 422, "unknown field `days`"),
        (&post, &sync, Some("text/plain"), &fresh, 415, "application/json"),
        (&post, &sync, None, &fresh, 415, "application/json"),
        (&post, &sync, json, &large, 413, "larger than 65536 bytes"),
        // The path.
        (&post, "/api/integrations/17/sync", json, &fresh, 400, "\"17\" is no id: write a UUID"),
        (&post, "/api/integrations/%FF/sync", json, &fresh, 400, "write a UUID"),
        (&get, "/api/sync-runs/17", None, "", 400, "write a UUID"),
        (&get, "/api/sync-runs/17/events", None, "", 400, "write a UUID"),
        (&get, "/api/nothing", None, "", 404, "nothing at /api/nothing"),
        (&get, "/api", None, "", 404, "nothing at /api"),
        // The query.
        (&get, "/api/sync-runs?limit=0", None, "", 400, "from 1 to 200"),
        (&get, "/api/sync-runs?limit=201", None, "", 400, "from 1 to 200"),
        (&get, "/api/sync-runs?limit=many", None, "", 400, "invalid digit"),
        (&get, "/api/sync-runs?integration_id=17", None, "", 400, "query"),
        (&get, "/api/sync-runs?offset=3", None, "", 400, "unknown field `offset`"),
        (&get, "/api/daily-summary", None, "", 400, "missing field `since`"),
        (&get, "/api/daily-summary?since=2026-11-01&until=2026-11-31", None, "", 400, "out of range"),
        (&get, "/api/daily-summary?since=yesterday&until=2026-11-30", None, "", 400, "query"),
        (&get, "/api/daily-summary?since=2026-11-02&until=2026-11-01", None, "", 400, "give the earlier day first"),
        (&get, "/api/daily-summary?since=2023-01-01&until=2026-11-01", None, "", 400, "1100 at most"),
        // The method.
        (&get, &sync, None, "", 405, "takes no GET"),
        (&get, "/api/scheduler/meta", None, "", 405, "takes no GET"),
        (&post, "/api/daily-summary", json, "{}", 405, "takes no POST"),
        (&Method::DELETE, "/openapi.json", None, "", 405, "takes no DELETE"),
        // Forms, whose reader speaks in plain text.
        (&post, "/login", json, "{}", 415, "form"),
    ] {
        let mut request = web.request(method.clone(), path).bearer_auth(&member.token).body(body.to_owned());
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = answer(request).await?;
        let detail = answer.problem(status).with_context(|| format!("{method} {path} {body:.60}"))?;
        assert!(detail.contains(said), "{method} {path} {body:.60}: {detail}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    assert!(site.runs().await?.is_empty(), "nothing of this made a run");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_without_a_credential() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let web = site.serve(&[]).await?;
    let (run, integration) = (uuid::Uuid::nil(), member.tenant.integration_id);
    let calls = [
        (Method::GET, "/api/sync-runs".to_owned()),
        (Method::GET, format!("/api/sync-runs/{run}")),
        (Method::GET, format!("/api/sync-runs/{run}/events")),
        (Method::GET, "/api/daily-summary?since=2026-11-01&until=2026-11-02".to_owned()),
        (Method::POST, format!("/api/integrations/{integration}/sync")),
    ];
    for (method, path) in calls {
        for credential in ["", "Bearer", "Bearer adl_wrong", "Basic YTpi", &format!("Bearer {}x", member.token)] {
            let mut request = web.request(method.clone(), &path);
            if !credential.is_empty() {
                request = request.header("authorization", credential);
            }
            let answer = answer(request).await?;
            answer.problem(401).with_context(|| format!("{method} {path} {credential}"))?;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    Ok(())
}
