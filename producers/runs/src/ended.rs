use sqlx::PgConnection;
use uuid::Uuid;

/// Ends every unfinished run of an integration, in the caller's transaction; returns how many there were.
///
/// A worker that holds one finds its epoch gone and writes nothing more of it.
pub async fn end_unfinished(
    conn: &mut PgConnection,
    account_id: Uuid,
    integration_id: Uuid,
    code: &str,
    message: &str,
) -> sqlx::Result<u64> {
    let ended = sqlx::query!(
        "update sync_runs
         set status = 'failed', error_code = $3, error_message = $4, lease_epoch = lease_epoch + 1, lease_until = null,
             finished_at = now()
         where account_id = $1 and integration_id = $2 and status in ('queued', 'running', 'waiting')",
        account_id,
        integration_id,
        code,
        message,
    )
    .execute(conn)
    .await?;
    Ok(ended.rows_affected())
}
