//! A day of the logs, decoded for the folds: what a replay, a rebuild and the past are made of.
//!
//! Days are read by tasks of their own, so that decoding and writing overlap, and handed on as transactions' worth.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use events::subject::AccountDay;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use logs::{End, LogError, Logged, Logs, Range, Unreadable};
use projections::{AdAccounts, Snapshot, snapshot};
use sqlx::PgExecutor;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::decode::admit;
use crate::failure::NotFolded;

/// Days that are read at once: decoding them costs the processor as much as PostgreSQL spends on their rows.
pub(crate) const READERS: usize = 2;
/// Days after which a transaction is complete, whatever they hold.
const DAYS_A_TRANSACTION: usize = 100;

/// How often an event is looked for that live traffic has folded and the log that is read does not give: the raw log may be
/// a moment behind the projector.
pub(crate) const LOOKED_FOR: u32 = 4;
/// How long it is waited for in between.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Days with all their snapshots, of which each holds only the rows that no newer one of its day has.
#[derive(Debug, Default)]
pub(crate) struct DayBatch {
    pub days: BTreeSet<AccountDay>,
    pub snapshots: Vec<Snapshot>,
    /// Bytes of payload, as they travelled.
    pub payload_bytes: u64,
    pub not_folded: Vec<NotFolded>,
}

impl DayBatch {
    /// Takes what more was read, maybe of the same days.
    pub fn append(&mut self, mut more: DayBatch) {
        self.days.append(&mut more.days);
        self.snapshots.append(&mut more.snapshots);
        self.payload_bytes += more.payload_bytes;
        // Looked for once more, an event of a day is refused once more.
        let again: HashSet<(AccountDay, Uuid)> = more.not_folded.iter().filter_map(NotFolded::key).collect();
        self.not_folded.retain(|event| event.key().is_none_or(|key| !again.contains(&key)));
        self.not_folded.append(&mut more.not_folded);
    }

    pub fn rows(&self) -> usize {
        self.snapshots.iter().map(|snapshot| snapshot.rows.len()).sum()
    }
}

/// Which events of a day are read.
pub(crate) type Wanted = dyn Fn(&Logged) -> bool + Send + Sync;

/// How days are read.
#[derive(Clone)]
pub(crate) struct Reader {
    pub logs: Logs,
    /// Where the first log ends for whoever reads: what came later is live traffic's.
    pub end: Option<End>,
    pub ad_accounts: Arc<AdAccounts>,
    pub wanted: Arc<Wanted>,
    /// Events that PostgreSQL refused, with its reason: they are read over, and said.
    pub refused: HashMap<(AccountDay, Uuid), String>,
    pub came_true: Arc<HashSet<Uuid>>,
    pub max_event_bytes: u64,
}

/// Events of the future whose time has come; see [`Logged::no_longer_early`].
pub(crate) async fn came_true(db: impl PgExecutor<'_>, range: &Range) -> sqlx::Result<Arc<HashSet<Uuid>>> {
    let ids = sqlx::query_scalar!(
        "select r.event_id from meta_insights_raw r
         join observations o using (account_id, ad_account_id, date, event_id)
         where ($1::uuid is null or r.account_id = $1) and ($2::uuid is null or r.ad_account_id = $2)
           and r.date between $3 and $4 and r.fetched_at > r.stored_at",
        range.account_id,
        range.ad_account_id,
        range.since,
        range.until,
    )
    .fetch_all(db)
    .await?;
    Ok(Arc::new(ids.into_iter().collect()))
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("reading the log broke off")]
    BrokenOff(#[source] tokio::task::JoinError),
}

impl Reader {
    /// Reads a day.
    pub async fn day(&self, day: AccountDay) -> Result<DayBatch, LogError> {
        let mut read = DayBatch { days: BTreeSet::from([day]), ..DayBatch::default() };
        let mut taken = HashSet::new();
        // An event may be there twice, and only its later copy be one that can be folded.
        let mut refused: HashMap<Uuid, String> = HashMap::new();
        let is_read_over = |logged: &Logged| {
            !(self.wanted)(logged) || self.refused.contains_key(&(day, logged.circumstances.event_id))
        };
        let take = |logged: Result<Logged, Unreadable>| match logged {
            Ok(logged) if is_read_over(&logged) || taken.contains(&logged.circumstances.event_id) => true,
            Ok(logged) => {
                let event_id = logged.circumstances.event_id;
                read.payload_bytes += logged.payload.len() as u64;
                match self.admit(logged) {
                    Ok(snapshot) => {
                        taken.insert(event_id);
                        refused.remove(&event_id);
                        snapshot::push_trimmed(&mut read.snapshots, snapshot);
                        true
                    }
                    Err(reason) => {
                        refused.insert(event_id, reason);
                        false
                    }
                }
            }
            Err(Unreadable { event_id: Some(event_id), reason }) => {
                if !taken.contains(&event_id) {
                    refused.insert(event_id, reason.to_string());
                }
                false
            }
            Err(Unreadable { event_id: None, reason }) => {
                read.not_folded.push(NotFolded { day, event_id: None, reason: reason.to_string() });
                false
            }
        };
        self.logs.each_event(day, self.end, take).await?;
        let before = self.refused.iter().filter(|((of, _), _)| *of == day);
        refused.extend(before.map(|((_, event_id), reason)| (*event_id, reason.clone())));
        let refused = refused.into_iter();
        read.not_folded.extend(refused.map(|(id, reason)| NotFolded { day, event_id: Some(id), reason }));
        Ok(read)
    }

    fn admit(&self, logged: Logged) -> Result<Snapshot, String> {
        let came_true = self.came_true.contains(&logged.circumstances.event_id);
        let logged = if came_true { logged.no_longer_early() } else { logged };
        admit(&logged, &self.ad_accounts, self.max_event_bytes)
    }

    /// Reads these days again, without the events that were refused, now and before.
    pub async fn again(&mut self, days: &BTreeSet<AccountDay>, refused: Vec<NotFolded>) -> Result<DayBatch, LogError> {
        self.refused.extend(refused.into_iter().filter_map(|event| Some((event.key()?, event.reason))));
        let mut again = DayBatch::default();
        for day in days {
            again.append(self.day(*day).await?);
        }
        Ok(again)
    }

    /// Days in their order, read `rows_a_transaction` at a time or a few more.
    pub fn batches(
        &self,
        days: Vec<AccountDay>,
        rows_a_transaction: usize,
    ) -> impl Stream<Item = Result<DayBatch, ReadError>> + Send + use<> {
        let reader = self.clone();
        let reads = stream::iter(days).map(move |day| reader.spawn(day)).buffered(READERS);
        stream::try_unfold(reads, move |mut reads| async move {
            let mut batch = DayBatch::default();
            while let Some(read) = reads.try_next().await? {
                batch.append(read);
                if batch.rows() >= rows_a_transaction || batch.days.len() >= DAYS_A_TRANSACTION {
                    break;
                }
            }
            Ok((!batch.days.is_empty()).then_some((batch, reads)))
        })
    }

    /// Reads a day in a task of its own, which is broken off when the future is dropped.
    fn spawn(&self, day: AccountDay) -> impl Future<Output = Result<DayBatch, ReadError>> + Send + use<> {
        let reader = self.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move { Ok(reader.day(day).await?) }));
        async { task.await.unwrap_or_else(|broken| Err(ReadError::BrokenOff(broken))) }
    }
}
