//! Making room in the stream: what is in raw byte for byte, and behind every consumer, may leave it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use events::Claim;
use events::subject::{AccountDay, day_filter};
use futures_util::{StreamExt, TryStreamExt, stream};
use jetstream::{META_INSIGHTS, Wire, WireError};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::Range;
use crate::audit::{Audit, AuditError, Kind, a_day_ago};

/// Messages that are deleted at once: each deletion is a round trip and a write of the server's.
const DELETES: usize = 8;

/// What may be taken out of the stream, proven message by message.
pub struct Trim<'a> {
    pool: &'a PgPool,
    wire: &'a Wire,
    audit: Audit<'a>,
    before: NaiveDate,
    /// Of each report day, the messages that may go.
    sequences: BTreeMap<NaiveDate, Vec<u64>>,
    /// The payloads beside the stream that these messages name. Equal bytes are of one day, because they say which.
    claims: BTreeMap<AccountDay, BTreeSet<Claim>>,
    trimmed: Trimmed,
}

/// How much it is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Trimmed {
    pub days: u64,
    pub events: u64,
    /// Headers and payloads, those beside the stream too.
    pub bytes: u64,
    /// Messages that are no events: they were parked when they came, and stay.
    pub no_events: u64,
}

/// Why nothing was trimmed.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    #[error(
        "nothing was trimmed: {findings} events of those days are not proven to be in meta_insights_raw, the first \
         ({event_id}) is {words}: `adledger audit` lists them, and `adledger audit --heal` mends what can be mended"
    )]
    Unproven { findings: usize, words: &'static str, event_id: Uuid },
    #[error(
        "nothing was trimmed: {events} events of those days are still on their way to meta_insights_raw; let `adledger \
         serve` append them first"
    )]
    OnTheirWay { events: u64 },
    #[error(
        "nothing was trimmed: those days reach up to message {last}, and consumer {consumer} has settled all up to {floor}; let \
         `adledger serve` work the rest off first"
    )]
    Unsettled { consumer: String, floor: u64, last: u64 },
    #[error("nothing more was trimmed: the stream was created anew in between")]
    Recreated,
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("PostgreSQL failed, and nothing was trimmed")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl<'a> Trim<'a> {
    /// Audits every day before `before`. Refuses unless each event that would go is in raw, and settled by all of
    /// `consumers`. Memory holds the sequences of what may go.
    pub async fn prove(
        pool: &'a PgPool,
        wire: &'a Wire,
        before: NaiveDate,
        consumers: &[&str],
        progress: impl Fn(u64, u64),
    ) -> Result<Trim<'a>, TrimError> {
        let mut floors = Vec::new();
        for consumer in consumers {
            floors.push((*consumer, wire.ack_floor(META_INSIGHTS, consumer).await?));
        }
        let audit = Audit::open(pool, wire).await?;
        let Gathered { sequences, claims, trimmed, unproven, on_their_way } = gather(&audit, before, progress).await?;
        if let Some((kind, event_id)) = unproven.first() {
            return Err(TrimError::Unproven { findings: unproven.len(), words: kind.words(), event_id: *event_id });
        }
        if on_their_way > 0 {
            return Err(TrimError::OnTheirWay { events: on_their_way });
        }
        let last = sequences.values().flatten().max().copied().unwrap_or_default();
        if let Some((consumer, floor)) = floors.into_iter().find(|(_, floor)| *floor < last) {
            return Err(TrimError::Unsettled { consumer: consumer.to_owned(), floor, last });
        }
        Ok(Trim { pool, wire, audit, before, sequences, claims, trimmed })
    }

    /// What would leave the stream.
    pub fn trimmed(&self) -> &Trimmed {
        &self.trimmed
    }

    /// Writes the trim down, then takes exactly what was proven. A process that dies in between leaves messages which
    /// the next trim takes, and an audit misses none of those that are gone.
    pub async fn carry_out(self, progress: impl Fn(u64, u64)) -> Result<Trimmed, TrimError> {
        if self.trimmed.events == 0 {
            return Ok(self.trimmed);
        }
        let log = self.audit.log();
        sqlx::query!(
            "insert into log_trims (stream_incarnation, up_to_sequence, before, events, bytes) values ($1, $2, $3, $4, $5)
             on conflict do nothing",
            log.incarnation(),
            i64::try_from(self.audit.last_sequence()).unwrap_or(i64::MAX),
            self.before,
            i64::try_from(self.trimmed.events).unwrap_or(i64::MAX),
            i64::try_from(self.trimmed.bytes).unwrap_or(i64::MAX),
        )
        .execute(self.pool)
        .await?;
        if log.incarnation_now().await? != log.incarnation() {
            return Err(TrimError::Recreated);
        }
        let mut done = 0;
        for (date, sequences) in &self.sequences {
            self.take(*date, sequences).await?;
            done += sequences.len() as u64;
            progress(done, self.trimmed.events);
        }
        self.take_payloads().await?;
        Ok(self.trimmed)
    }

    /// Takes the payloads that travelled beside what is gone, unless a message that stayed, or a letter, needs one. One
    /// that was used again since yesterday may be needed by a message to come: it stays until an audit finds nothing
    /// that names it.
    async fn take_payloads(&self) -> Result<(), TrimError> {
        if self.claims.is_empty() {
            return Ok(());
        }
        let (log, objects) = (self.audit.log(), self.wire.objects().await?);
        let in_letters = self.wire.dead_letters().await?.claims().await?;
        let a_day_ago = a_day_ago(self.pool).await?;
        for (day, claims) in &self.claims {
            let (mut needed, mut from) = (in_letters.clone(), 1);
            while let Some(message) = log.next(&day.subject(), from).await? {
                from = message.sequence + 1;
                needed.extend(message.claim());
            }
            for claim in claims.difference(&needed) {
                objects.remove(claim, a_day_ago).await?;
            }
        }
        Ok(())
    }

    /// Takes a day's messages: in one request where nothing else stands among them, else one by one.
    async fn take(&self, date: NaiveDate, sequences: &[u64]) -> Result<(), WireError> {
        let log = self.audit.log();
        let Some(last) = sequences.iter().max() else { return Ok(()) };
        if self.trimmed.no_events == 0 {
            return log.purge(&day_filter(date), *last).await;
        }
        let mut deletions = stream::iter(sequences).map(|sequence| log.delete(*sequence)).buffer_unordered(DELETES);
        while let Some(()) = deletions.try_next().await? {}
        Ok(())
    }
}

