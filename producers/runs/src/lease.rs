use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::enqueue::ring;
use crate::job::{JobType, Window};

/// A run on loan to this worker.
#[derive(Debug, Clone)]
pub struct Lease {
    pub account_id: Uuid,
    pub run_id: Uuid,
    pub integration_id: Uuid,
    pub job: JobType,
    /// The window that was asked for, or that an earlier attempt planned.
    pub window: Option<Window>,
    /// How often the run was begun, this time included; waits for the log or for Meta's return and orderly stops do not
    /// count.
    pub attempts: i32,
    /// How many holders in a row let the lease run out without bringing a single day.
    pub takeovers: i32,
    /// How often the run was set aside for a throttle since it last brought a day.
    pub throttle_waits: i32,
    /// The days were written down by an earlier holder.
    pub planned: bool,
    pub(crate) epoch: i64,
    pub(crate) duration: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has the run now. Whatever this worker still meant to write is void.
    #[error("the lease of sync run {run_id} is lost: another worker has it")]
    Lost { run_id: Uuid },
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

/// A day whose event the log has.
#[derive(Debug, Clone, Copy)]
pub struct PublishedDay {
    pub date: NaiveDate,
    pub event_id: Uuid,
    pub fetched_at: DateTime<Utc>,
    pub rows: u64,
}

/// Throttles of a run that are not written down yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// How often the platform said so to this run.
    pub count: u32,
    /// How long the run waited for it, or is about to.
    pub wait_ms: u64,
    /// Until when the newest one lasts.
    pub until: Option<DateTime<Utc>>,
}

/// What a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    LogFull,
    LogUnreachable,
    MetaUnreachable,
    Throttled,
}

impl WaitReason {
    pub fn as_str(self) -> &'static str {
        match self {
            WaitReason::LogFull => "log_full",
            WaitReason::LogUnreachable => "log_unreachable",
            WaitReason::MetaUnreachable => "meta_unreachable",
            WaitReason::Throttled => "throttled",
        }
    }
}

/// How a run ended, apart from its days.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Every day was tried; the days say the rest.
    Through,
    /// It was given up: a stable word, and a sentence. Days that were not tried stay due.
    GivenUp { code: String, message: String },
}

