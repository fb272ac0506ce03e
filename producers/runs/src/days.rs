use chrono::NaiveDate;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::listing::Run;

/// The cursor's name in its table.
pub(crate) const CURSOR: &str = "meta_last_window_end";

/// How far the fetch of an integration has come: every day up to this one was published.
pub type Cursor = NaiveDate;

/// An integration's sync cursor; `None` until a window was fetched to its end.
pub async fn sync_cursor(
    db: impl PgExecutor<'_>,
    account_id: Uuid,
    integration_id: Uuid,
) -> sqlx::Result<Option<Cursor>> {
    sqlx::query_scalar!(
        "select value from sync_cursors where account_id = $1 and integration_id = $2 and name = $3",
        account_id,
        integration_id,
        CURSOR,
    )
    .fetch_optional(db)
    .await
}

/// The days that an integration still owes, as the view `sync_days_owed` says.
pub async fn days_owed(
    db: impl PgExecutor<'_>,
    account_id: Uuid,
    integration_id: Uuid,
) -> sqlx::Result<Vec<NaiveDate>> {
    sqlx::query_scalar!(
        r#"select date as "date!" from sync_days_owed where account_id = $1 and integration_id = $2 order by date"#,
        account_id,
        integration_id,
    )
    .fetch_all(db)
    .await
}

/// How many days of a run were published, and of how many of them the newest event is in the raw log and in the tables.
///
/// Another run may have published a day of the window in between: then it is that one's event which is looked for,
/// because it is newer. While the run works, a day that it has yet to fetch does not count, whatever was published of
/// it before.
pub async fn days_folded(db: impl PgExecutor<'_>, run: &Run) -> sqlx::Result<DaysFolded> {
    let counts = sqlx::query!(
        r#"select count(*) as "published!", count(r.event_id) as "raw!",
                  count(r.event_id) filter (where o.event_id is not null) as "folded!"
           from sync_days d
           join integrations i on i.account_id = d.account_id and i.id = d.integration_id
           left join meta_insights_raw r on r.account_id = d.account_id and r.event_id = d.last_event_id
           left join observations o
               on o.account_id = d.account_id and o.ad_account_id = i.ad_account_id and o.date = d.date
                  and o.event_id = d.last_event_id
           where d.account_id = $1 and d.integration_id = $2 and d.last_event_id is not null
             and (d.run_id = $3 or d.date between $4 and $5) and ($6 or d.state = 'published')"#,
        run.account_id,
        run.integration_id,
        run.id,
        run.window_since,
        run.window_until,
        run.is_finished(),
    )
    .fetch_one(db)
    .await?;
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(DaysFolded { published: count(counts.published), raw: count(counts.raw), folded: count(counts.folded) })
}

/// How far a run's days have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysFolded {
    pub published: u64,
    /// Of these, in the raw log.
    pub raw: u64,
    /// Of those, in the tables.
    pub folded: u64,
}

impl DaysFolded {
    /// Whether nothing more will come of the run: it failed, or what it published is in the tables, or never will be.
    pub fn is_over(&self, run: &Run) -> bool {
        match run.status.as_str() {
            "failed" => true,
            "succeeded" | "partial" => self.folded >= self.published || run.error_code.as_deref() == Some(PARKED),
            _ => false,
        }
    }
}

/// The error code of a run whose event cannot be used.
const PARKED: &str = "parked";

/// Days whose event was published a while ago and is in no table: `(ad account, day)`, at most so many, newest first.
pub async fn unfolded_days(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<(String, NaiveDate)>> {
    let rows = sqlx::query!(
        r#"select a.external_id, u.date as "date!"
           from sync_days_unfolded u join ad_accounts a on a.account_id = u.account_id and a.id = u.ad_account_id
           where u.last_fetched_at < now() - interval '10 minutes'
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
        "update sync_runs set status = 'partial', error_code = $4, error_message = $3
         where account_id = $1 and id = $2 and status in ('succeeded', 'partial')",
        run.account_id,
        run.id,
        format!("{date}: {reason}"),
        PARKED,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
