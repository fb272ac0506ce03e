//! Putting an object where none is, and never over one that is whole.

use std::collections::VecDeque;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use bytes::Bytes;
use events::Claim;

use super::load::each_chunk;
use super::{ClaimError, Description, description_subject, look};
use crate::publish::{Attempt, acknowledged};
use crate::{Wire, WireError};

/// As large as fits into a message of any server that is set up as servers are by default, whose limit is twice this.
const CHUNK_BYTES: usize = 512 << 10;
/// What a chunk's message has beside the chunk.
const CHUNK_OVERHEAD_BYTES: usize = 1 << 10;
/// Chunks that are on their way at once.
const IN_FLIGHT: usize = 4;
/// What the server says to whom somebody else was quicker than.
const WRONG_LAST: [ErrorCode; 2] =
    [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];
/// How often one is refused because somebody else was quicker. He had the same bytes, so once is what happens.
const RACES: usize = 8;

impl Wire {
    /// Sees to it that the bucket holds these bytes under the name of the claim: every chunk and the description are
    /// acknowledged when this returns. Repeating it is safe, after whatever broke it off.
    ///
    /// An object that is there is read, and used if it is whole; its description is then published anew, so that the
    /// object counts as young, and is not taken for an orphan before the event that needs it is in the log.
    pub(crate) async fn put(&self, claim: &Claim, payload: &Bytes) -> Result<(), Attempt> {
        let wire = |error: WireError| Attempt::Again(error.to_string());
        let bucket = self.bucket().await.map_err(wire)?;
        let mut own = None;
        for _ in 0..RACES {
            let found = look(&bucket, &claim.name()).await.map_err(wire)?;
            let there = found.as_ref().and_then(|found| found.living());
            let is_whole = match there {
                Some(there) => match each_chunk(&bucket, claim, there, |_| {}).await {
                    Ok(()) => true,
                    Err(ClaimError::Lost { what, .. }) => {
                        tracing::warn!(object = claim.name(), what, "an object is put again");
                        false
                    }
                    Err(ClaimError::Wire(error)) => return Err(wire(error)),
                },
                None => false,
            };
            let description = match (there.filter(|_| is_whole), own.take()) {
                (Some(there), _) => there.clone(),
                (None, Some(uploaded)) => uploaded,
                (None, None) => self.upload(claim, payload).await?,
            };
            let last = found.map_or(0, |found| found.sequence);
            if self.describe(&description, last).await? {
                return Ok(());
            }
            own = (!is_whole).then_some(description);
        }
        Err(Attempt::Again(format!("object {} is put by others all the time", claim.name())))
    }

    /// Stores the chunks, under a subject that nobody else has.
    async fn upload(&self, claim: &Claim, payload: &Bytes) -> Result<Description, Attempt> {
        // The client's own generator of unique names makes the last token of an inbox.
        let inbox = self.client.new_inbox();
        let nuid = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        let chunk_bytes = CHUNK_BYTES.min(self.max_payload_bytes().saturating_sub(CHUNK_OVERHEAD_BYTES)).max(1);
        let chunks = payload.len().div_ceil(chunk_bytes);
        let description = Description::new(claim, nuid, payload.len() as u64, chunks);
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
        for number in 0..chunks {
            let chunk = payload.slice(number * chunk_bytes..payload.len().min((number + 1) * chunk_bytes));
            if in_flight.len() == IN_FLIGHT
                && let Some(oldest) = in_flight.pop_front()
            {
                acknowledged(oldest).await?;
            }
            let publishing = self.context.publish(description.chunk_subject(), chunk).await;
            in_flight.push_back(publishing.map_err(|error| Attempt::Again(error.to_string()))?);
        }
        for publishing in in_flight {
            acknowledged(publishing).await?;
        }
        Ok(description)
    }

    /// Publishes a description after the one of that sequence (0: none); whether it was taken. If not, there is a newer
    /// one.
    pub(super) async fn describe(&self, description: &Description, last: u64) -> Result<bool, Attempt> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
        let text = serde_json::to_vec(description).map_err(|error| Attempt::Again(error.to_string()))?;
        let subject = description_subject(&description.name);
        let publishing = self.context.publish_with_headers(subject, headers, text.into()).await;
        match acknowledged(publishing.map_err(|error| Attempt::Again(error.to_string()))?).await {
            Ok(_) => Ok(true),
            Err(Attempt::Refused(error)) if WRONG_LAST.contains(&error.error_code()) => Ok(false),
            Err(attempt) => Err(attempt),
        }
    }
}