impl Lease {
    /// Begins a transaction that stands or falls with the lease: it is prolonged, or found lost. One that ran out is
    /// lost though nobody took the run yet: another run of the integration may have begun.
    async fn begin(&self, pool: &PgPool) -> Result<Transaction<'static, Postgres>, LeaseError> {
        let mut tx = pool.begin().await?;
        let held = sqlx::query!(
            "update sync_runs set lease_until = now() + make_interval(secs => $4)
             where account_id = $1 and id = $2 and lease_epoch = $3 and status = 'running' and lease_until > now()",
            self.account_id,
            self.run_id,
            self.epoch,
            self.duration.as_secs_f64(),
        )
        .execute(&mut *tx)
        .await?;
        if held.rows_affected() == 0 { Err(LeaseError::Lost { run_id: self.run_id }) } else { Ok(tx) }
    }

    /// Prolongs the lease.
    pub async fn keep(&self, pool: &PgPool) -> Result<(), LeaseError> {
        Ok(self.begin(pool).await?.commit().await?)
    }

    /// Writes down which days the run owes, once a run, and returns those that are still to be fetched.
    ///
    /// Who takes the run up later goes on where the holder before stopped: a day that was published since, by this run
    /// or by another, is done, and one that failed in this run stays for the next run to try.
    pub async fn plan(&self, pool: &PgPool, window: Window, days: &[NaiveDate]) -> Result<Vec<NaiveDate>, LeaseError> {
        let mut tx = self.begin(pool).await?;
        sqlx::query!(
            "insert into sync_days (account_id, integration_id, date, state, run_id)
             select $1, $2, date, 'due', $4 from unnest($3::date[]) as d (date)
             on conflict (account_id, integration_id, date)
             do update set state = 'due', last_error = null, run_id = excluded.run_id
             where not $5",
            self.account_id,
            self.integration_id,
            days,
            self.run_id,
            self.planned,
        )
        .execute(&mut *tx)
        .await?;
        let due = sqlx::query_scalar!(
            "select date from sync_days
             where account_id = $1 and integration_id = $2 and date = any ($3) and state = 'due'
             order by date",
            self.account_id,
            self.integration_id,
            days,
        )
        .fetch_all(&mut *tx)
        .await?;
        // The list of a run that is taken up again can have become shorter by days that were done meanwhile.
        sqlx::query!(
            "update sync_runs r
             set window_since = $3, window_until = $4, days_total = greatest(days_total, $5),
                 days_done = greatest(days_total, $5) - $6 - (
                     select count(*) from sync_days d
                     where d.account_id = r.account_id and d.integration_id = r.integration_id
                       and d.run_id = r.id and d.state = 'failed')::int
             where account_id = $1 and id = $2",
            self.account_id,
            self.run_id,
            window.since,
            window.until,
            days.len() as i32,
            due.len() as i32,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(due)
    }

    /// Days are in the log. Called after the log acknowledged them, so that a crash in between fetches them once more
    /// and loses nothing.
    pub async fn days_published(&self, pool: &PgPool, days: &[PublishedDay]) -> Result<(), LeaseError> {
        if days.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(pool).await?;
        sqlx::query!(
            "update sync_days d
             set state = 'published', attempts = attempts + 1, last_error = null, last_fetched_at = p.fetched_at,
                 last_event_id = p.event_id, run_id = $6
             from unnest($3::date[], $4::timestamptz[], $5::uuid[]) as p (date, fetched_at, event_id)
             where d.account_id = $1 and d.integration_id = $2 and d.date = p.date",
            self.account_id,
            self.integration_id,
            &days.iter().map(|day| day.date).collect::<Vec<_>>(),
            &days.iter().map(|day| day.fetched_at).collect::<Vec<_>>(),
            &days.iter().map(|day| day.event_id).collect::<Vec<_>>(),
            self.run_id,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "update sync_runs set days_done = days_done + $4, rows_fetched = rows_fetched + $3, takeovers = 0, throttle_waits = 0
             where account_id = $1 and id = $2",
            self.account_id,
            self.run_id,
            i64::try_from(days.iter().map(|day| day.rows).sum::<u64>()).unwrap_or(i64::MAX),
            i32::try_from(days.len()).unwrap_or(i32::MAX),
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// A day could not be fetched or published; it stays owed.
    pub async fn day_failed(&self, pool: &PgPool, date: NaiveDate, error: &str) -> Result<(), LeaseError> {
        let mut tx = self.begin(pool).await?;
        sqlx::query!(
            "update sync_days set state = 'failed', attempts = attempts + 1, last_error = $4, run_id = $5
             where account_id = $1 and integration_id = $2 and date = $3",
            self.account_id,
            self.integration_id,
            date,
            error,
            self.run_id,
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// The platform throttled the run.
    pub async fn throttled(&self, pool: &PgPool, throttled: &Throttled) -> Result<(), LeaseError> {
        let mut tx = self.begin(pool).await?;
        sqlx::query!(
            "update sync_runs
             set rate_limited = true, throttle_count = throttle_count + $3, throttle_wait_ms = throttle_wait_ms + $4,
                 throttled_until = greatest(throttled_until, $5)
             where account_id = $1 and id = $2",
            self.account_id,
            self.run_id,
            i32::try_from(throttled.count).unwrap_or(i32::MAX),
            i64::try_from(throttled.wait_ms).unwrap_or(i64::MAX),
            throttled.until,
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Gives the run back, to be taken again after a while.
    pub async fn wait(
        &self,
        pool: &PgPool,
        reason: WaitReason,
        pause: Duration,
        message: &str,
    ) -> Result<(), LeaseError> {
        let mut tx = self.begin(pool).await?;
        sqlx::query!(
            "update sync_runs
             set status = 'waiting', wait_reason = $3, not_before = now() + make_interval(secs => $4), lease_until = null,
                 error_message = $5, attempts = attempts - $6, throttle_waits = throttle_waits + case when $7 then 1 else 0 end,
                 rate_limited = rate_limited or $7, throttle_wait_ms = throttle_wait_ms + case when $7 then ($4 * 1000)::bigint else 0 end,
                 throttled_until = case when $7 then now() + make_interval(secs => $4) else throttled_until end
             where account_id = $1 and id = $2",
            self.account_id,
            self.run_id,
            reason.as_str(),
            pause.as_secs_f64(),
            message,
            // That the log is full, or somebody is away, is nothing that the run did.
            i32::from(reason != WaitReason::Throttled),
            reason == WaitReason::Throttled,
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Gives the run back untouched, to be taken at once: this worker is stopping, or what it knew is out of date.
    pub async fn give_back(&self, pool: &PgPool) -> Result<(), LeaseError> {
        self.queue_again(pool, false).await
    }

    /// Gives the run back after a part of it: whatever is more urgent, or waited longer, goes first.
    pub async fn give_way(&self, pool: &PgPool) -> Result<(), LeaseError> {
        self.queue_again(pool, true).await
    }

    async fn queue_again(&self, pool: &PgPool, behind_others: bool) -> Result<(), LeaseError> {
        let mut tx = self.begin(pool).await?;
        sqlx::query!(
            "update sync_runs
             set status = 'queued', lease_until = null, attempts = attempts - 1,
                 queued_at = case when $3 then now() else queued_at end
             where account_id = $1 and id = $2",
            self.account_id,
            self.run_id,
            behind_others,
        )
        .execute(&mut *tx)
        .await?;
        ring(&mut tx, self.account_id, self.integration_id, self.run_id, self.job).await?;
        Ok(tx.commit().await?)
    }

    /// Ends the run and, in the same transaction, moves the sync cursor: up to the window's end, never past a day that
    /// is still owed, and never back.
    pub async fn finish(&self, pool: &PgPool, window: Option<Window>, ending: &Ending) -> Result<(), LeaseError> {
        let mut tx = self.begin(pool).await?;
        if let Some(window) = window.filter(|_| self.job.moves_cursor()) {
            sqlx::query_file!(
                "src/advance_cursor.sql",
                self.account_id,
                self.integration_id,
                crate::days::CURSOR,
                window.since,
                window.until,
            )
            .execute(&mut *tx)
            .await?;
        }
        let (code, message) = match ending {
            Ending::Through => (None, None),
            Ending::GivenUp { code, message } => (Some(code.as_str()), Some(message.as_str())),
        };
        sqlx::query!(
            "update sync_runs r
             set status = case when $3::text is null and r.days_done >= r.days_total then 'succeeded'
                               when r.days_done > 0 then 'partial' else 'failed' end,
                 error_code = coalesce($3, case when r.days_done < r.days_total then 'days_failed' end),
                 error_message = coalesce($4, case when r.days_done < r.days_total then (
                     select max(d.last_error) from sync_days d
                     where d.account_id = r.account_id and d.integration_id = r.integration_id
                       and d.run_id = r.id and d.state = 'failed') end),
                 lease_until = null, finished_at = now()
             where account_id = $1 and id = $2",
            self.account_id,
            self.run_id,
            code,
            message,
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}
