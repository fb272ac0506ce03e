//! Writing back what one log lacks, from the other.
//!
//! Nothing here decides which side is right: the sha256 that was recorded when the event came does. Each step may be
//! repeated: an append finds its row, bytes are put where their own sha256 says, and a message that is published a
//! second time is an event that every consumer has seen. A process that dies in between leaves differences, and the
//! next audit finds them.

use bytes::Bytes;
use events::subject::AccountDay;
use jetstream::{ClaimError, Message, PUBLISH_WITHIN, PublishError};

use super::compare::{Compared, Difference, InStream, Kind};
use super::{Audit, AuditError, read};
use crate::append::{Appended, append_each};

/// Events appended in one transaction.
const APPEND_AT_ONCE: usize = 32;

impl Audit<'_> {
    /// Does for each difference of the day what can be done. Whether it helped, the next comparison says; what is known
    /// of why it did not is returned.
    pub(super) async fn heal(
        &self,
        day: AccountDay,
        compared: &Compared,
        stream: &[InStream],
    ) -> Result<Vec<(Difference, String)>, AuditError> {
        let mut refused = Vec::new();
        // Appending looks at the bytes that are there, and so mends them too.
        let of_raw = |d: &&Difference| matches!(d.kind, Kind::MissingInRaw | Kind::DamagedInRaw);
        let of_raw: Vec<&Difference> = compared.differences.iter().filter(of_raw).collect();
        for some in of_raw.chunks(APPEND_AT_ONCE) {
            self.append(some, &mut refused).await?;
        }
        for difference in &compared.differences {
            let done = match difference.kind {
                Kind::MissingInRaw | Kind::DamagedInRaw => Ok(()),
                Kind::MissingInStream => self.republish(day, difference).await?,
                Kind::DamagedInStream => {
                    let has_true_copy = stream
                        .iter()
                        .any(|copy| copy.event_id == difference.event_id && compared.proven.contains(&copy.sequence));
                    let published = if has_true_copy { Ok(()) } else { self.republish(day, difference).await? };
                    // The true copy is stored before the false one goes.
                    if let (Ok(()), Some(sequence)) = (&published, difference.sequence) {
                        self.log.delete(sequence).await?;
                    }
                    published
                }
                Kind::NoGoodCopy => Err("no copy has the bytes that came: fetch the day again".to_owned()),
                Kind::InNeither => Err("it was folded, and cannot be folded again: fetch the day again".to_owned()),
                Kind::OtherHeaders => Err("nothing proves which headers are right: look at both".to_owned()),
            };
            if let Err(reason) = done {
                refused.push((difference.clone(), reason));
            }
        }
        Ok(refused)
    }

    /// Appends the stream's copies, as raw's consumer would.
    async fn append(
        &self,
        differences: &[&Difference],
        refused: &mut Vec<(Difference, String)>,
    ) -> Result<(), AuditError> {
        let (mut found, mut messages) = (Vec::new(), Vec::new());
        for difference in differences {
            let Some(message) = self.message(difference).await? else { continue };
            if message.claim().is_some() {
                self.append_large(difference, message, refused).await?;
            } else {
                found.push(*difference);
                messages.push(message);
            }
        }
        self.append_messages(&found, &messages, refused).await
    }

    /// Appends one whose payload is beside it, by itself: memory holds one such.
    async fn append_large(
        &self,
        difference: &Difference,
        message: Message,
        refused: &mut Vec<(Difference, String)>,
    ) -> Result<(), AuditError> {
        match self.log.whole(message).await {
            Ok(message) => self.append_messages(&[difference], &[message], refused).await,
            Err(ClaimError::Wire(error)) => Err(error.into()),
            Err(lost) => {
                refused.push((difference.clone(), lost.to_string()));
                Ok(())
            }
        }
    }

    async fn append_messages(
        &self,
        differences: &[&Difference],
        messages: &[Message],
        refused: &mut Vec<(Difference, String)>,
    ) -> Result<(), AuditError> {
        let appended = append_each(self.pool, self.log.incarnation(), messages).await?;
        for (difference, outcome) in differences.iter().zip(appended) {
            if let Appended::Refused(reason) = outcome {
                refused.push(((*difference).clone(), reason));
            }
        }
        Ok(())
    }

    async fn message(&self, difference: &Difference) -> Result<Option<Message>, AuditError> {
        let Some(sequence) = difference.sequence else { return Ok(None) };
        Ok(self.log.at(sequence).await?)
    }

    /// Publishes raw's copy: the same headers and bytes. The message id is one of this audit's own, because the stream
    /// remembers for a while the id of a message that it has lost.
    async fn republish(&self, day: AccountDay, difference: &Difference) -> Result<Result<(), String>, AuditError> {
        let recorded = sqlx::query!(
            "select r.headers, p.payload from meta_insights_raw r join meta_payloads p using (account_id, payload_sha256)
             where r.account_id = $1 and r.ad_account_id = $2 and r.date = $3 and r.event_id = $4",
            day.account_id,
            day.ad_account_id,
            day.date,
            difference.event_id,
        )
        .fetch_one(self.pool)
        .await?;
        let id = format!("audit:{}:{}", difference.event_id, self.last_sequence);
        let (subject, headers) = (day.subject(), read::owned(&recorded.headers).collect::<Vec<_>>());
        let payload = Bytes::from(recorded.payload);
        match self.wire.publish_pairs(&subject, &id, &headers, payload, PUBLISH_WITHIN).await {
            Ok(_) => Ok(Ok(())),
            Err(error @ (PublishError::Full { .. } | PublishError::Unreachable { .. })) => Err(error.into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}
