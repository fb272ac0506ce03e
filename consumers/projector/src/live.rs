//! Live traffic: a batch of messages becomes transactions; what can never be folded is parked with its reason.

use std::collections::HashSet;

use events::headers::carries;
use events::subject::AccountDay;
use jetstream::{Disposition, Message, Room};
use logs::Logged;
use projections::{AdAccounts, Snapshot, Unfoldable};
#[cfg(feature = "mutants")]
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::decode::decode;
use crate::fold::{FoldError, fold_events};
use crate::{Projector, Step};

/// Rows after which the decoded events of a batch are folded before more are decoded: small messages can hold much.
const ROWS_A_TRANSACTION: usize = 20_000;
/// The same in bytes of decoded rows. One event can have more, and is folded alone then.
const BYTES_A_TRANSACTION: usize = 16 << 20;

/// Events of a batch that are decoded and not folded yet, with their places in it.
#[derive(Default)]
struct Decoded {
    snapshots: Vec<Snapshot>,
    places: Vec<usize>,
    rows: usize,
    bytes: usize,
    /// What large events among them take, until they are folded.
    rooms: Vec<Room>,
}

/// What the rows of a message can take at most, by what it says of itself: less than its data, of which the lists of actions are
/// left out.
fn most_row_bytes(message: &Message) -> usize {
    let said = message.header_pairs().into_iter().find(|(name, _)| carries(name, "databytes"));
    said.and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or_else(|| message.payload.len())
}

impl Projector {
    pub(crate) async fn handle(&self, messages: Vec<Message>) -> Result<Vec<Disposition>, FoldError> {
        let _spans = jetstream::spans(&messages, |message| {
            tracing::info_span!("fold", otel.kind = "consumer", subject = message.subject, sequence = message.sequence)
        });
        let mut dispositions: Vec<Option<Disposition>> = messages.iter().map(|_| None).collect();
        let mut decoded = Decoded::default();
        let of = |message: &Message| AccountDay::parse(&message.subject).ok().map(|day| day.ad_account_id);
        let ids: HashSet<Uuid> = messages.iter().filter_map(of).collect();
        let ad_accounts = AdAccounts::load(&self.pool, Some(&ids.into_iter().collect::<Vec<_>>())).await?;
        // Each message goes as soon as it is decoded, and its bytes with it.
        for (place, message) in messages.into_iter().enumerate() {
            // Decoding a large event takes a while; others on this thread get their turn in between.
            tokio::task::yield_now().await;
            if decoded.bytes + most_row_bytes(&message) > BYTES_A_TRANSACTION {
                self.commit(std::mem::take(&mut decoded), &mut dispositions).await?;
            }
            let snapshot = Logged::open(&message)
                .map_err(Unfoldable::from)
                .and_then(|logged| decode(&logged, &ad_accounts, self.max_event_bytes));
            decoded.rooms.push(message.room());
            drop(message);
            match snapshot {
                Ok(snapshot) => {
                    warn_of_superseded(&snapshot);
                    decoded.rows += snapshot.rows.len();
                    decoded.bytes += snapshot.rows.bytes();
                    decoded.snapshots.push(snapshot);
                    decoded.places.push(place);
                }
                Err(reason) => dispositions[place] = Some(Disposition::Park { reason: reason.to_string() }),
            }
            if decoded.rows >= ROWS_A_TRANSACTION || decoded.bytes >= BYTES_A_TRANSACTION {
                self.commit(std::mem::take(&mut decoded), &mut dispositions).await?;
            }
        }
        self.commit(decoded, &mut dispositions).await?;
        Ok(dispositions.into_iter().map(|d| d.unwrap_or(Disposition::Ack)).collect())
    }

    async fn commit(&self, decoded: Decoded, dispositions: &mut [Option<Disposition>]) -> Result<(), FoldError> {
        let (folded, refused) = fold_events(&self.pool, &self.folds, decoded.snapshots).await?;
        for (at, reason) in refused {
            dispositions[decoded.places[at]] = Some(Disposition::Park { reason });
        }
        (self.observe)(Step::Committed { events: folded.events });
        Ok(())
    }

    #[cfg(feature = "mutants")]
    /// The planted fault: acknowledges, then folds. What is lost between the two is lost for good.
    pub(crate) async fn run_acknowledging_first(&self, cancel: &CancellationToken) {
        let Ok(puller) = self.wire.puller(jetstream::META_INSIGHTS, crate::DURABLE).await else { return };
        let patience = std::time::Duration::from_secs(1);
        while let Some(Ok(batch)) = cancel
            .run_until_cancelled(puller.next_batch(self.limits.max_messages, self.limits.max_bytes, patience))
            .await
        {
            for delivery in &batch {
                puller.settle(delivery, Disposition::Ack).await;
            }
            let messages = batch.iter().map(|delivery| delivery.message.clone()).collect();
            let _ = self.handle(messages).await;
        }
    }
}

/// Meta has several rows for an ad, and one counts. The raw log has them all, `row_count` in it and in `observations` differ by
/// them, and so `adledger reconcile` names the day; here the ads are named.
fn warn_of_superseded(snapshot: &Snapshot) {
    if !snapshot.superseded.is_empty() {
        let AccountDay { ad_account_id, date, .. } = snapshot.day;
        let (rows, ads) = (snapshot.superseded.len(), &snapshot.superseded[..snapshot.superseded.len().min(5)]);
        tracing::warn!(%ad_account_id, %date, rows, ?ads, "Meta has rows that differ for one ad and day: the last one counts");
    }
}
