//! A log as a place to read from: which days it knows, and the events of a day.

use std::collections::HashSet;

use chrono::DateTime;
use events::headers::carries;
use events::payload::PayloadError;
use events::subject::{AccountDay, insights_filter};
use futures_util::TryStreamExt;
use jetstream::{ClaimError, Log, META_INSIGHTS, Message, Wire};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{End, LogError, Logged, Range, Unreadable};

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

    /// Hands each event of a day to `take`, one at a time, up to an end of this log.
    pub async fn each_event_until(
        &self,
        day: AccountDay,
        end: Option<End>,
        mut take: impl FnMut(Result<Logged, Unreadable>),
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
                    let event_id = event_id(&message);
                    take(match log.whole(message).await {
                        Ok(message) => Logged::open(&message).map_err(|reason| Unreadable { event_id, reason }),
                        Err(ClaimError::Wire(error)) => return Err(error.into()),
                        Err(lost) => {
                            let reason = PayloadError::Lost { reason: lost.to_string() }.into();
                            Err(Unreadable { event_id, reason })
                        }
                    });
                }
            }
            Source::Raw(pool) => {
                let mut events = std::pin::pin!(raw::entries_of_day(pool, day));
                while let Some((event_id, recorded)) = events.try_next().await? {
                    if let (Ok(recorded), Some(End::Raw { stored_at })) = (&recorded, end)
                        && recorded.stored_at > stored_at
                    {
                        continue;
                    }
                    let recorded = recorded.map(|recorded| logged(day, recorded));
                    take(recorded.map_err(|reason| Unreadable { event_id: Some(event_id), reason }));
                }
            }
        }
        Ok(())
    }

    /// Hands out the events of a day but those of these ids, and those that came after the `end` of the other log.
    pub(crate) async fn each_event_but(
        &self,
        day: AccountDay,
        end: Option<End>,
        but: &HashSet<Uuid>,
        mut take: impl FnMut(Result<Logged, Unreadable>),
    ) -> Result<(), LogError> {
        match self {
            Source::Stream(_) => {
                let is_after =
                    |logged: &Logged| matches!(end, Some(End::Raw { stored_at }) if logged.stored_at > stored_at);
                let each = |logged: Result<Logged, Unreadable>| {
                    let is_before = !logged.as_ref().is_ok_and(is_after);
                    if is_before && id_of(&logged).is_some_and(|id| !but.contains(&id)) {
                        take(logged);
                    }
                };
                self.each_event_until(day, None, each).await
            }
            Source::Raw(pool) => {
                let is_after = |origin: &raw::Origin| {
                    matches!(end, Some(End::Stream { incarnation, sequence })
                        if origin.incarnation == incarnation && origin.sequence.cast_unsigned() > sequence)
                };
                // Nearly always there is none, and no payload is read.
                let mut others = raw::origins_of_day(pool, day).await?;
                others.retain(|origin| !but.contains(&origin.event_id) && !is_after(origin));
                if others.is_empty() {
                    return Ok(());
                }
                let ids: HashSet<Uuid> = others.into_iter().map(|origin| origin.event_id).collect();
                let each = |logged: Result<Logged, Unreadable>| {
                    if id_of(&logged).is_some_and(|id| ids.contains(&id)) {
                        take(logged);
                    }
                };
                self.each_event_until(day, None, each).await
            }
        }
    }
}

/// The event that it is, as far as that can be read.
pub(crate) fn id_of(logged: &Result<Logged, Unreadable>) -> Option<Uuid> {
    logged.as_ref().map_or_else(|unreadable| unreadable.event_id, |logged| Some(logged.circumstances.event_id))
}

/// The id that a message says it has, whatever else there is to it.
fn event_id(message: &Message) -> Option<Uuid> {
    let pairs = message.header_pairs();
    pairs.iter().find(|(name, _)| carries(name, "id")).and_then(|(_, id)| id.parse().ok())
}

fn logged(day: AccountDay, recorded: raw::Recorded) -> Logged {
    let raw::Recorded { circumstances, stored_at, payload } = recorded;
    Logged { day, circumstances, stored_at, payload }
}

fn raw_range(range: &Range) -> raw::Range {
    let Range { account_id, ad_account_id, since, until } = *range;
    raw::Range { account_id, ad_account_id, since: Some(since), until: Some(until) }
}
