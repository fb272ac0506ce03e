//! What the schedule asks for by itself, and how often.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use insights::{Clock, Scheduler};
use sqlx::PgPool;
use testkit::{Tenant, database, wait};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// The runs there are, as `job trigger status`, in the order in which they were asked for.
async fn runs(pool: &PgPool) -> Result<Vec<String>> {
    let rows = sqlx::query_scalar(
        "select concat_ws(' ', job_type, trigger, status) from sync_runs order by requested_at, job_type",
    );
    Ok(rows.fetch_all(pool).await?)
}

/// Two schedulers look at the tenants at that moment, until `count` runs are there and a leader has looked once more.
async fn look(pool: &PgPool, now: &str, fresh_every: Option<Duration>, count: usize) -> Result<Vec<String>> {
    let now: DateTime<Utc> = now.parse()?;
    let scheduler = Scheduler { pool: pool.clone(), clock: Clock::Fixed(now), stub_only: false, fresh_every };
    let cancel = CancellationToken::new();
    let both = [scheduler.clone(), scheduler].map(|scheduler| {
        let cancel = cancel.clone();
        tokio::spawn(async move { scheduler.run(&cancel).await })
    });
    wait::until("the runs are there", DEADLINE, async || Ok(runs(pool).await?.len() >= count)).await?;
    // A leader that resigns has finished its look; a further one is made by a scheduler of its own.
    cancel.cancel();
    for task in both {
        task.await?;
    }
    runs(pool).await
}

async fn finish_all(pool: &PgPool) -> Result<()> {
    sqlx::query("update sync_runs set status = 'succeeded' where status = 'queued'").execute(pool).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_days_are_asked_for_after_midnight_and_every_so_often_where_that_is_wanted() -> Result<()> {
    let db = database().await?;
    let pool = &db.pool;
    Tenant::insert(pool).await?;
    sqlx::query("update integrations set connected_at = '2026-05-01'").execute(pool).await?;
    sqlx::query("update ad_accounts set timezone_name = 'America/New_York'").execute(pool).await?;
    let (settle, fresh) = ("meta_settle schedule succeeded", "meta_fresh schedule succeeded");

    assert_eq!(
        look(pool, "2026-05-11T12:00:00Z", None, 1).await?,
        ["meta_settle schedule queued"],
        "nobody asked for more"
    );
    finish_all(pool).await?;
    let first = look(pool, "2026-05-11T12:00:00Z", Some(HOUR), 2).await?;
    assert_eq!(first, [settle, "meta_fresh schedule queued"]);
    finish_all(pool).await?;
    // 03:59 UTC is still the 11th in New York; 04:01 is not, and the hour is not over.
    assert_eq!(look(pool, "2026-05-12T03:59:00Z", Some(HOUR), 2).await?, [settle, fresh]);
    let midnight = look(pool, "2026-05-12T04:01:00Z", Some(HOUR), 4).await?;
    assert_eq!(midnight.iter().filter(|run| run.as_str() == "meta_fresh schedule queued").count(), 1, "{midnight:?}");
    finish_all(pool).await?;
    assert_eq!(look(pool, "2026-05-12T04:30:00Z", Some(HOUR), 4).await?.len(), 4, "the hour is not over");
    sqlx::query("update sync_runs set requested_at = requested_at - interval '61 minutes'").execute(pool).await?;
    assert_eq!(look(pool, "2026-05-12T05:02:00Z", Some(HOUR), 5).await?.len(), 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_for_what_is_not_connected_or_was_connected_just_now() -> Result<()> {
    let db = database().await?;
    let pool = &db.pool;
    let (new, gone) = (Tenant::insert(pool).await?, Tenant::insert(pool).await?);
    sqlx::query("update integrations set status = 'disconnected', connected_at = '2026-05-01' where id = $1")
        .bind(gone.integration_id)
        .execute(pool)
        .await?;
    sqlx::query("update integrations set connected_at = '2026-05-11T11:30:00Z' where id = $1")
        .bind(new.integration_id)
        .execute(pool)
        .await?;
    let half_an_hour_later = look(pool, "2026-05-11T12:00:00Z", Some(HOUR), 1).await?;
    assert_eq!(half_an_hour_later, ["meta_settle schedule queued"], "the fill brings the fresh days");
    assert_eq!(look(pool, "2026-05-11T12:31:00Z", Some(HOUR), 2).await?.len(), 2);
    Ok(())
}

/// A token that somebody brought and left is gone when its time is over, also where nobody visits any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_visitors_left_is_forgotten() -> Result<()> {
    let db = database().await?;
    let pool = &db.pool;
    let tenant = Tenant::insert(pool).await?;
    sqlx::query("insert into web_sessions (id_sha256, csrf_token, expires_at) values (sha256('a'), '', now() + interval '1 hour')")
        .execute(pool)
        .await?;
    for minutes in [10, 31] {
        sqlx::query(
            "insert into connect_drafts (account_id, session_sha256, id, kid, nonce, ciphertext, created_at)
             values ($1, sha256('a'), gen_random_uuid(), 'k', '', '', now() - make_interval(mins => $2))
             on conflict (account_id, session_sha256) do update set created_at = excluded.created_at",
        )
        .bind(tenant.account_id)
        .bind(minutes)
        .execute(pool)
        .await?;
        sqlx::query("delete from sync_runs").execute(pool).await?;
        sqlx::query("delete from daily_jobs").execute(pool).await?;
        look(pool, "2026-05-11T12:00:00Z", None, 1).await?;
        let left: i64 = sqlx::query_scalar("select count(*) from connect_drafts").fetch_one(pool).await?;
        assert_eq!(left, i64::from(minutes == 10), "after {minutes} minutes");
    }
    Ok(())
}
