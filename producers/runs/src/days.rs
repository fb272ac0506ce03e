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

/// The days that an integration still owes: planned and not published, or failed.
pub async fn days_owed(pool: &PgPool, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<Vec<NaiveDate>> {
    sqlx::query_scalar!(
        "select date from sync_days where account_id = $1 and integration_id = $2 and state <> 'published' order by date",
        account_id,
        integration_id,
    )
    .fetch_all(pool)
    .await
}
