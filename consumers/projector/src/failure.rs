//! What a failure of PostgreSQL's says of a transaction that folds: try again, wait, or leave an event out.

use std::collections::HashSet;

use events::subject::AccountDay;
use projections::{Folds, Snapshot};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// How often a transaction that lost a deadlock or a serialization race is tried before the batch waits its turn.
pub(crate) const TRIES: usize = 10;

/// An event that was not folded, as live traffic could not fold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFolded {
    pub day: AccountDay,
    /// `None`: not even that can be read.
    pub event_id: Option<Uuid>,
    pub reason: String,
}

impl NotFolded {
    /// What tells it from others; `None` where its id cannot be read.
    pub(crate) fn key(&self) -> Option<(AccountDay, Uuid)> {
        Some((self.day, self.event_id?))
    }
}

/// So many of them are named; the others are counted.
const NAMED: usize = 1_000;

/// Events that were not folded, each counted once, however often it was met.
#[derive(Debug, Default, Clone)]
pub struct AllNotFolded {
    named: Vec<NotFolded>,
    known: HashSet<(AccountDay, Uuid)>,
    pub count: u64,
}

impl AllNotFolded {
    pub fn named(&self) -> &[NotFolded] {
        &self.named
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Extend<NotFolded> for AllNotFolded {
    fn extend<I: IntoIterator<Item = NotFolded>>(&mut self, events: I) {
        for event in events {
            let is_known = match event.key() {
                Some(key) => !self.known.insert(key),
                None => self.named.contains(&event),
            };
            if is_known {
                continue;
            }
            self.count += 1;
            if self.named.len() < NAMED {
                self.named.push(event);
            }
        }
    }
}

pub(crate) enum Class {
    /// Another transaction was in the way; the same again may work at once.
    Race,
    /// The data will be refused again.
    Data,
    /// The database is not there, or not well.
    Infrastructure,
}

/// What kind of failure an error of the database's is, by its SQLSTATE.
pub(crate) fn class(error: &sqlx::Error) -> Class {
    match error.as_database_error().and_then(|e| e.code()).as_deref() {
        Some("40001" | "40P01") => Class::Race,
        _ if raw::refuses_data(error) => Class::Data,
        _ => Class::Infrastructure,
    }
}

/// Why an event is parked that PostgreSQL refuses.
pub(crate) fn refusal(error: &sqlx::Error) -> String {
    format!("PostgreSQL refuses it: {error}")
}

/// Which of these events PostgreSQL refuses, each tried after those before it that it took. The caller takes all of it
/// back: what a refused event held back of older ones is read again without it.
pub(crate) async fn refused_of(conn: &mut PgConnection, snapshots: &[Snapshot]) -> sqlx::Result<Vec<NotFolded>> {
    let mut refused = Vec::new();
    for snapshot in snapshots {
        let mut savepoint = conn.begin().await?;
        match Folds::default().fold_days(&mut savepoint, &[snapshot]).await {
            Ok(_) => savepoint.commit().await?,
            Err(error) if matches!(class(&error), Class::Data) => {
                savepoint.rollback().await?;
                let event_id = Some(snapshot.version.event_id);
                refused.push(NotFolded { day: snapshot.day, event_id, reason: refusal(&error) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}
