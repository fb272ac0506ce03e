//! Which days are owed, and which have come through, on a real PostgreSQL.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Days, NaiveDate, Utc};
use runs::{DaysFolded, Ending, JobType, Lease, PublishedDay, Window};
use sqlx::PgPool;
use testkit::Tenant;
use uuid::Uuid;

#[expect(clippy::disallowed_methods, reason = "what is owed depends on the age of a day")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn days_ago(days: u64) -> NaiveDate {
    now().date_naive() - Days::new(days)
}

/// A run of these days, planned and in hand.
async fn planned(pool: &PgPool, tenant: &Tenant, job: JobType, days: &[NaiveDate]) -> Result<Lease> {
    let window = Window { since: days[0], until: days[days.len() - 1] };
    runs::enqueue(pool, tenant.integration_id, job, "test", Some(window)).await?;
    let lease = runs::claim(pool, Duration::from_secs(60), None, false).await?.context("there is a run")?;
    lease.plan(pool, window, days).await?;
    Ok(lease)
}

async fn publish(pool: &PgPool, lease: &Lease, date: NaiveDate) -> Result<Uuid> {
    let event_id = Uuid::new_v4();
    lease.days_published(pool, &[PublishedDay { date, event_id, fetched_at: now(), rows: 1 }]).await?;
    Ok(event_id)
}

async fn append(pool: &PgPool, tenant: &Tenant, date: NaiveDate, event_id: Uuid) -> Result<()> {
    sqlx::query(
        "with bytes as (insert into meta_payloads values ($1, sha256('x'), 'x') on conflict do nothing)
         insert into meta_insights_raw (account_id, ad_account_id, date, event_id, fetched_at, stored_at, stream_incarnation,
             stream_sequence, codec, payload_sha256, headers)
         values ($1, $2, $3, $4, now(), now(), now(), 1, 'plain', sha256('x'), '{}')",
    )
    .bind(tenant.account_id)
    .bind(tenant.ad_account_id)
    .bind(date)
    .bind(event_id)
    .execute(pool)
    .await?;
    Ok(())
}

async fn fold(pool: &PgPool, tenant: &Tenant, date: NaiveDate, event_id: Uuid) -> Result<()> {
    sqlx::query(
        "insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
             projection_version)
         values ($1, $2, $3, $4, now(), 1, 1, sha256('x'), 1)",
    )
    .bind(tenant.account_id)
    .bind(tenant.ad_account_id)
    .bind(date)
    .bind(event_id)
    .execute(pool)
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_day_of_the_window_counts_whoever_fetched_it() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let days = [days_ago(4), days_ago(3), days_ago(2)];
    let backfill = planned(&pool, &tenant, JobType::Backfill, &days).await?;
    let first = publish(&pool, &backfill, days[0]).await?;
    backfill.give_way(&pool).await?;
    let fill = planned(&pool, &tenant, JobType::SevenDayFill, &days[1..]).await?;
    let (second, third) = (publish(&pool, &fill, days[1]).await?, publish(&pool, &fill, days[2]).await?);
    fill.finish(&pool, None, &Ending::Through).await?;
    let run = runs::run(&pool, backfill.run_id).await?.context("it is there")?;
    let folded = async || runs::days_folded(&pool, &run).await;
    assert_eq!(folded().await?, DaysFolded { published: 3, raw: 0, folded: 0 });
    append(&pool, &tenant, days[0], first).await?;
    assert_eq!(folded().await?, DaysFolded { published: 3, raw: 1, folded: 0 }, "it is in one log, and in no table");
    fold(&pool, &tenant, days[0], first).await?;
    fold(&pool, &tenant, days[1], second).await?;
    assert_eq!(folded().await?, DaysFolded { published: 3, raw: 1, folded: 1 }, "it is in the tables, and not in raw");
    append(&pool, &tenant, days[1], second).await?;
    append(&pool, &tenant, days[2], third).await?;
    fold(&pool, &tenant, days[2], third).await?;
    assert_eq!(folded().await?, DaysFolded { published: 3, raw: 3, folded: 3 });
    Ok(())
}

