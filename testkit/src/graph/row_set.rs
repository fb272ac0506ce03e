//! Rendered rows: bytes, because a row may hold what no Rust string does, in one piece, because a page is a slice of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;

use super::ask::Ask;
use super::world::World;

/// The rows that answer a question, in the order in which they are paged.
#[derive(Debug, Default, Clone)]
pub(super) struct RowSet {
    /// Each row with a comma behind it.
    joined: Bytes,
    /// Where each row begins.
    starts: Vec<usize>,
    /// How many of them a day has; days without a row are not in here.
    pub(super) by_day: BTreeMap<NaiveDate, usize>,
}

impl RowSet {
    pub(super) fn new(rows: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let (mut joined, mut starts) = (Vec::new(), Vec::new());
        for row in rows {
            starts.push(joined.len());
            joined.extend_from_slice(row.as_ref());
            joined.push(b',');
        }
        RowSet { joined: joined.into(), starts, by_day: BTreeMap::new() }
    }

    /// The same rows, which belong to so many of each day.
    pub(super) fn with_days(self, by_day: BTreeMap<NaiveDate, usize>) -> Self {
        RowSet { by_day, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The rows with commas between them, as they stand in a JSON list.
    pub(super) fn slice(&self, first: usize, end: usize) -> &[u8] {
        if first >= end {
            return &[];
        }
        let stop = self.starts.get(end).copied().unwrap_or(self.joined.len());
        &self.joined[self.starts[first]..stop - 1]
    }

    pub(super) fn row(&self, i: usize) -> &[u8] {
        self.slice(i, i + 1)
    }
}

/// What was rendered already, so that a page costs a copy and not the whole answer. Empty after every change of the
/// world.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    sets: HashMap<(String, Ask), Arc<RowSet>>,
    bytes: usize,
}

/// What is kept of a world that does not ask for more.
const KEPT_BYTES: usize = 64 << 20;

impl Rendered {
    pub(super) fn rows(&mut self, world: &World, external_id: &str, ask: &Ask) -> Arc<RowSet> {
        let key = (external_id.to_owned(), ask.clone());
        if let Some(rows) = self.sets.get(&key) {
            return rows.clone();
        }
        let rows = Arc::new(world.row_set(external_id, ask));
        self.bytes += rows.joined.len();
        if self.bytes > KEPT_BYTES && !world.cached {
            self.sets.clear();
            self.bytes = rows.joined.len();
        }
        self.sets.insert(key, rows.clone());
        rows
    }

    pub(super) fn clear(&mut self) {
        *self = Rendered::default();
    }
}
