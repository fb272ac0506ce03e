//! The record of a replay: what it was asked for, up to where it reads, and how far it has come.
//!
//! **Why one that is killed goes on.** The day up to which everything is done is written in the transaction of that
//! day. Who works on a replay holds an advisory lock on a connection of its own, which ends with the process,
//! however it ends; a replay that says that it runs, and whose lock is free, was killed. Who takes one up is the
//! only one to hold its lock, and marks it, so that one that has lost its connection and not its life writes no
//! further.

use chrono::{DateTime, NaiveDate, Utc};
use events::subject::AccountDay;
use logs::{End, Range};
use projections::{PROJECTION_VERSION, Table};
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::{ReplayError, Report};

/// What somebody wants to be replayed. Equal ones go on with each other's work.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub range: Range,
    /// The name of the log.
    pub source: &'static str,
    pub only: Option<Table>,
    pub trust_hash: bool,
}

/// A replay that this process works on.
#[derive(Debug)]
pub struct Record {
    pub id: i64,
    pub started_at: DateTime<Utc>,
    /// The end of the log when it began.
    pub end: Option<End>,
    /// The last day, in the order of days, that was done when this process took it up.
    pub after: Option<AccountDay>,
    pub days_done: usize,
    pub days_total: usize,
    taken_up_at: DateTime<Utc>,
    lock: PgConnection,
}

/// A record, and how this process came to it.
#[derive(Debug)]
pub struct Begun {
    pub record: Record,
    /// It was begun by a process that is gone, or paused.
    pub goes_on: bool,
    /// A replay with the same arguments that another process works on.
    pub beside: Option<i64>,
}

