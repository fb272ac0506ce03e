use chrono::NaiveDate;
use events::SyncRequested;
use sqlx::{Acquire, PgConnection, PgPool, Postgres};
use uuid::Uuid;

use crate::job::{JobType, Window};

/// How often a request that fell between the end of one run and the beginning of another is repeated.
const TRIES: u32 = 3;

/// The run that was asked for, or the one that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub run_id: Uuid,
    /// A run of this job waits or works already: it is this one, and none was added.
    pub already: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    #[error("integration {id} does not exist: `adledger status` lists those there are")]
    NoIntegration { id: Uuid },
    #[error("tenant {account_id} has no integration {id}: `adledger status` lists those there are")]
    NotOfTenant { account_id: Uuid, id: Uuid },
    #[error(
        "a backfill of this integration from {since} to {until} is under way (run {run_id}): ask again when `adledger runs` \
         shows it done"
    )]
    OtherWindow { run_id: Uuid, since: NaiveDate, until: NaiveDate },
    #[error("the runs of integration {id} change faster than they can be read: ask again")]
    Busy { id: Uuid },
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

/// Asks for a run. At most one of an integration and job is unfinished at any time: a second request finds the first,
/// and one for another range is refused.
pub async fn enqueue<'a>(
    db: impl Acquire<'a, Database = Postgres>,
    integration_id: Uuid,
    job: JobType,
    trigger: &str,
    window: Option<Window>,
) -> Result<Enqueued, EnqueueError> {
    let mut tx = db.begin().await?;
    let enqueued = enqueue_within(&mut tx, integration_id, job, trigger, window).await?;
    tx.commit().await?;
    Ok(enqueued)
}

/// The event that a fill follows from, as CloudEvents names it.
#[derive(Debug, Clone, Copy)]
pub struct FillEvent<'a> {
    pub source: &'a str,
    pub id: &'a str,
}

/// Asks for the fill that follows from an event, once an event; `None` when that was done before.
///
/// Where the integration was fetched before, days may have been missed that are older than the fill's: then the fresh
/// days are asked for too, because they bring all that is owed.
pub async fn enqueue_fill(
    pool: &PgPool,
    account_id: Uuid,
    integration_id: Uuid,
    event: &FillEvent<'_>,
) -> Result<Option<Enqueued>, EnqueueError> {
    let mut tx = pool.begin().await?;
    let belongs = sqlx::query_scalar!(
        r#"select exists (select from integrations where account_id = $1 and id = $2) as "exists!""#,
        account_id,
        integration_id,
    );
    if !belongs.fetch_one(&mut *tx).await? {
        return Err(EnqueueError::NotOfTenant { account_id, id: integration_id });
    }
    let enqueued = enqueue_within(&mut tx, integration_id, JobType::SevenDayFill, "connect", None).await?;
    // Two deliveries at once: the second waits here for the first, finds its row, and takes its own run back.
    let first = sqlx::query!(
        "insert into initial_fills (account_id, integration_id, event_source, event_id, run_id)
         values ($1, $2, $3, $4, $5) on conflict do nothing",
        account_id,
        integration_id,
        event.source,
        event.id,
        enqueued.run_id,
    )
    .execute(&mut *tx)
    .await?;
    if first.rows_affected() == 0 {
        tx.rollback().await?;
        return Ok(None);
    }
    let was_fetched = sqlx::query_scalar!(
        r#"select exists (select from sync_cursors where account_id = $1 and integration_id = $2)
               or exists (select from sync_days where account_id = $1 and integration_id = $2 and state <> 'published')
               as "was_fetched!""#,
        account_id,
        integration_id,
    );
    if was_fetched.fetch_one(&mut *tx).await? {
        enqueue_within(&mut tx, integration_id, JobType::Fresh, "connect", None).await?;
    }
    tx.commit().await?;
    Ok(Some(enqueued))
}

/// The row and the bell that rings for it, in the caller's transaction.
pub(crate) async fn enqueue_within(
    conn: &mut PgConnection,
    integration_id: Uuid,
    job: JobType,
    trigger: &str,
    window: Option<Window>,
) -> Result<Enqueued, EnqueueError> {
    for _ in 0..TRIES {
        let inserted = sqlx::query!(
            "insert into sync_runs (account_id, id, integration_id, job_type, trigger, status, window_since, window_until)
             select account_id, $1, id, $3, $4, 'queued', $5, $6 from integrations where id = $2
             on conflict (account_id, integration_id, job_type) where status in ('queued', 'running', 'waiting')
             do nothing
             returning id, account_id",
            Uuid::now_v7(),
            integration_id,
            job.as_str(),
            trigger,
            window.map(|w| w.since),
            window.map(|w| w.until),
        )
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(run) = inserted {
            ring(conn, run.account_id, integration_id, run.id, job).await?;
            return Ok(Enqueued { run_id: run.id, already: false });
        }
        let unfinished = sqlx::query!(
            "select id, window_since, window_until from sync_runs
             where integration_id = $1 and job_type = $2 and status in ('queued', 'running', 'waiting')",
            integration_id,
            job.as_str(),
        )
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(run) = unfinished {
            let theirs = run.window_since.zip(run.window_until).map(|(since, until)| Window { since, until });
            if let (Some(asked), Some(theirs)) = (window, theirs)
                && asked != theirs
            {
                return Err(EnqueueError::OtherWindow { run_id: run.id, since: theirs.since, until: theirs.until });
            }
            return Ok(Enqueued { run_id: run.id, already: true });
        }
        let exists = sqlx::query_scalar!("select exists (select from integrations where id = $1)", integration_id);
        if !exists.fetch_one(&mut *conn).await?.unwrap_or(false) {
            return Err(EnqueueError::NoIntegration { id: integration_id });
        }
        // The unfinished run ended between the two statements: now there is room for a new one.
    }
    Err(EnqueueError::Busy { id: integration_id })
}

/// Rings for a run that can be claimed once the caller's transaction has committed.
pub(crate) async fn ring(
    conn: &mut PgConnection,
    account_id: Uuid,
    integration_id: Uuid,
    run_id: Uuid,
    job: JobType,
) -> sqlx::Result<()> {
    let at = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(&mut *conn).await?;
    let bell = SyncRequested { account_id, integration_id, run_id, job_type: job.as_str().to_owned() };
    let bell = bell.announce(Uuid::now_v7(), at, job.priority()).map_err(|error| sqlx::Error::Encode(error.into()))?;
    outbox::announce(conn, account_id, &bell).await
}
