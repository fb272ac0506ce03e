//! Runs under a lease, on a real PostgreSQL: who may write, who comes first, and what a day's state says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{NaiveDate, Utc};
use runs::{Ending, JobType, Lease, LeaseError, PublishedDay, Throttled, WaitReason, Window};
use sqlx::PgPool;
use testkit::Tenant;
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);

fn day(n: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, n).unwrap_or_default()
}

fn window(since: u32, until: u32) -> Window {
    Window { since: day(since), until: day(until) }
}

async fn claimed(pool: &PgPool, duration: Duration) -> Result<Lease> {
    runs::claim(pool, duration, None, false).await?.context("there is a run to claim")
}

async fn asked(pool: &PgPool, tenant: &Tenant, job: JobType, window: Option<Window>) -> Result<Uuid> {
    Ok(runs::enqueue(pool, tenant.integration_id, job, "test", window).await?.run_id)
}

#[expect(clippy::disallowed_methods, reason = "a test: the instant plays no part")]
fn published(date: NaiveDate) -> PublishedDay {
    PublishedDay { date, event_id: Uuid::new_v4(), fetched_at: Utc::now(), rows: 1 }
}

async fn run_of(pool: &PgPool, id: Uuid) -> Result<runs::Run> {
    runs::run(pool, id).await?.context("the run is there")
}

async fn bells(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("select count(*) from outbox where subject like 'meta.sync.%'").fetch_one(pool).await?)
}

/// The lease is out, as if its time had passed.
async fn expire(pool: &PgPool) -> Result<()> {
    sqlx::query("update sync_runs set lease_until = now() - interval '1 second' where status = 'running'")
        .execute(pool)
        .await?;
    Ok(())
}

#[tokio::test]
async fn who_slept_past_the_lease_changes_nothing() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let run_id = asked(&pool, &tenant, JobType::Backfill, Some(window(1, 3))).await?;
    let days = [day(1), day(2), day(3)];
    let sleeper = claimed(&pool, MINUTE).await?;
    assert_eq!(sleeper.plan(&pool, window(1, 3), &days).await?, days);
    sleeper.days_published(&pool, &[published(day(1))]).await?;
    expire(&pool).await?;
    let successor = claimed(&pool, MINUTE).await?;
    assert_eq!((successor.run_id, successor.attempts, successor.takeovers), (run_id, 2, 1));
    let before: Vec<String> = rows(&pool).await?;

    let gone =
        |outcome: Result<(), LeaseError>| matches!(outcome, Err(LeaseError::Lost { run_id: lost }) if lost == run_id);
    ensure!(gone(sleeper.keep(&pool).await), "keep");
    ensure!(gone(sleeper.plan(&pool, window(1, 3), &days).await.map(drop)), "plan");
    ensure!(gone(sleeper.days_published(&pool, &[published(day(2))]).await), "days_published");
    ensure!(gone(sleeper.day_failed(&pool, day(2), "no").await), "day_failed");
    let throttled = Throttled { count: 1, wait_ms: 1, until: None };
    ensure!(gone(sleeper.throttled(&pool, &throttled).await), "throttled");
    ensure!(gone(sleeper.wait(&pool, WaitReason::LogFull, MINUTE, "no").await), "wait");
    ensure!(gone(sleeper.give_back(&pool).await), "give_back");
    ensure!(gone(sleeper.give_way(&pool).await), "give_way");
    ensure!(gone(sleeper.finish(&pool, Some(window(1, 3)), &Ending::Through).await), "finish");
    assert_eq!(rows(&pool).await?, before);

    // The successor goes on behind the day that was written down, and a day brought makes the deaths before it
    // forgotten.
    assert_eq!(successor.plan(&pool, window(1, 3), &days).await?, days[1..]);
    successor.days_published(&pool, &[published(day(2))]).await?;
    expire(&pool).await?;
    let third = claimed(&pool, MINUTE).await?;
    assert_eq!(third.takeovers, 1);
    assert_eq!(third.plan(&pool, window(1, 3), &days).await?, days[2..]);
    third.days_published(&pool, &[published(day(3))]).await?;
    third.finish(&pool, Some(window(1, 3)), &Ending::Through).await?;
    let run = run_of(&pool, run_id).await?;
    assert_eq!((run.status.as_str(), run.days_done, run.days_total), ("succeeded", 3, 3));
    assert_eq!(
        runs::sync_cursor(&pool, tenant.account_id, tenant.integration_id).await?,
        None,
        "a backfill moves none"
    );
    Ok(())
}