impl Record {
    /// Goes on with a replay of the last 24 hours that was asked for alike and is unfinished, unless a process works on
    /// it; else begins one, which ends where the log does now. `restart` begins one whatever there is.
    pub async fn begin(pool: &PgPool, asked: &Asked, end: Option<End>, restart: bool) -> sqlx::Result<Begun> {
        let mut lock = pool.acquire().await?.detach();
        let Range { account_id, ad_account_id, since, until } = asked.range;
        let only = asked.only.map(Table::name);
        let incarnation = match end {
            Some(End::Stream { incarnation, .. }) => Some(incarnation),
            _ => None,
        };
        // Of a stream that was created anew, what was read before says nothing; nor does what another fold made of it.
        let unfinished = sqlx::query_scalar!(
            "select id from replays
             where state not in ('finished', 'given up') and started_at > now() - interval '24 hours'
               and (for_account_id, for_ad_account_id, since, until, source, only_table, trust_hash, stream_incarnation,
                    projection_version) is not distinct from ($1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9)
             order by id desc",
            account_id,
            ad_account_id,
            since,
            until,
            asked.source,
            only,
            asked.trust_hash,
            incarnation,
            PROJECTION_VERSION,
        )
        .fetch_all(&mut lock)
        .await?;
        let mut beside = None;
        for id in unfinished {
            let taken = sqlx::query_scalar!(r#"select pg_try_advisory_lock(replay_lock($1)) as "taken!""#, id);
            if !taken.fetch_one(&mut lock).await? {
                beside = beside.or(Some(id));
            } else if restart {
                sqlx::query!("update replays set state = 'given up', updated_at = now() where id = $1", id)
                    .execute(&mut lock)
                    .await?;
                unlock(&mut lock, id).await?;
            } else if let Some(row) = take_up(&mut lock, id).await? {
                return Ok(Begun { record: row.into_record(lock), goes_on: true, beside: None });
            } else {
                unlock(&mut lock, id).await?;
            }
        }
        let (up_to_sequence, up_to_stored_at) = match end {
            Some(End::Stream { sequence, .. }) => (i64::try_from(sequence).ok(), None),
            Some(End::Raw { stored_at }) => (None, Some(stored_at)),
            None => (None, None),
        };
        // Nobody sees the row before its lock is held.
        let mut transaction = lock.begin().await?;
        let begun = sqlx::query_as!(
            Row,
            "insert into replays (for_account_id, for_ad_account_id, since, until, source, only_table, trust_hash,
                                  stream_incarnation, up_to_sequence, up_to_stored_at, projection_version, days_total)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0)
             returning id, started_at, taken_up_at, stream_incarnation, up_to_sequence, up_to_stored_at,
                       done_account_id, done_ad_account_id, done_date, days_done, days_total",
            account_id,
            ad_account_id,
            since,
            until,
            asked.source,
            only,
            asked.trust_hash,
            incarnation,
            up_to_sequence,
            up_to_stored_at,
            PROJECTION_VERSION,
        )
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query!("select pg_advisory_lock(replay_lock($1))", begun.id).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Begun { record: begun.into_record(lock), goes_on: false, beside })
    }

    /// Writes down how many days there are to do.
    pub(super) async fn expects(&self, pool: &PgPool, days_total: usize) -> sqlx::Result<()> {
        let days_total = i64::try_from(days_total).unwrap_or(i64::MAX);
        sqlx::query!(
            "update replays set days_total = $3 where id = $1 and taken_up_at = $2",
            self.id,
            self.taken_up_at,
            days_total
        )
        .execute(pool)
        .await
        .map(drop)
    }

    /// Adds what a transaction has `done`, up to and with this day, in that transaction. Whether a pause is wanted.
    pub(super) async fn advance(
        &self,
        conn: &mut PgConnection,
        through: AccountDay,
        done: &Report,
    ) -> Result<bool, ReplayError> {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        sqlx::query_scalar!(
            "update replays
             set done_account_id = $3, done_ad_account_id = $4, done_date = $5, days_done = days_done + $6,
                 events = events + $7, payload_bytes = payload_bytes + $8, rows_compared = rows_compared + $9,
                 days_changed = days_changed + $10, days_left = days_left + $11, unfoldable = unfoldable + $12,
                 updated_at = now()
             where id = $1 and taken_up_at = $2
             returning pause_wanted",
            self.id,
            self.taken_up_at,
            through.account_id,
            through.ad_account_id,
            through.date,
            count(done.days as u64),
            count(done.events),
            count(done.payload_bytes),
            count(done.rows),
            count(done.days_changed as u64),
            count(done.left.len() as u64),
            count(done.not_folded.count),
        )
        .fetch_optional(conn)
        .await?
        .ok_or(ReplayError::TakenOver)
    }

    /// Adds tenants' days that changed after the last day was done.
    pub(super) async fn adds_changed(&self, conn: &mut PgConnection, days: usize) -> sqlx::Result<()> {
        sqlx::query!(
            "update replays set days_changed = days_changed + $3, updated_at = now() where id = $1 and taken_up_at = $2",
            self.id,
            self.taken_up_at,
            i64::try_from(days).unwrap_or(i64::MAX),
        )
        .execute(conn)
        .await
        .map(drop)
    }

    pub(super) async fn pause_is_wanted(&self, pool: &PgPool) -> sqlx::Result<bool> {
        let wanted = sqlx::query_scalar!("select pause_wanted from replays where id = $1", self.id);
        Ok(wanted.fetch_optional(pool).await?.unwrap_or(false))
    }

    /// Writes down that it is through, and returns what it came to. Others that were begun before and are nobody's now
    /// have nothing left to do.
    pub async fn finished(mut self) -> Result<Totals, ReplayError> {
        let mut transaction = self.lock.begin().await?;
        let totals = sqlx::query_as!(
            Totals,
            "update replays set state = 'finished', pause_wanted = false, updated_at = now(), finished_at = now()
             where id = $1 and taken_up_at = $2
             returning days_done, events, payload_bytes, rows_compared, days_changed, days_left, unfoldable",
            self.id,
            self.taken_up_at
        )
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(ReplayError::TakenOver)?;
        sqlx::query!(
            "update replays other set state = 'given up', updated_at = now()
             from replays this
             where this.id = $1 and other.id < this.id and other.state not in ('finished', 'given up')
               and (other.for_account_id, other.for_ad_account_id, other.since, other.until, other.source,
                    other.only_table, other.trust_hash) is not distinct from
                   (this.for_account_id, this.for_ad_account_id, this.since, this.until, this.source,
                    this.only_table, this.trust_hash)
               and not replay_works(other.id)",
            self.id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.lock.close().await?;
        Ok(totals)
    }

    /// Writes down that it stopped on purpose, or for a `failure`. How many days are done, of how many.
    pub async fn stopped(mut self, failure: bool) -> sqlx::Result<(i64, i64)> {
        let done = sqlx::query!(
            "update replays set state = $3, pause_wanted = false, updated_at = now()
             where id = $1 and taken_up_at = $2 returning days_done, days_total",
            self.id,
            self.taken_up_at,
            if failure { "broken off" } else { "paused" }
        )
        .fetch_optional(&mut self.lock)
        .await?;
        self.lock.close().await?;
        Ok(done.map_or((0, 0), |row| (row.days_done, row.days_total)))
    }
}

