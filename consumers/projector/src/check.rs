//! Whether every event of a log can still be decoded: by the contract's own decoder, with its upcasters, and by that of the
//! folds. A log is there for years, and the code that reads it changes.
//!
//! Nothing is compared and nothing is written: an event that can be decoded may still be one that must not be folded.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use events::EventError;
use events::headers::carries;
use events::payload::PayloadError;
use events::subject::{AccountDay, insights_filter};
use futures_util::TryStreamExt;
use jetstream::{ClaimError, Log, META_INSIGHTS, Wire};
use logs::{LogError, Logged};
use projections::AdAccounts;
use sqlx::PgPool;
use uuid::Uuid;

use crate::decode::decode;

/// Goes through logs.
#[derive(Clone)]
pub struct Check {
    pub pool: PgPool,
    /// Decompressed size up to which an event is read.
    pub max_event_bytes: u64,
}

/// An event that cannot be decoded, and where it is.
#[derive(Debug, Clone)]
pub struct Undecodable {
    pub subject: String,
    /// Its place in the stream; `None` in the raw log.
    pub sequence: Option<u64>,
    /// `None` where even that cannot be read.
    pub event_id: Option<Uuid>,
    pub reason: String,
}

/// How far a check has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Messages of the stream, or days of the raw log.
    pub done: u64,
    pub total: u64,
    pub events: u64,
    pub undecodable: u64,
}

impl Check {
    /// Decodes every message of the insights stream. One is in memory at a time.
    pub async fn stream(
        &self,
        wire: &Wire,
        mut take: impl FnMut(Undecodable),
        progress: impl Fn(&Checked),
    ) -> Result<Checked, LogError> {
        let ad_accounts = AdAccounts::load(&self.pool, None).await?;
        let log = wire.log(META_INSIGHTS).await?;
        let level = log.level().await?;
        let mut checked = Checked { total: level.messages, ..Checked::default() };
        let (every, mut sequence) = (insights_filter(None, None), 1);
        // What comes from now on is for the next check: so this one comes to an end.
        while let Some(message) = log.next(&every, sequence).await?.filter(|m| m.sequence <= level.last_sequence) {
            sequence = message.sequence + 1;
            let subject = message.subject.clone();
            let at = (subject, Some(message.sequence));
            let opened = open(&log, message).await?;
            checked.take(at, opened, &mut take, |logged| self.reason(logged, &ad_accounts));
            progress(&checked);
        }
        Ok(checked)
    }

    /// Decodes every event of the raw log.
    pub async fn raw(
        &self,
        mut take: impl FnMut(Undecodable),
        progress: impl Fn(&Checked),
    ) -> Result<Checked, LogError> {
        let ad_accounts = AdAccounts::load(&self.pool, None).await?;
        let days = raw::days(&self.pool, &raw::Range::default()).await?;
        let key = |day: AccountDay| (day.date, day.account_id, day.ad_account_id);
        let days: BTreeSet<(NaiveDate, Uuid, Uuid)> = days.into_iter().map(key).collect();
        let mut checked = Checked { total: days.len() as u64, ..Checked::default() };
        for (date, account_id, ad_account_id) in days {
            let day = AccountDay { account_id, ad_account_id, date };
            let mut events = std::pin::pin!(raw::entries_of_day(&self.pool, day));
            while let Some((event_id, recorded)) = events.try_next().await? {
                let opened = recorded.map(|r| Logged {
                    day,
                    circumstances: r.circumstances,
                    stored_at: r.stored_at,
                    payload: r.payload,
                });
                let opened = opened.map_err(|reason| (Some(event_id), reason));
                checked.take((day.subject(), None), opened, &mut take, |logged| self.reason(logged, &ad_accounts));
            }
            checked.done += 1;
            progress(&checked);
        }
        Ok(checked)
    }

    /// Why an event cannot be decoded, if so. That it was early when it came is no matter of decoding.
    fn reason(&self, logged: Logged, ad_accounts: &AdAccounts) -> Option<String> {
        decode(&logged.no_longer_early(), ad_accounts, self.max_event_bytes).err().map(|reason| reason.to_string())
    }
}

/// A message with its payload, wherever that is.
async fn open(log: &Log, message: jetstream::Message) -> Result<Result<Logged, (Option<Uuid>, EventError)>, LogError> {
    let said = message.header_pairs().into_iter().find(|(name, _)| carries(name, "id"));
    let id = said.and_then(|(_, id)| id.parse().ok());
    Ok(match log.whole(message).await {
        Ok(message) => Logged::open(&message).map_err(|reason| (id, reason)),
        Err(ClaimError::Wire(error)) => return Err(error.into()),
        Err(lost) => Err((id, PayloadError::Lost { reason: lost.to_string() }.into())),
    })
}

impl Checked {
    fn take(
        &mut self,
        (subject, sequence): (String, Option<u64>),
        opened: Result<Logged, (Option<Uuid>, EventError)>,
        take: &mut impl FnMut(Undecodable),
        reason: impl FnOnce(Logged) -> Option<String>,
    ) {
        self.events += 1;
        self.done += u64::from(sequence.is_some());
        let (event_id, reason) = match opened {
            Ok(logged) => (Some(logged.circumstances.event_id), reason(logged)),
            Err((event_id, error)) => (event_id, Some(error.to_string())),
        };
        if let Some(reason) = reason {
            self.undecodable += 1;
            take(Undecodable { subject, sequence, event_id, reason });
        }
    }
}