/// What the audit says of the days that would go.
#[derive(Default)]
struct Gathered {
    sequences: BTreeMap<NaiveDate, Vec<u64>>,
    claims: BTreeMap<AccountDay, BTreeSet<Claim>>,
    trimmed: Trimmed,
    unproven: Vec<(Kind, Uuid)>,
    on_their_way: u64,
}

async fn gather(audit: &Audit<'_>, before: NaiveDate, progress: impl Fn(u64, u64)) -> Result<Gathered, AuditError> {
    let range = Range { until: before.pred_opt(), ..Range::default() };
    let (days, no_events) = audit.days(&range).await?;
    let total = days.len() as u64;
    let mut all = Gathered { trimmed: Trimmed { no_events, ..Trimmed::default() }, ..Gathered::default() };
    let mut reads = std::pin::pin!(audit.compare_days(days));
    let mut done = 0;
    while let Some(read) = reads.try_next().await? {
        // What came while the days were read stays: nobody has looked at all of its day.
        let proven = read.compared.proven.iter().copied().filter(|sequence| *sequence <= audit.last_sequence());
        let proven: Vec<u64> = proven.collect();
        all.trimmed.days += u64::from(!proven.is_empty());
        all.trimmed.events += proven.len() as u64;
        all.trimmed.bytes += read.bytes_of(&proven);
        all.trimmed.no_events += read.no_events;
        all.on_their_way += read.compared.on_their_way;
        // What the stream lacks already needs no proof to leave it.
        let in_stream = read.compared.differences.iter().filter(|d| d.sequence.is_some());
        all.unproven.extend(in_stream.map(|d| (d.kind, d.event_id)));
        let claims: BTreeSet<Claim> = read.claims().collect();
        if !proven.is_empty() && !claims.is_empty() {
            all.claims.insert(read.day, claims);
        }
        all.sequences.entry(read.day.date).or_default().extend(proven);
        done += 1;
        progress(done, total);
    }
    Ok(all)
}
