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

#[cfg(test)]
mod tests {
    use super::super::asking::{self, ACCOUNT};
    use super::super::{Failure, Graph, STATUSES};

    const INSIGHTS: &str = "act_1001/insights";

    /// The bytes between the brackets of the list.
    async fn list(graph: &Graph, limit: usize) -> Vec<u8> {
        let answer = graph.get(INSIGHTS, &asking::ads(1, limit)).await;
        let end = answer.body.windows(11).rposition(|part| part == br#"],"paging":"#).unwrap();
        answer.body[br#"{"data":["#.len()..end].to_vec()
    }

    #[tokio::test]
    async fn a_raw_row_is_sent_to_the_byte_in_place_of_the_made_one() {
        let day = asking::first_day();
        for row in [
            br#"{"ad_id":120210000000000001,"spend":1.5,"impressions":"12"}"#.as_slice(),
            br#"{"ad_id":"1"}"#,
            br#"{"ad_id":"1","spend":"-3.20","impressions":"-7"}"#,
            br#"{"ad_id":"12345678901234567890","spend":"1"}"#,
            br#"{"ad_id":"1","ad_name":"nul \u0000, half \ud83d"}"#,
            b"{\"ad_id\":\"1\",\"ad_name\":\"no UTF-8: \xff\xfe\xc3\x28\"}",
            b"null",
        ] {
            let graph = asking::graph(1, 1, |world| {
                let ad = world.ad_account(ACCOUNT).ads[0].id.clone();
                world.raw_row(ACCOUNT, &ad, day, row);
            })
            .await;
            assert_eq!(list(&graph, 10).await, row);
            let report = graph.post(INSIGHTS, &asking::ads(1, 10)).await.json();
            let id = report["report_run_id"].as_str().unwrap();
            for _ in 0..3 {
                graph.get(id, &[]).await;
            }
            let body = graph.get(&format!("{id}/insights"), &[]).await.body;
            assert!(body.windows(row.len()).any(|part| part == row));
        }
    }

    #[tokio::test]
    async fn an_ad_has_two_rows_on_one_day_and_an_ad_that_is_not_there_has_one() {
        let day = asking::first_day();
        let graph = asking::graph(1, 2, |world| {
            let ad = world.ad_account(ACCOUNT).ads[0].id.clone();
            world.raw_row(ACCOUNT, &ad, day, r#"{"ad_id":"1","spend":"1"}"#);
            world.raw_row(ACCOUNT, &ad, day, r#"{"ad_id":"1","spend":"2"}"#);
            world.raw_row(ACCOUNT, "unheard of", day, r#"{"ad_id":"unheard of"}"#);
        })
        .await;
        let mut filtered = asking::ads(1, 10);
        let statuses = serde_json::json!([{"field": "ad.effective_status", "operator": "IN", "value": STATUSES}]);
        filtered.push(("filtering", statuses.to_string()));
        for parameters in [asking::ads(1, 10), filtered] {
            let rows = graph.get(INSIGHTS, &parameters).await.rows();
            assert_eq!(rows.len(), 3, "{rows:?}");
            let spends: Vec<_> = rows.iter().filter_map(|row| row["spend"].as_str()).collect();
            assert_eq!(spends, ["1", "2"]);
        }
        assert_eq!(graph.get(INSIGHTS, &asking::ads(2, 10)).await.rows().len(), 4, "the other day is as it was");
    }

    #[tokio::test]
    async fn a_row_comes_again_at_the_start_of_the_next_page() {
        let graph = asking::graph(20, 1, |_| ()).await;
        let whole = graph.all_rows(INSIGHTS, &asking::ads(1, 100)).await;
        graph.fail(Failure::rows_moved());
        let moved = graph.all_rows(INSIGHTS, &asking::ads(1, 5)).await;
        assert_eq!(moved[4], moved[5]);
        let mut all = moved.clone();
        all.dedup();
        assert_eq!(all, whole, "none is missing");
    }

    #[tokio::test]
    async fn what_was_rendered_is_forgotten_when_the_world_changes() {
        for cached in [false, true] {
            let graph = asking::graph(5, 1, |world| world.cached = cached).await;
            let before = list(&graph, 10).await;
            assert_eq!(list(&graph, 10).await, before);
            graph.edit(|world| world.ad_account(ACCOUNT).ads.truncate(2));
            assert!(list(&graph, 10).await.len() < before.len());
        }
    }
}
