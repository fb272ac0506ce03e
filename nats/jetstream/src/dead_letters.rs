//! Parked messages: written ([`Wire::park`]), read ([`Letter`]), published again ([`DeadLetters::retry`]) and deleted.

mod letter;
mod park;
mod retry;

use std::collections::{BTreeMap, BTreeSet};

use events::{Claim, subject};
use uuid::Uuid;

pub use self::letter::{Letter, Origin};
pub use self::retry::{LetterError, Original};
use crate::{DEAD_LETTERS, Log, Wire, WireError};

/// The stream of parked messages. Letters are read one at a time, so that memory holds one, however many there are.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    wire: Wire,
    log: Log,
}

/// Which letters are meant; all of them where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct Which {
    pub stream: Option<String>,
    pub consumer: Option<String>,
    /// The tenant that the message's subject names.
    pub account_id: Option<Uuid>,
}

impl Which {
    /// What to ask the server for.
    fn filter(&self) -> String {
        subject::dead_letter_filter(self.stream.as_deref(), self.consumer.as_deref(), self.account_id)
    }
}

impl Wire {
    /// The dead letters.
    pub async fn dead_letters(&self) -> Result<DeadLetters, WireError> {
        Ok(DeadLetters { wire: self.clone(), log: self.log(DEAD_LETTERS).await? })
    }
}

impl DeadLetters {
    /// The letter of that id.
    pub async fn letter(&self, id: u64) -> Result<Option<Letter>, WireError> {
        Ok(self.log.at(id).await?.map(Letter::open))
    }

    /// These letters, from this id on.
    pub fn read(&self, which: &Which, from: u64) -> Reading {
        Reading { log: self.log.clone(), filter: which.filter(), from }
    }

    /// The first of these letters whose id is `from` or above.
    pub async fn next(&self, which: &Which, from: u64) -> Result<Option<Letter>, WireError> {
        self.read(which, from).next().await
    }

    /// How many of these letters there are.
    pub async fn count(&self, which: &Which) -> Result<u64, WireError> {
        Ok(self.log.counts(&which.filter()).await?.into_iter().map(|(_, count)| count).sum())
    }

    /// How many letters there are by stream and consumer; both are empty for those that something else wrote elsewhere.
    pub async fn by_consumer(&self) -> Result<BTreeMap<(String, String), u64>, WireError> {
        let mut letters = BTreeMap::new();
        for (subject, count) in self.log.counts(&Which::default().filter()).await? {
            let (stream, consumer) = subject::of_dead_letter(&subject).unwrap_or_default();
            *letters.entry((stream.to_owned(), consumer.to_owned())).or_default() += count;
        }
        Ok(letters)
    }

    /// The claims of payloads that letters need to be published again.
    pub async fn claims(&self) -> Result<BTreeSet<Claim>, WireError> {
        let (mut claims, mut letters) = (BTreeSet::new(), self.read(&Which::default(), 1));
        while let Some(letter) = letters.next().await? {
            claims.extend(letter.claim());
        }
        Ok(claims)
    }

    /// The id of the newest letter there has been; 0 where none was.
    pub async fn last_id(&self) -> Result<u64, WireError> {
        Ok(self.log.level().await?.last_sequence)
    }

    /// Deletes the letter, and nothing else.
    pub async fn discard(&self, letter: &Letter) -> Result<(), WireError> {
        self.log.delete(letter.id).await
    }
}

/// Letters in the order of their ids.
#[derive(Debug)]
pub struct Reading {
    log: Log,
    filter: String,
    from: u64,
}

impl Reading {
    pub async fn next(&mut self) -> Result<Option<Letter>, WireError> {
        let letter = self.log.next(&self.filter, self.from).await?.map(Letter::open);
        if let Some(letter) = &letter {
            self.from = letter.id + 1;
        }
        Ok(letter)
    }
}
