//! Comparing the two logs, account-day by account-day, by event id and by the sha256 of the bytes that each has now.
//!
//! The recorded sha256 is the judge: it was written down when the event came, in a table that takes no update. A side
//! whose bytes do not have it is the damaged one. Memory holds one day's ids and headers, and the bytes of one event a
//! reader.

mod compare;
mod heal;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use events::Claim;
use events::subject::{AccountDay, insights_filter};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jetstream::{Log, META_INSIGHTS, Orphans, PublishError, Wire, WireError};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

pub use compare::Kind;
use compare::{Compared, Difference, InStream, Known, PastTrim, compare};

use crate::{DURABLE, Range};

/// Days that are read at once.
const READERS: usize = 4;

/// How often a day is healed and looked at again: what was missing may come back damaged.
const HEALINGS: usize = 3;

/// One difference between the logs, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub account_id: Uuid,
    pub ad_account_id: Uuid,
    pub date: NaiveDate,
    pub event_id: Uuid,
    /// The message that it is about; `None` where the stream has none.
    pub stream_sequence: Option<u64>,
    /// The next look found it gone.
    pub healed: bool,
    /// Why it could not be healed, as far as is known.
    pub left_because: Option<String>,
}

/// What an audit has seen so far.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Report {
    pub days_total: u64,
    pub days: u64,
    /// When the stream was created.
    pub stream_created_at: DateTime<Utc>,
    /// Events of raw that came through a stream which is gone, by the time when that one was created: the stream was
    /// created anew.
    pub earlier_streams: Vec<EarlierStream>,
    /// Raw knows a higher sequence than the stream has ever given, though the stream is the same: it has lost its end.
    pub lost_end: Option<LostEnd>,
    pub messages_in_stream: u64,
    pub bytes_in_stream: u64,
    pub events_in_raw: u64,
    /// Events that the consumer which appends has not passed: no findings.
    pub on_their_way: u64,
    /// Events that `streams trim` left to raw alone.
    pub trimmed: u64,
    /// Further messages of events whose bytes are equal: no findings.
    pub duplicates: u64,
    /// Messages that are no events, and were parked when they came.
    pub no_events: u64,
    pub findings: u64,
    pub healed: u64,
    /// Payloads beside the stream that no event names: no findings. `None` unless every day was compared.
    pub orphans: Option<Orphans>,
}

#[derive(Debug, Clone, Serialize)]
pub struct EarlierStream {
    pub created_at: DateTime<Utc>,
    pub events: i64,
}

#[derive(Debug, Clone, Serialize)]
pub struct LostEnd {
    pub last_sequence_in_raw: i64,
    pub last_sequence_in_stream: u64,
}

/// What stops an audit: a server, never what is found.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("PostgreSQL failed during the audit (what was healed is healed; repeat the command)")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("an event could not be published again (what was healed is healed; repeat the command)")]
    Publish(#[from] PublishError),
}

/// The two logs, as they stood when this was opened.
pub struct Audit<'a> {
    pool: &'a PgPool,
    wire: &'a Wire,
    log: Log,
    /// The last message that was there then; part of the message ids of what is published again, so that a further
    /// audit's are others.
    last_sequence: u64,
    ack_floor: u64,
    trims: Vec<PastTrim>,
}

/// An object that was stored, or used again, after this may be one whose event is not in the log yet.
pub(crate) async fn a_day_ago(pool: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(r#"select now() - interval '1 day' as "a_day_ago!""#).fetch_one(pool).await
}

/// A day, read and compared.
pub(crate) struct ComparedDay {
    pub(crate) day: AccountDay,
    stream: Vec<InStream>,
    events_in_raw: u64,
    pub(crate) compared: Compared,
    pub(crate) no_events: u64,
}

impl ComparedDay {
    /// The payloads beside the stream that its messages need.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> {
        self.stream.iter().filter_map(|message| message.claim)
    }

    /// The size of these of its messages.
    pub(crate) fn bytes_of(&self, sequences: &[u64]) -> u64 {
        self.stream.iter().filter(|message| sequences.contains(&message.sequence)).map(|message| message.bytes).sum()
    }
}

impl<'a> Audit<'a> {
    pub async fn open(pool: &'a PgPool, wire: &'a Wire) -> Result<Audit<'a>, AuditError> {
        // The floor first: whatever is below it is in raw before any row is read.
        let ack_floor = wire.ack_floor(META_INSIGHTS, DURABLE).await?;
        let log = wire.log(META_INSIGHTS).await?;
        let last_sequence = log.level().await?.last_sequence;
        Ok(Audit { pool, wire, log, last_sequence, ack_floor, trims: read::trims(pool).await? })
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Compares the range, hands each difference to `found`, and heals it before if asked to. `progress` is called
    /// after each day.
    pub async fn run(
        &self,
        range: &Range,
        heal: bool,
        mut found: impl FnMut(Finding),
        progress: impl Fn(&Report),
    ) -> Result<Report, AuditError> {
        let (days, no_events) = self.days(range).await?;
        let mut report = Report { days_total: days.len() as u64, no_events, ..self.of_the_stream().await? };
        let (mut reads, mut claimed) = (std::pin::pin!(self.compare_days(days)), BTreeSet::new());
        while let Some(read) = reads.try_next().await? {
            claimed.extend(read.claims());
            report.days += 1;
            report.messages_in_stream += read.stream.len() as u64 + read.no_events;
            report.bytes_in_stream += read.stream.iter().map(|message| message.bytes).sum::<u64>();
            report.events_in_raw += read.events_in_raw;
            report.on_their_way += read.compared.on_their_way;
            report.trimmed += read.compared.trimmed;
            report.duplicates += read.compared.duplicates;
            report.no_events += read.no_events;
            for finding in self.findings(read, heal).await? {
                report.findings += 1;
                report.healed += u64::from(finding.healed);
                found(finding);
            }
            progress(&report);
        }
        if *range == Range::default() {
            report.orphans = Some(self.orphans(claimed, heal).await?);
        }
        Ok(report)
    }

