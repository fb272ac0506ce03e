use chrono::NaiveDate;
use sqlx::PgPool;
use uuid::Uuid;

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

/// The days that an integration still owes: planned and not published, or failed. Those of a backfill that still waits or
/// works are that one's business.
pub async fn days_owed(pool: &PgPool, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<Vec<NaiveDate>> {
    sqlx::query_scalar!(
        "select d.date from sync_days d
         where d.account_id = $1 and d.integration_id = $2 and d.state <> 'published'
           and not exists (
               select from sync_runs r
               where r.account_id = d.account_id and r.integration_id = d.integration_id
                 and r.job_type = 'meta_backfill' and r.status in ('queued', 'running', 'waiting')
                 and d.date between r.window_since and r.window_until)
         order by d.date",
        account_id,
        integration_id,
    )
    .fetch_all(pool)
    .await
}
