//! Rows by the log against rows in the tables: both sides are hashed, counted and summed, and what differs is said.

use rust_decimal::Decimal;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::tables::{Rows, Table, Values};

/// So many sentences are kept of a day; the others are counted.
const MOST_SENTENCES: usize = 20;
/// A value in a sentence is cut after so many characters.
const MOST_CHARS: usize = 80;

/// One side of a comparison, in sum.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Rows of all tables.
    pub rows: u64,
    /// Rows of `fact_meta_daily`, and what they sum to.
    pub ads: u64,
    pub spend: Decimal,
    pub impressions: i64,
    /// sha256 of every column of every row, in the order of the keys.
    pub sha256: String,
}

/// A side while its rows are handed in.
#[derive(Default)]
struct Growing {
    side: Side,
    hash: Sha256,
}

impl Growing {
    fn add(&mut self, table: &Table, key: &str, values: &Values) {
        // Each part with its length, so that no two rows are written alike.
        let parts = [Some(table.name), Some(key)].into_iter().chain(values.iter().map(Option::as_deref));
        for part in parts {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            self.hash.update(length.to_le_bytes());
            self.hash.update(part.unwrap_or_default());
        }
        self.side.rows += 1;
        if table.row == "ad" {
            let column = |name: &str| {
                let place = table.columns.iter().position(|column| *column == name)?;
                values.get(place)?.as_deref()
            };
            self.side.ads += 1;
            self.side.spend += column("spend").and_then(|n| n.parse::<Decimal>().ok()).unwrap_or_default();
            let impressions = column("impressions").and_then(|n| n.parse::<i64>().ok()).unwrap_or_default();
            self.side.impressions = self.side.impressions.saturating_add(impressions);
        }
    }

    fn finish(self) -> Side {
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Side { sha256, ..self.side }
    }
}

/// What a comparison came to.
#[derive(Debug)]
pub struct Compared {
    pub by_the_log: Side,
    pub in_the_tables: Side,
    /// What differs, in words: the first of it.
    pub sentences: Vec<String>,
    /// How many rows, or events, differ.
    pub differences: u64,
}

/// A comparison while it is made.
#[derive(Default)]
pub struct Comparison {
    by_the_log: Growing,
    in_the_tables: Growing,
    sentences: Vec<String>,
    differences: u64,
}

/// A table that is being compared: the rows that it was not found to have yet.
pub struct Open<'c> {
    comparison: &'c mut Comparison,
    table: &'static Table,
    missing: Rows,
}

impl Comparison {
    /// Begins a table, with the rows that it must have.
    pub fn open(&mut self, table: &'static Table, wanted: Rows) -> Open<'_> {
        wanted.iter().for_each(|(key, values)| self.by_the_log.add(table, key, values));
        Open { comparison: self, table, missing: wanted }
    }

    /// Notes something that differs.
    pub fn say(&mut self, sentence: String) {
        self.differences += 1;
        if self.sentences.len() < MOST_SENTENCES {
            self.sentences.push(sentence);
        }
    }

    pub fn finish(self) -> Compared {
        let (by_the_log, in_the_tables) = (self.by_the_log.finish(), self.in_the_tables.finish());
        Compared { by_the_log, in_the_tables, sentences: self.sentences, differences: self.differences }
    }
}

impl Open<'_> {
    /// Takes a row that the table has. Rows come in the order of their keys.
    pub fn found(&mut self, key: &str, values: &Values) {
        let table = self.table;
        self.comparison.in_the_tables.add(table, key, values);
        let Some(wanted) = self.missing.remove(key) else {
            return self.comparison.say(format!("{}, {}: a row that nobody sent", table.name, named(table, key)));
        };
        let differing: Vec<String> = table
            .columns
            .iter()
            .zip(values.iter().zip(&wanted))
            .filter(|(_, (found, wanted))| found != wanted)
            .map(|(column, (found, wanted))| {
                format!("{column} {} in the table, {} by the log", shown(found), shown(wanted))
            })
            .collect();
        if !differing.is_empty() {
            self.comparison.say(format!("{}, {}: {}", table.name, named(table, key), differing.join("; ")));
        }
    }

    /// Ends the table: what was not found is missing.
    pub fn close(self) {
        for key in self.missing.keys() {
            self.comparison.say(format!("{}, {}: the row is missing", self.table.name, named(self.table, key)));
        }
    }
}

fn named(table: &Table, key: &str) -> String {
    if key.is_empty() { format!("the {}", table.row) } else { format!("{} {key}", table.row) }
}

fn shown(value: &Option<String>) -> String {
    match value {
        None => "null".to_owned(),
        Some(text) if text.is_empty() => "an empty text".to_owned(),
        Some(text) => match text.char_indices().nth(MOST_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::SUMMARY;

    fn row(spend: Option<&str>) -> Values {
        let mut values = vec![None; SUMMARY.columns.len()];
        values[0] = spend.map(str::to_owned);
        values
    }

    fn compare(wanted: &[(&str, Option<&str>)], found: &[(&str, Option<&str>)]) -> Compared {
        let mut comparison = Comparison::default();
        let wanted = wanted.iter().map(|(key, spend)| ((*key).to_owned(), row(*spend))).collect();
        let mut open = comparison.open(&SUMMARY, wanted);
        found.iter().for_each(|(key, spend)| open.found(key, &row(*spend)));
        open.close();
        comparison.finish()
    }

    #[test]
    fn what_differs_is_said() {
        for (wanted, found, said) in [
            (&[("a", Some("1"))][..], &[("a", Some("1"))][..], ""),
            (&[("a", Some("1"))], &[("a", None)], "day a: meta_spend null in the table, 1 by the log"),
            (&[("a", Some("1"))], &[], "day a: the row is missing"),
            (&[], &[("", Some("1"))], "the day: a row that nobody sent"),
        ] {
            let compared = compare(wanted, found);
            assert_eq!(compared.by_the_log.sha256 == compared.in_the_tables.sha256, said.is_empty(), "{said}");
            assert!(compared.sentences.join("").contains(said) && compared.differences == u64::from(!said.is_empty()));
        }
        // Null is no empty text.
        let (null, empty) = (compare(&[("a", None)], &[]), compare(&[("a", Some(""))], &[]));
        assert_ne!(null.by_the_log.sha256, empty.by_the_log.sha256);
    }
}