#[tokio::test]
async fn while_a_run_works_only_what_it_has_fetched_counts() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let days = [days_ago(3), days_ago(2)];
    let before = planned(&pool, &tenant, JobType::SevenDayFill, &days).await?;
    for day in days {
        let event_id = publish(&pool, &before, day).await?;
        append(&pool, &tenant, day, event_id).await?;
        fold(&pool, &tenant, day, event_id).await?;
    }
    before.finish(&pool, None, &Ending::Through).await?;
    let fresh = planned(&pool, &tenant, JobType::Fresh, &days).await?;
    let folded = async || {
        let run = runs::run(&pool, fresh.run_id).await?.context("it is there")?;
        anyhow::Ok(runs::days_folded(&pool, &run).await?)
    };
    assert_eq!(folded().await?, DaysFolded { published: 0, raw: 0, folded: 0 }, "not what was known before");
    let again = publish(&pool, &fresh, days[0]).await?;
    assert_eq!(folded().await?, DaysFolded { published: 1, raw: 0, folded: 0 });
    append(&pool, &tenant, days[0], again).await?;
    fold(&pool, &tenant, days[0], again).await?;
    assert_eq!(folded().await?, DaysFolded { published: 1, raw: 1, folded: 1 });
    Ok(())
}

#[tokio::test]
async fn a_published_day_that_is_not_folded_is_owed_after_a_while() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let days = [days_ago(41), days_ago(5), days_ago(4), days_ago(3), days_ago(2)];
    let lease = planned(&pool, &tenant, JobType::SevenDayFill, &days).await?;
    let owed = async || runs::days_owed(&pool, tenant.account_id, tenant.integration_id).await;
    assert_eq!(owed().await?, days, "a fill's days are everybody's");
    publish(&pool, &lease, days[0]).await?;
    publish(&pool, &lease, days[1]).await?;
    let folded = publish(&pool, &lease, days[2]).await?;
    fold(&pool, &tenant, days[2], folded).await?;
    lease.day_failed(&pool, days[3], "no").await?;
    lease.finish(&pool, None, &Ending::Through).await?;
    assert_eq!(owed().await?, [days[3], days[4]], "failed, and never published");
    sqlx::query("update sync_days set last_fetched_at = now() - interval '11 minutes' where state = 'published'")
        .execute(&pool)
        .await?;
    assert_eq!(owed().await?, [days[1], days[3], days[4]], "what Meta restates no more is not fetched for ever");
    assert_eq!(runs::unfolded_days(&pool, 5).await?.len(), 2, "but somebody should look");
    let figures = runs::figures(&mut *pool.acquire().await?).await?;
    assert_eq!((figures.days_owed, figures.days_failed), (3, 1));
    Ok(())
}

/// While nothing could be fetched, days were missed that are older than the window of the run that comes next.
#[tokio::test]
async fn the_cursor_passes_no_day_that_was_missed_before_a_window() -> Result<()> {
    let pool = testkit::database().await?.pool;
    let tenant = Tenant::insert(&pool).await?;
    let cursor = async || runs::sync_cursor(&pool, tenant.account_id, tenant.integration_id).await;
    let run = async |job, since, until| {
        let days: Vec<NaiveDate> = (until..=since).rev().map(days_ago).collect();
        let lease = planned(&pool, &tenant, job, &days).await?;
        for day in &days {
            publish(&pool, &lease, *day).await?;
        }
        let window = Window { since: days[0], until: days[days.len() - 1] };
        lease.finish(&pool, Some(window), &Ending::Through).await?;
        anyhow::Ok(())
    };
    run(JobType::SevenDayFill, 19, 13).await?;
    assert_eq!(cursor().await?, Some(days_ago(13)), "without a cursor the window's own days count");
    run(JobType::SevenDayFill, 7, 1).await?;
    assert_eq!(cursor().await?, Some(days_ago(13)), "five days are between them");
    run(JobType::Settle, 12, 9).await?;
    run(JobType::SevenDayFill, 7, 1).await?;
    assert_eq!(cursor().await?, Some(days_ago(9)), "one is");
    run(JobType::Fresh, 8, 1).await?;
    assert_eq!(cursor().await?, Some(days_ago(1)));
    Ok(())
}
