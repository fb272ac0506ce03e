//! A log as a place to read from: which days it knows, and the events of a day.

use std::collections::HashSet;

use chrono::DateTime;
use events::EventError;
use events::payload::PayloadError;
use events::subject::{AccountDay, insights_filter};
use futures_util::TryStreamExt;
use jetstream::{ClaimError, Log, META_INSIGHTS, Wire};
use sqlx::PgPool;

use crate::{End, LogError, Logged, Range};

/// Where the past is read.
#[derive(Debug, Clone)]
pub enum Source {
    Stream(Box<Log>),
    Raw(PgPool),
}

impl Source {
    /// The insights stream.
    pub async fn stream(wire: &Wire) -> Result<Self, jetstream::WireError> {
        Ok(Source::Stream(wire.log(META_INSIGHTS).await?.into()))
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Source::Stream(_) => "stream",
            Source::Raw(_) => "raw",
        }
    }

    /// The connection to NATS, where it is read through one.
    pub fn wire(&self) -> Option<&Wire> {
        match self {
            Source::Stream(log) => Some(log.wire()),
            Source::Raw(_) => None,
        }
    }

    /// The account-days of which this log holds an event.
    pub async fn days(&self, range: &Range) -> Result<HashSet<AccountDay>, LogError> {
        match self {
            Source::Stream(log) => {
                let subjects = log.counts(&insights_filter(range.account_id, range.ad_account_id)).await?;
                let days = subjects.iter().filter_map(|(subject, _)| AccountDay::parse(subject).ok());
                Ok(days.filter(|day| (range.since..=range.until).contains(&day.date)).collect())
            }
            Source::Raw(pool) => Ok(raw::days(pool, &raw_range(range)).await?.into_iter().collect()),
        }
    }

    /// Where the log ends now, as far as the range goes.
    pub async fn end(&self, range: &Range) -> Result<End, LogError> {
        Ok(match self {
            Source::Stream(log) => {
                End::Stream { incarnation: log.incarnation_now().await?, sequence: log.level().await?.last_sequence }
            }
            Source::Raw(pool) => {
                let newest = raw::newest_stored_at(pool, &raw_range(range)).await?;
                End::Raw { stored_at: newest.unwrap_or(DateTime::UNIX_EPOCH) }
            }
        })
    }

    /// Hands each event of a day to `take`, one at a time.
    pub async fn each_event(
        &self,
        day: AccountDay,
        take: impl FnMut(Result<Logged, EventError>),
    ) -> Result<(), LogError> {
        self.each_event_until(day, None, take).await
    }

    /// The same, but for events above an end of this log.
    pub async fn each_event_until(
        &self,
        day: AccountDay,
        end: Option<End>,
        mut take: impl FnMut(Result<Logged, EventError>),
    ) -> Result<(), LogError> {
        match self {
            Source::Stream(log) => {
                let subject = day.subject();
                let mut sequence = 1;
                while let Some(message) = log.next(&subject, sequence).await? {
                    if matches!(end, Some(End::Stream { sequence, .. }) if message.sequence > sequence) {
                        break;
                    }
                    sequence = message.sequence + 1;
                    match log.whole(message).await {
                        Ok(message) => take(Logged::open(&message)),
                        Err(ClaimError::Wire(error)) => return Err(error.into()),
                        Err(lost) => take(Err(PayloadError::Lost { reason: lost.to_string() }.into())),
                    }
                }
            }
            Source::Raw(pool) => {
                let mut events = std::pin::pin!(raw::events_of_day(pool, day));
                while let Some(recorded) = events.try_next().await? {
                    if let (Ok(recorded), Some(End::Raw { stored_at })) = (&recorded, end)
                        && recorded.stored_at > stored_at
                    {
                        continue;
                    }
                    take(recorded.map(|r| Logged {
                        day,
                        circumstances: r.circumstances,
                        stored_at: r.stored_at,
                        payload: r.payload,
                    }));
                }
            }
        }
        Ok(())
    }
}

fn raw_range(range: &Range) -> raw::Range {
    let Range { account_id, ad_account_id, since, until } = *range;
    raw::Range { account_id, ad_account_id, since: Some(since), until: Some(until) }
}
