//! Reading an object, chunk by chunk, and holding its bytes against its name.

use std::sync::Arc;

use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use bytes::Bytes;
use events::Claim;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ClaimError, Description, MOST_OBJECT_BYTES, look};
use crate::{Message, Wire, WireError};

/// One permit is this many bytes of a loaded payload.
const PERMIT_BYTES: u64 = 1 << 20;

/// How many bytes of large payloads a process works on at once. Who would work on more waits until others are done.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    all: u32,
}

impl Budget {
    pub(crate) fn of(bytes: u64) -> Budget {
        let all = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Budget { permits: Arc::new(Semaphore::new(all as usize)), all }
    }

    async fn take(&self, bytes: u64) -> Room {
        let wanted = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.all);
        // Nobody closes it.
        Room { _permit: self.permits.clone().acquire_many_owned(wanted).await.ok().map(Arc::new) }
    }
}

/// A part of the memory that a process has for large payloads, held until the last copy of this is dropped.
#[derive(Debug, Clone, Default)]
pub struct Room {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Wire {
    /// Waits for room for a payload of that many bytes; for all the room there is where they are more than it. Whoever
    /// makes or reads a large payload takes it before, so that a process needs the memory of one of them, however many
    /// are on their way. Hold none while you wait for more.
    pub async fn room(&self, bytes: u64) -> Room {
        self.budget.take(bytes).await
    }

    /// The message with its payload, wherever that is. What is loaded takes [`Wire::room`] until the message is
    /// dropped: hold no other loaded message while you wait for this one.
    pub async fn whole(&self, message: Message) -> Result<Message, ClaimError> {
        let Some(claim) = message.claim() else { return Ok(message) };
        let bucket = self.bucket().await?;
        let description = described(&bucket, &claim).await?;
        let room = self.budget.take(description.size).await;
        let mut payload = Vec::with_capacity(usize::try_from(description.size).unwrap_or_default());
        each_chunk(&bucket, &claim, &description, |chunk| payload.extend_from_slice(chunk)).await?;
        Ok(message.with_payload(Bytes::from(payload), room))
    }

    /// How many bytes the object of that claim has, all of which were read and are the right ones.
    pub async fn prove(&self, claim: &Claim) -> Result<u64, ClaimError> {
        let bucket = self.bucket().await?;
        let description = described(&bucket, claim).await?;
        each_chunk(&bucket, claim, &description, |_| {}).await?;
        Ok(description.size)
    }
}

fn lost(claim: &Claim, what: impl Into<String>) -> ClaimError {
    ClaimError::Lost { claim: *claim, what: what.into() }
}

async fn described(bucket: &Stream, claim: &Claim) -> Result<Description, ClaimError> {
    let found = look(bucket, &claim.name()).await?;
    let Some(description) = found.as_ref().and_then(|found| found.living()) else {
        return Err(lost(claim, "not"));
    };
    if description.size > MOST_OBJECT_BYTES {
        return Err(lost(claim, format!("larger ({} bytes) than {MOST_OBJECT_BYTES} bytes", description.size)));
    }
    Ok(description.clone())
}

/// Hands out the chunks in their order. An error says that they are not what the claim says, and what was handed out is
/// not to be used.
pub(super) async fn each_chunk(
    bucket: &Stream,
    claim: &Claim,
    description: &Description,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ClaimError> {
    let subject = description.chunk_subject();
    let (mut sha256, mut size, mut sequence) = (Sha256::new(), 0, 0);
    for number in 1..=description.chunks {
        let chunk = match bucket.direct_get_next_for_subject(subject.as_str(), Some(sequence + 1)).await {
            Ok(chunk) => chunk,
            Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => {
                let all = description.chunks;
                return Err(lost(claim, format!("not whole (chunk {number} of {all} is missing)")));
            }
            Err(error) => return Err(WireError::request("reading an object", error).into()),
        };
        sequence = chunk.sequence;
        size += chunk.payload.len() as u64;
        if size > description.size {
            break;
        }
        sha256.update(&chunk.payload);
        take(&chunk.payload);
    }
    if size != description.size || sha256.finalize()[..] != claim.sha256()[..] {
        return Err(lost(claim, "damaged"));
    }
    Ok(())
}
