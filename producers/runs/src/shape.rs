use sqlx::PgPool;
use uuid::Uuid;

/// How the last questions about an ad account had to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchShape {
    /// The most rows that a day had, of the days that were asked for last; `None` before the first answer.
    pub rows_a_day: Option<u32>,
    pub page_limit: u32,
    /// The most days that one question may ask for.
    pub most_days: u32,
    /// By a report that the platform makes first, instead of page by page.
    pub by_report: bool,
}

/// What is remembered of an integration's questions. `None` before the first one, and a week after one was too large:
/// then it is tried again as if nothing were known.
pub async fn fetch_shape(pool: &PgPool, account_id: Uuid, integration_id: Uuid) -> sqlx::Result<Option<FetchShape>> {
    let row = sqlx::query!(
        r#"select rows_a_day, page_limit, most_days, way from fetch_shapes
           where account_id = $1 and integration_id = $2 and coalesce(lowered_at > now() - interval '7 days', true)"#,
        account_id,
        integration_id,
    )
    .fetch_optional(pool)
    .await?;
    let positive = |number: i32| u32::try_from(number).unwrap_or(1).max(1);
    Ok(row.map(|r| FetchShape {
        rows_a_day: r.rows_a_day.and_then(|rows| u32::try_from(rows).ok()),
        page_limit: positive(r.page_limit),
        most_days: positive(r.most_days),
        by_report: r.way == "report",
    }))
}

/// What came of the questions that a shape is remembered after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// One was too large just now.
    TooLarge,
    /// None was, and they began from the top, because nothing was remembered.
    Anew,
    /// None was, and they began where others had left off: how long that is remembered does not change.
    NothingNew,
}

/// Remembers how an integration has to be asked about.
pub async fn remember_shape(
    pool: &PgPool,
    account_id: Uuid,
    integration_id: Uuid,
    shape: &FetchShape,
    learned: Learned,
) -> sqlx::Result<()> {
    let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    sqlx::query!(
        "insert into fetch_shapes as f (account_id, integration_id, rows_a_day, page_limit, most_days, way, lowered_at)
         values ($1, $2, $3, $4, $5, $6, case when $7 then now() end)
         on conflict (account_id, integration_id) do update
         set rows_a_day = excluded.rows_a_day, page_limit = excluded.page_limit, most_days = excluded.most_days,
             way = excluded.way,
             lowered_at = case when $7 then now() when $8 then null else f.lowered_at end",
        account_id,
        integration_id,
        shape.rows_a_day.map(whole),
        whole(shape.page_limit),
        whole(shape.most_days),
        if shape.by_report { "report" } else { "pages" },
        learned == Learned::TooLarge,
        learned == Learned::Anew,
    )
    .execute(pool)
    .await
    .map(drop)
}
