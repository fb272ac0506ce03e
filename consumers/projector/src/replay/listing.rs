//! Replays as people and programs look at them, and the one thing that they can ask of one.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    #[error("PostgreSQL failed while the replay was asked to pause")]
    Database(#[from] sqlx::Error),
    #[error("no replay {0} is running: `adledger replays` lists those that were begun")]
    NotRunning(i64),
}

/// A replay as people and programs read it.
#[derive(Debug, Serialize)]
pub struct Listed {
    pub id: i64,
    pub account_id: Option<Uuid>,
    pub ad_account_id: Option<Uuid>,
    pub since: NaiveDate,
    pub until: NaiveDate,
    pub from: String,
    pub table: Option<String>,
    pub trust_hash: bool,
    /// running, paused, broken off, given up, finished
    pub state: String,
    pub days_done: i64,
    pub days_total: i64,
    pub days_changed: i64,
    pub days_left: i64,
    pub unfoldable: i64,
    pub events: i64,
    pub payload_bytes: i64,
    pub rows_compared: i64,
    /// Since it was begun, or taken up last.
    pub rows_a_second: Option<f64>,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// The newest replays that were begun.
pub async fn list(pool: &PgPool, limit: u32) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        r#"select id, for_account_id as account_id, for_ad_account_id as ad_account_id, since, until, source as "from",
                  only_table as "table", trust_hash,
                  case when state = 'running' and not replay_works(id) then 'broken off'
                       when state = 'running' and pause_wanted then 'pausing'
                       else state end as "state!",
                  days_done, days_total, days_changed, days_left, unfoldable, events, payload_bytes, rows_compared,
                  (rows_compared - rows_before)::float8
                      / nullif(extract(epoch from updated_at - taken_up_at)::float8, 0) as rows_a_second,
                  started_at, updated_at, finished_at
           from replays order by id desc limit $1"#,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
}

/// Asks a running replay to pause, which it does after the transaction in hand.
pub async fn pause(pool: &PgPool, id: i64) -> Result<(), PauseError> {
    let asked = sqlx::query!(
        "update replays set pause_wanted = true where id = $1 and state = 'running' and replay_works(id)",
        id
    )
    .execute(pool)
    .await?;
    if asked.rows_affected() == 0 { Err(PauseError::NotRunning(id)) } else { Ok(()) }
}