async fn rows(pool: &PgPool) -> Result<Vec<String>> {
    let query = "select r::text from sync_runs r union all select d::text from sync_days d union all select event_id::text from outbox";
    Ok(sqlx::query_scalar(query).fetch_all(pool).await?)
}

#[tokio::test]
async fn what_is_urgent_comes_first_and_a_backfill_gives_way() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let (one, two) = (Tenant::insert(&pool).await?, Tenant::insert(&pool).await?);
    let backfill = asked(&pool, &one, JobType::Backfill, Some(window(1, 20))).await?;
    let other = asked(&pool, &two, JobType::Backfill, Some(window(1, 20))).await?;
    let lease = claimed(&pool, MINUTE).await?;
    assert_eq!(lease.run_id, backfill);
    let settle = asked(&pool, &one, JobType::Settle, None).await?;
    let fresh = asked(&pool, &one, JobType::Fresh, None).await?;
    let fill = asked(&pool, &one, JobType::SevenDayFill, None).await?;
    // One worker an ad account: the others of the same one wait, the other ad account's does not.
    let lease_of_other = claimed(&pool, MINUTE).await?;
    assert_eq!(lease_of_other.run_id, other);
    ensure!(runs::claim(&pool, MINUTE, None, false).await?.is_none(), "both ad accounts are worked on");

    let before = bells(&pool).await?;
    lease.give_way(&pool).await?;
    assert_eq!(bells(&pool).await?, before + 1, "whoever idles hears that there is work");
    for wanted in [fill, fresh, settle, backfill] {
        let lease = claimed(&pool, MINUTE).await?;
        assert_eq!((lease.run_id, lease.attempts), (wanted, 1), "giving way is no attempt");
        lease.finish(&pool, None, &Ending::Through).await?;
    }
    // Two backfills take turns.
    let backfill = asked(&pool, &one, JobType::Backfill, Some(window(1, 20))).await?;
    lease_of_other.give_way(&pool).await?;
    assert_eq!(claimed(&pool, MINUTE).await?.run_id, backfill);
    assert_eq!(claimed(&pool, MINUTE).await?.run_id, other);
    Ok(())
}

#[tokio::test]
async fn a_day_that_failed_is_not_tried_again_by_its_own_run() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let run_id = asked(&pool, &tenant, JobType::Backfill, Some(window(1, 4))).await?;
    let days = [day(1), day(2), day(3), day(4)];
    let lease = claimed(&pool, MINUTE).await?;
    lease.plan(&pool, window(1, 4), &days).await?;
    lease.day_failed(&pool, day(1), "Meta refuses it").await?;
    lease.days_published(&pool, &[published(day(2))]).await?;
    lease.give_way(&pool).await?;
    // Meanwhile somebody else brings the third.
    asked(&pool, &tenant, JobType::Fresh, None).await?;
    let fresh = claimed(&pool, MINUTE).await?;
    assert_eq!(fresh.plan(&pool, window(3, 3), &[day(3)]).await?, [day(3)]);
    fresh.days_published(&pool, &[published(day(3))]).await?;
    fresh.finish(&pool, Some(window(3, 3)), &Ending::Through).await?;
    assert_eq!(runs::sync_cursor(&pool, tenant.account_id, tenant.integration_id).await?, Some(day(3)));

    let lease = claimed(&pool, MINUTE).await?;
    assert_eq!(lease.plan(&pool, window(1, 4), &days).await?, [day(4)]);
    lease.days_published(&pool, &[published(day(4))]).await?;
    lease.finish(&pool, Some(window(1, 4)), &Ending::Through).await?;
    let run = run_of(&pool, run_id).await?;
    assert_eq!((run.status.as_str(), run.days_done, run.days_total), ("partial", 3, 4));
    assert_eq!(run.error_message.as_deref(), Some("Meta refuses it"));
    assert_eq!(runs::days_owed(&pool, tenant.account_id, tenant.integration_id).await?, [day(1)]);
    Ok(())
}

