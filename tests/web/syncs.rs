//! Asking for a run: once, many times at once, and where it may not be.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_any_number_who_ask_at_once_one_makes_the_run() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let web = site.serve(&[]).await?;
    let answers = try_join_all((0..20).map(|_| web.sync(&member, "meta_fresh"))).await?;
    let (mut made, mut found) = (Vec::new(), Vec::new());
    for answer in &answers {
        let id = answer.run_id()?;
        match answer.status {
            202 => made.push((answer.json(202)?, id)),
            _ => found.push((answer.json(200)?, id)),
        }
    }
    assert_eq!((made.len(), found.len()), (1, 19));
    let id = made[0].1;
    assert_eq!(made[0].0, json!({"message": "Meta sync enqueued", "sync_run_id": id}));
    for (document, _) in found {
        assert_eq!(document, json!({"message": "Meta sync already running", "sync_run_id": id}));
    }
    // Another job is another run.
    let fill = web.sync(&member, "meta_7d_fill").await?;
    assert_eq!(fill.status, 202);
    let runs = site.runs().await?;
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| run.trigger == "api" && run.status == "queued"), "{runs:?}");

    let run = web.get(&member, &format!("/api/sync-runs/{id}")).await?.json(200)?;
    // All of the row, under its names.
    let row = runs.iter().find(|run| run.id == id).context("it is there")?;
    assert_eq!(run, serde_json::to_value(row)?);
    let path = format!("/api/sync-runs?integration_id={}&limit=1", member.tenant.integration_id);
    let list = web.get(&member, &path).await?.json(200)?;
    assert_eq!(list, json!({"sync_runs": [serde_json::to_value(&runs[0])?]}), "the newest first");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_connected_is_not_synced_and_says_why() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let web = site.serve(&[]).await?;
    for (status, reason, said) in [
        (
            "needs_reconnect",
            Some("Meta says that the token is over"),
            "needs_reconnect: Meta says that the token is over",
        ),
        ("blocked", Some("its currency is another one now"), "blocked: its currency is another one now"),
        ("disconnected", None, "disconnected: connect it again"),
    ] {
        sqlx::query("update integrations set status = $1, status_reason = $2")
            .bind(status)
            .bind(reason)
            .execute(&site.database.pool)
            .await?;
        let detail = web.sync(&member, "meta_fresh").await?.problem(409)?;
        assert!(detail.contains(said), "{detail}");
    }
    assert!(site.runs().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_jobs_are_off_or_nobody_answers_no_run_is_made() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let off = site.serve(&[("META_JOBS_ENABLED", "false")]).await?;
    for job in ["meta_fresh", "meta_7d_fill", "whatever"] {
        let detail = off.sync(&member, job).await?.problem(404)?;
        assert!(detail.contains("META_JOBS_ENABLED"), "{detail}");
    }
    // What was fetched can still be read.
    off.get(&member, "/api/sync-runs").await?.json(200)?;
    let stub = site.serve(&[("META_STUB_MODE", "1")]).await?;
    let detail = stub.sync(&member, "meta_fresh").await?.problem(409)?;
    assert!(detail.contains("META_STUB_MODE"), "{detail}");
    assert!(site.runs().await?.is_empty());
    Ok(())
}
