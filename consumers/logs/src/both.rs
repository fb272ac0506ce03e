//! Both logs as one: what the first has lost, or holds in a form nobody can read, the other may still say.

use std::collections::HashSet;

use events::subject::AccountDay;
use uuid::Uuid;

use crate::source::id_of;
use crate::{End, LogError, Logged, Range, Source, Unreadable};

/// The log that is read, and the one that helps out.
#[derive(Debug, Clone)]
pub struct Logs {
    pub first: Source,
    pub other: Option<Source>,
}

impl From<Source> for Logs {
    fn from(first: Source) -> Self {
        Logs { first, other: None }
    }
}

impl Logs {
    /// The account-days of which either holds an event: old days may have left the stream for good.
    pub async fn days(&self, range: &Range) -> Result<HashSet<AccountDay>, LogError> {
        let mut days = self.first.days(range).await?;
        if let Some(other) = &self.other {
            days.extend(other.days(range).await?);
        }
        Ok(days)
    }

    /// Hands each event of a day to `take`, one at a time, which says whether it is of use. The other log is asked for
    /// those that the first one does not have, or has and are of no use. Up to an end of the first one, if one is given.
    pub async fn each_event(
        &self,
        day: AccountDay,
        end: Option<End>,
        mut take: impl FnMut(Result<Logged, Unreadable>) -> bool,
    ) -> Result<(), LogError> {
        let mut taken: HashSet<Uuid> = HashSet::new();
        let first = self.first.each_event_until(day, end, |logged| {
            let event_id = id_of(&logged);
            if take(logged) {
                taken.extend(event_id);
            }
        });
        first.await?;
        let Some(other) = &self.other else { return Ok(()) };
        let each = |logged| {
            take(logged);
        };
        other.each_event_but(day, end, &taken, each).await
    }
}