#[tokio::test]
async fn a_wait_is_over_when_its_time_has_come() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let run_id = asked(&pool, &tenant, JobType::Fresh, None).await?;
    claimed(&pool, MINUTE).await?.wait(&pool, WaitReason::LogFull, MINUTE, "the log is full").await?;
    ensure!(runs::claim(&pool, MINUTE, None, false).await?.is_none(), "not before its time");
    let again = runs::enqueue(&pool, tenant.integration_id, JobType::Fresh, "test", None).await?;
    assert_eq!((again.run_id, again.already), (run_id, true), "a run that waits is the one");
    sqlx::query("update sync_runs set not_before = now()").execute(&pool).await?;
    assert_eq!(claimed(&pool, MINUTE).await?.attempts, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_make_one_run_of_a_job_of_a_day_and_of_an_event() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let (account_id, id) = (tenant.account_id, tenant.integration_id);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..12 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let event = runs::FillEvent { source: "test", id: "one" };
            match n % 3 {
                0 => runs::enqueue(&pool, id, JobType::Fresh, "test", None).await.map(|run| !run.already),
                1 => runs::enqueue_daily(&pool, account_id, id, JobType::Settle, day(5)).await.map(|run| run.is_some()),
                _ => runs::enqueue_fill(&pool, account_id, id, &event).await.map(|run| run.is_some()),
            }
        });
    }
    let made = tasks.join_all().await.into_iter().collect::<Result<Vec<bool>, _>>()?;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 3);
    let jobs: Vec<String> = sqlx::query_scalar("select job_type from sync_runs order by 1").fetch_all(&pool).await?;
    assert_eq!(jobs, ["meta_7d_fill", "meta_fresh", "meta_settle"]);
    assert_eq!(bells(&pool).await?, 3, "each rings once");

    // Once an event also when its fill is long done; and the next day has a settle run of its own.
    sqlx::query("update sync_runs set status = 'succeeded'").execute(&pool).await?;
    let event = runs::FillEvent { source: "test", id: "one" };
    assert_eq!(runs::enqueue_fill(&pool, account_id, id, &event).await?, None);
    ensure!(runs::enqueue_daily(&pool, account_id, id, JobType::Settle, day(4)).await?.is_none());
    ensure!(runs::enqueue_daily(&pool, account_id, id, JobType::Settle, day(6)).await?.is_some());
    let event = runs::FillEvent { source: "another program", id: "one" };
    ensure!(runs::enqueue_fill(&pool, account_id, id, &event).await?.is_some_and(|run| !run.already));
    assert_eq!(bells(&pool).await?, 5);
    Ok(())
}

#[tokio::test]
async fn one_leads_until_it_falls_silent() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    ensure!(runs::lead(&pool, "schedule", one, MINUTE).await?);
    ensure!(!runs::lead(&pool, "schedule", two, MINUTE).await?);
    ensure!(runs::lead(&pool, "schedule", one, MINUTE).await?, "it keeps what it has");
    sqlx::query("update leaders set lease_until = now()").execute(&pool).await?;
    ensure!(runs::lead(&pool, "schedule", two, MINUTE).await?);
    ensure!(!runs::lead(&pool, "schedule", one, MINUTE).await?);
    runs::resign(&pool, "schedule", one).await?;
    ensure!(!runs::lead(&pool, "schedule", one, MINUTE).await?, "who does not lead has nothing to give up");
    runs::resign(&pool, "schedule", two).await?;
    ensure!(runs::lead(&pool, "schedule", one, MINUTE).await?);
    Ok(())
}

#[tokio::test]
async fn room_in_the_log_is_for_the_more_urgent_first() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    for (job, window) in [(JobType::Backfill, Some(window(1, 3))), (JobType::Fresh, None)] {
        let run_id = asked(&pool, &tenant, job, window).await?;
        let lease = runs::claim(&pool, MINUTE, Some(run_id), false).await?.context("it is there")?;
        lease.wait(&pool, WaitReason::LogFull, MINUTE, "full").await?;
    }
    let due = async |job: &str, ago: &str| {
        sqlx::query("update sync_runs set not_before = now() + $2::interval where job_type = $1")
            .bind(job)
            .bind(ago)
            .execute(&pool)
            .await
    };
    due("meta_backfill", "-1 second").await?;
    ensure!(runs::claim(&pool, MINUTE, None, false).await?.is_none(), "the fresh run has not looked yet");
    due("meta_fresh", "-1 second").await?;
    assert_eq!(claimed(&pool, MINUTE).await?.job, JobType::Fresh);
    Ok(())
}