    /// Payloads beside the stream that no event names, though they were stored a day ago or more.
    async fn orphans(&self, mut claimed: BTreeSet<Claim>, remove: bool) -> Result<Orphans, AuditError> {
        claimed.extend(self.wire.dead_letters().await?.claims().await?);
        let a_day_ago = a_day_ago(self.pool).await?;
        Ok(self.wire.objects().await?.orphans(&claimed, a_day_ago, remove).await?)
    }

    /// The day's differences, and what became of each when it was healed.
    async fn findings(&self, mut read: ComparedDay, heal: bool) -> Result<Vec<Finding>, AuditError> {
        let mut seen: BTreeSet<Difference> = read.compared.differences.iter().cloned().collect();
        let (mut left, mut refused) = (seen.clone(), BTreeMap::new());
        if heal && !left.is_empty() {
            for _ in 0..HEALINGS {
                refused.extend(self.heal(read.day, &read.compared, &read.stream).await?);
                read = self.compare_day(read.day).await?;
                left = read.compared.differences.iter().cloned().collect();
                if left.is_subset(&seen) {
                    break;
                }
                seen.extend(left.iter().cloned());
            }
        }
        Ok(seen
            .into_iter()
            .map(|difference| Finding {
                kind: difference.kind,
                account_id: read.day.account_id,
                ad_account_id: read.day.ad_account_id,
                date: read.day.date,
                event_id: difference.event_id,
                stream_sequence: difference.sequence,
                healed: !left.contains(&difference),
                left_because: refused.get(&difference).cloned(),
            })
            .collect())
    }

    /// The days of the range that either log or the tables know, and how many messages have a subject of no day.
    pub(crate) async fn days(&self, range: &Range) -> Result<(BTreeSet<AccountDay>, u64), AuditError> {
        let within = |date: NaiveDate| {
            range.since.is_none_or(|since| date >= since) && range.until.is_none_or(|until| date <= until)
        };
        let (mut days, mut of_no_day) = (BTreeSet::new(), 0);
        for (subject, messages) in self.log.counts(&insights_filter(range.account_id, range.ad_account_id)).await? {
            match AccountDay::parse(&subject) {
                Ok(day) if within(day.date) => drop(days.insert(day)),
                Ok(_) => {}
                Err(_) => of_no_day += messages,
            }
        }
        days.extend(crate::days(self.pool, range).await?);
        days.extend(read::observed_days(self.pool, range).await?);
        Ok((days, of_no_day))
    }

    /// Reads several days at once, and hands them out in order.
    pub(crate) fn compare_days(
        &self,
        days: BTreeSet<AccountDay>,
    ) -> impl Stream<Item = Result<ComparedDay, AuditError>> + '_ {
        stream::iter(days).map(|day| self.compare_day(day)).buffered(READERS)
    }

    async fn compare_day(&self, day: AccountDay) -> Result<ComparedDay, AuditError> {
        // The stream last: it has an event before anybody can append or fold it.
        let observed = read::observed(self.pool, day).await?;
        let raw = read::raw(self.pool, day).await?;
        let (stream, no_events) = read::stream(&self.log, day).await?;
        let known = Known { date: day.date, ack_floor: self.ack_floor, trims: &self.trims };
        let compared = compare(&known, &observed, &raw, &stream);
        Ok(ComparedDay { day, compared, stream, no_events, events_in_raw: raw.len() as u64 })
    }

    /// Whether the stream is the one that raw was filled from.
    async fn of_the_stream(&self) -> Result<Report, AuditError> {
        let created_at = self.log.incarnation();
        let rows = sqlx::query!(
            r#"select stream_incarnation, count(*) as "events!", max(stream_sequence) as "last_sequence!"
               from meta_insights_raw group by stream_incarnation order by stream_incarnation"#,
        )
        .fetch_all(self.pool)
        .await?;
        let last: BTreeMap<_, _> = rows.iter().map(|r| (r.stream_incarnation, r.last_sequence)).collect();
        let last_sequence_in_stream = self.log.level().await?.last_sequence;
        let is_lost = |last: &i64| u64::try_from(*last).unwrap_or(0) > last_sequence_in_stream;
        let lost_end = last.get(&created_at).copied().filter(is_lost);
        Ok(Report {
            stream_created_at: created_at,
            earlier_streams: rows
                .iter()
                .filter(|r| r.stream_incarnation != created_at)
                .map(|r| EarlierStream { created_at: r.stream_incarnation, events: r.events })
                .collect(),
            lost_end: lost_end.map(|last_sequence_in_raw| LostEnd { last_sequence_in_raw, last_sequence_in_stream }),
            ..Report::default()
        })
    }
}