/// What a replay came to, through all processes that worked on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub days_done: i64,
    pub events: i64,
    pub payload_bytes: i64,
    pub rows_compared: i64,
    pub days_changed: i64,
    /// Days that were left as they are, because an event of theirs could not be read.
    pub days_left: i64,
    /// Events that cannot be folded.
    pub unfoldable: i64,
}

/// What is read of a row when it is taken up.
struct Row {
    id: i64,
    started_at: DateTime<Utc>,
    taken_up_at: DateTime<Utc>,
    stream_incarnation: Option<DateTime<Utc>>,
    up_to_sequence: Option<i64>,
    up_to_stored_at: Option<DateTime<Utc>>,
    done_account_id: Option<Uuid>,
    done_ad_account_id: Option<Uuid>,
    done_date: Option<NaiveDate>,
    days_done: i64,
    days_total: i64,
}

impl Row {
    fn into_record(self, lock: PgConnection) -> Record {
        let stream = self.stream_incarnation.zip(self.up_to_sequence);
        let stream = stream.map(|(incarnation, n)| End::Stream { incarnation, sequence: n.unsigned_abs() });
        let key = self.done_account_id.zip(self.done_ad_account_id).zip(self.done_date);
        Record {
            id: self.id,
            started_at: self.started_at,
            end: stream.or(self.up_to_stored_at.map(|stored_at| End::Raw { stored_at })),
            after: key.map(|((account_id, ad_account_id), date)| AccountDay { account_id, ad_account_id, date }),
            days_done: usize::try_from(self.days_done).unwrap_or(0),
            days_total: usize::try_from(self.days_total).unwrap_or(0),
            taken_up_at: self.taken_up_at,
            lock,
        }
    }
}

/// Marks an unfinished replay, whose lock is held, as this process's; `None` when it was finished meanwhile.
async fn take_up(lock: &mut PgConnection, id: i64) -> sqlx::Result<Option<Row>> {
    sqlx::query_as!(
        Row,
        "update replays
         set state = 'running', pause_wanted = false, taken_up_at = clock_timestamp(), rows_before = rows_compared,
             updated_at = now()
         where id = $1 and state not in ('finished', 'given up')
         returning id, started_at, taken_up_at, stream_incarnation, up_to_sequence, up_to_stored_at,
                   done_account_id, done_ad_account_id, done_date, days_done, days_total",
        id
    )
    .fetch_optional(lock)
    .await
}

async fn unlock(lock: &mut PgConnection, id: i64) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_unlock(replay_lock($1))", id).fetch_one(lock).await.map(drop)
}
