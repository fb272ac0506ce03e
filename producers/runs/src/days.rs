use chrono::NaiveDate;
use sqlx::PgPool;
use uuid::Uuid;

use crate::listing::Run;

/// The cursor's name in its table.
pub(crate) const CURSOR: &str = "meta_last_window_end";

/// How far the fetch of an integration has come: every day up to this one was published.
pub type Cursor = NaiveDate;

/// An integration's sync cursor; `None` until a window was fetched to its end.
pub async fn sync_cursor(pool: &PgPool, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<Option<Cursor>> {
    sqlx::query_scalar!(
        "select value from sync_cursors where account_id = $1 and integration_id = $2 and name = $3",
        account_id,
        integration_id,
        CURSOR,
    )
    .fetch_optional(pool)
    .await
}

/// The days that an integration still owes: planned and not published, or failed, or published and not folded for a while
/// (then the event was parked, and another answer may be better). Those of a backfill or settle run that still waits or works
/// are that one's business.
pub async fn days_owed(pool: &PgPool, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<Vec<NaiveDate>> {
    sqlx::query_scalar!(
        r#"select d.date as "date!" from sync_days d
         where d.account_id = $1 and d.integration_id = $2 and d.state <> 'published'
           and not exists (
               select from sync_runs r
               where r.account_id = d.account_id and r.integration_id = d.integration_id
                 and r.job_type in ('meta_settle', 'meta_backfill') and r.status in ('queued', 'running', 'waiting')
                 and d.date between r.window_since and r.window_until)
         union
         select u.date from sync_days_unfolded u
         where u.account_id = $1 and u.integration_id = $2 and u.last_fetched_at < now() - interval '10 minutes'
           and u.date > current_date - 40
         order by 1"#,
        account_id,
        integration_id,
    )
    .fetch_all(pool)
    .await
}

/// Days whose event was published a while ago and is in no table: `(ad account, day)`, at most so many, newest first.
pub async fn unfolded_days(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<(String, NaiveDate)>> {
    let rows = sqlx::query!(
        r#"select a.external_id, u.date as "date!"
           from sync_days_unfolded u join ad_accounts a on a.account_id = u.account_id and a.id = u.ad_account_id
           where u.last_fetched_at < now() - interval '2 minutes'
           order by u.date desc limit $1"#,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|r| (r.external_id, r.date)).collect())
}

/// The event that a run published for a day cannot be used: the day is owed again, and the run has not succeeded.
pub async fn day_parked(pool: &PgPool, run: &Run, date: NaiveDate, reason: &str) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    sqlx::query!(
        "update sync_days set state = 'failed', last_error = $5
         where account_id = $1 and integration_id = $2 and date = $3 and run_id = $4",
        run.account_id,
        run.integration_id,
        date,
        run.id,
        reason,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update sync_runs set status = 'partial', error_code = 'parked', error_message = $3
         where account_id = $1 and id = $2 and status in ('succeeded', 'partial')",
        run.account_id,
        run.id,
        format!("{date}: {reason}"),
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
