use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

/// Takes or keeps the lead of a role for so long; `false` while somebody else has it. A leader that is stopped, cut off
/// or killed loses it when the time is over, by PostgreSQL's clock.
pub async fn lead(pool: &PgPool, role: &str, holder: Uuid, duration: Duration) -> sqlx::Result<bool> {
    let taken = sqlx::query!(
        "insert into leaders as l (role, holder, lease_until) values ($1, $2, now() + make_interval(secs => $3))
         on conflict (role) do update set holder = excluded.holder, lease_until = excluded.lease_until
         where l.holder = excluded.holder or l.lease_until <= now()",
        role,
        holder,
        duration.as_secs_f64(),
    )
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives the lead up, for somebody else to take at once.
pub async fn resign(pool: &PgPool, role: &str, holder: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from leaders where role = $1 and holder = $2", role, holder).execute(pool).await.map(drop)
}
