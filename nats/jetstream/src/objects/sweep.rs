//! Taking out objects that no event needs. Nobody calls this but a person's command.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use events::{BUCKET, Claim};
use serde::Serialize;

use super::{Description, Found, chunk_subject, description_subject, look};
use crate::message::microseconds;
use crate::publish::Attempt;
use crate::{Log, OBJ_META_PAYLOADS, Wire, WireError};

/// The bucket, as who cleans it sees it.
#[derive(Debug, Clone)]
pub struct Objects {
    wire: Wire,
    log: Log,
}

/// Objects that no event names: a process died between putting one and publishing its event, or its events were
/// trimmed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Orphans {
    pub objects: u64,
    pub bytes: u64,
    /// They were removed.
    pub removed: bool,
}

impl Wire {
    /// The objects of payloads that fit into no message.
    pub async fn objects(&self) -> Result<Objects, WireError> {
        Ok(Objects { wire: self.clone(), log: self.log(OBJ_META_PAYLOADS).await? })
    }
}

impl Objects {
    /// Finds, and removes if asked to, what was stored before that instant and is not among the claims. The instant
    /// must be far enough in the past for every event to be in the log whose object was put then: a day.
    pub async fn orphans(
        &self,
        claimed: &BTreeSet<Claim>,
        stored_before: DateTime<Utc>,
        remove: bool,
    ) -> Result<Orphans, WireError> {
        // The chunks first: those that come later belong to descriptions that come later still.
        let all_chunks = format!("$O.{BUCKET}.C.*");
        let nuids: Vec<String> = self.log.counts(&all_chunks).await?.into_iter().map(|(subject, _)| subject).collect();
        let mut orphans = Orphans { removed: remove, ..Orphans::default() };
        let mut used: HashSet<String> = HashSet::new();
        for (subject, last) in self.newest_descriptions().await? {
            let name = last.description.as_ref().map(|description| description.name.clone()).unwrap_or_default();
            let claim = Claim::named(&name).filter(|claim| description_subject(&claim.name()) == subject);
            let is_needed = claim.is_some_and(|claim| claimed.contains(&claim)) || last.stored_at >= stored_before;
            match (is_needed, last.living()) {
                (true, Some(living)) => {
                    used.insert(living.chunk_subject());
                    if remove {
                        // Descriptions that a newer one of the same name stands in for.
                        self.log.purge(&subject, last.sequence - 1).await?;
                    }
                }
                (true, None) => {}
                (false, living) => {
                    orphans.objects += u64::from(living.is_some());
                    orphans.bytes += living.map_or(0, |living| living.size);
                    match (remove, living) {
                        (true, Some(living)) => drop(self.take_out(&last, living).await?),
                        (true, None) => self.log.purge(&subject, last.sequence).await?,
                        (false, Some(living)) => drop(used.insert(living.chunk_subject())),
                        (false, None) => {}
                    }
                }
            }
        }
        for subject in nuids.iter().filter(|subject| !used.contains(*subject)) {
            let Some(first) = self.log.next(subject, 1).await? else { continue };
            if first.stored_at >= stored_before {
                continue;
            }
            orphans.objects += 1;
            orphans.bytes += first.payload.len() as u64;
            if remove {
                self.log.purge(subject, u64::MAX - 1).await?;
            }
        }
        Ok(orphans)
    }

    /// Removes the object of that claim if it was stored, or used again, before that instant; whether it is gone.
    pub async fn remove(&self, claim: &Claim, stored_before: DateTime<Utc>) -> Result<bool, WireError> {
        let bucket = self.wire.bucket().await?;
        let Some(found) = look(&bucket, &claim.name()).await? else { return Ok(true) };
        match found.living() {
            Some(_) if found.stored_at >= stored_before => Ok(false),
            Some(living) => self.take_out(&found, living).await,
            None => Ok(true),
        }
    }

    /// Says that the object is gone, on the condition that nobody has used it again since it was looked at; then
    /// deletes its chunks, and last what was said of it. A publisher that comes in between finds no object, and puts
    /// one.
    async fn take_out(&self, found: &Found, living: &Description) -> Result<bool, WireError> {
        let gone = Description { deleted: true, size: 0, chunks: 0, digest: String::new(), ..living.clone() };
        match self.wire.describe(&gone, found.sequence).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(attempt) => return Err(WireError::request("removing an object", attempt.reason())),
        }
        self.log.purge(&chunk_subject(&living.nuid), u64::MAX - 1).await?;
        let subject = description_subject(&living.name);
        let bucket = self.wire.bucket().await?;
        let said = look(&bucket, &living.name).await?.filter(|said| said.description.as_ref() == Some(&gone));
        if let Some(said) = said {
            self.log.purge(&subject, said.sequence).await?;
        }
        Ok(true)
    }

    /// The newest description of each name, by its subject.
    async fn newest_descriptions(&self) -> Result<BTreeMap<String, Found>, WireError> {
        let filter = format!("$O.{BUCKET}.M.*");
        let (mut newest, mut from) = (BTreeMap::new(), 1);
        while let Some(message) = self.log.next(&filter, from).await? {
            from = message.sequence + 1;
            let found = Found {
                sequence: message.sequence,
                stored_at: microseconds(message.stored_at),
                description: serde_json::from_slice(&message.payload).ok(),
            };
            newest.insert(message.subject, found);
        }
        Ok(newest)
    }
}

impl Attempt {
    fn reason(self) -> String {
        match self {
            Attempt::Again(reason) => reason,
            Attempt::Refused(error) => error.to_string(),
            Attempt::Final(error) => error.to_string(),
        }
    }
}
