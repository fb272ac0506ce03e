//! Which of a day's snapshots counts for what: pure, and the heart of the fold.
//!
//! Snapshots of equal content are one *content*, with a first and a last version. An ad belongs to the content with the
//! newest last version among those that contain it. Everything about a row's standing then follows from the set of
//! observations alone:
//!
//! - the row names the content's **first** event: the one that brought these numbers;
//! - it is **absent since** the smallest version above the content's **last**, if there is one;
//! - it is **deleted** when any snapshot above that last version proves to be complete; else it was **not returned**.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::Version;
use uuid::Uuid;

use crate::snapshot::ContentHash;

/// An observation, as far as its place in time matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    pub version: Version,
    pub content: ContentHash,
    pub proves: bool,
    /// Of the purchase rule that it was folded by.
    pub rule_version: i32,
}

/// The standing of every row that came with one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub first: Version,
    pub last: Version,
    pub absence: Option<Absence>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    pub since: DateTime<Utc>,
    pub deleted: bool,
}

impl Absence {
    /// The word in the `absence` column.
    pub fn word(self) -> &'static str {
        if self.deleted { "deleted" } else { "not_returned" }
    }
}

/// All observations of one day.
#[derive(Debug)]
pub struct Timeline {
    standings: HashMap<ContentHash, Standing>,
    contents: HashMap<Uuid, (ContentHash, i32)>,
    head: Option<Observed>,
}

impl Timeline {
    /// Reads a day's observations, in any order.
    pub fn new(mut observed: Vec<Observed>) -> Self {
        observed.sort_by_key(|o| o.version);
        let mut standings: HashMap<ContentHash, Standing> = HashMap::new();
        let (mut next_above, mut proven_above) = (None, false);
        // From the newest down, `next_above` is the smallest version above, and `proven_above` whether any above
        // proves.
        for o in observed.iter().rev() {
            standings.entry(o.content).and_modify(|standing| standing.first = o.version).or_insert_with(|| Standing {
                first: o.version,
                last: o.version,
                absence: next_above.map(|above: Version| Absence { since: above.fetched_at, deleted: proven_above }),
            });
            next_above = Some(o.version);
            proven_above |= o.proves;
        }
        let contents = observed.iter().map(|o| (o.version.event_id, (o.content, o.rule_version))).collect();
        Timeline { standings, contents, head: observed.last().copied() }
    }

    /// The newest observation.
    pub fn head(&self) -> Option<Observed> {
        self.head
    }

    /// The standing of a content's rows.
    pub fn standing(&self, content: &ContentHash) -> Option<Standing> {
        self.standings.get(content).copied()
    }

    /// The standing of rows that name this event.
    pub fn standing_of_event(&self, event_id: Uuid) -> Option<Standing> {
        self.standing(&self.contents.get(&event_id)?.0)
    }

    /// Version of the purchase rule that this event was folded by.
    pub fn rule_version_of_event(&self, event_id: Uuid) -> Option<i32> {
        self.contents.get(&event_id).map(|(_, rule_version)| *rule_version)
    }

    /// Every event of the day with the standing of its content's rows.
    pub fn events(&self) -> impl Iterator<Item = (Uuid, Standing)> {
        self.contents.iter().filter_map(|(event_id, (content, _))| Some((*event_id, self.standing(content)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(n: i64) -> Version {
        Version { fetched_at: DateTime::from_timestamp(n, 0).expect("a time"), event_id: Uuid::from_u128(n as u128) }
    }

    fn observed(list: &[(i64, u8, bool)]) -> Vec<Observed> {
        list.iter()
            .map(|&(n, c, proves)| Observed { version: version(n), content: [c; 32], proves, rule_version: 1 })
            .collect()
    }

    #[test]
    fn a_standing_is_a_function_of_the_set() {
        // (observations as (time, content, proves), content asked for, first, last, absent since, deleted)
        type Case<'a> = (&'a [(i64, u8, bool)], u8, i64, i64, Option<(i64, bool)>);
        let cases: [Case<'_>; 6] = [
            (&[(1, 7, false)], 7, 1, 1, None),
            (&[(1, 7, false), (2, 7, true)], 7, 1, 2, None),
            (&[(1, 7, true), (2, 8, false)], 7, 1, 1, Some((2, false))),
            (&[(1, 7, false), (2, 8, false), (3, 9, true)], 7, 1, 1, Some((2, true))),
            // A content that comes back is present again, and keeps its first event.
            (&[(1, 7, false), (2, 8, true), (3, 7, false)], 7, 1, 3, None),
            (&[(1, 7, false), (2, 8, true), (3, 7, false)], 8, 2, 2, Some((3, false))),
        ];
        for (list, content, first, last, absence) in cases {
            let mut reversed = observed(list);
            reversed.reverse();
            for order in [observed(list), reversed] {
                let standing = Timeline::new(order).standing(&[content; 32]).expect("observed");
                let absence = absence.map(|(n, deleted)| Absence { since: version(n).fetched_at, deleted });
                assert_eq!(standing, Standing { first: version(first), last: version(last), absence }, "{list:?}");
            }
        }
    }
}
