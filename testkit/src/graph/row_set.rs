//! Rendered rows: bytes, because a row may hold what no Rust string does, in one piece, because a page is a slice of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::NaiveDate;

use super::ask::Ask;
use super::world::{World, dates};

/// The rows that answer a question, in the order in which they are paged.
#[derive(Debug, Default, Clone)]
pub(super) struct RowSet {
    /// Each row with a comma behind it.
    joined: Vec<u8>,
    /// Where each row begins, and its place among others: by it they are sorted.
    starts: Vec<(usize, u64)>,
    /// How many of them a day has; days without a row are not in here, and what is no answer about days has none.
    pub(super) by_day: BTreeMap<NaiveDate, usize>,
}

impl RowSet {
    /// The rows of several days, each of them sorted: mixed, or one day after the other.
    pub(super) fn of_window(days: &[impl AsRef<RowSet>], mixed: bool) -> Self {
        let mut order: Vec<(u64, &RowSet, usize)> = Vec::new();
        let mut by_day = BTreeMap::new();
        for rows in days {
            let rows = rows.as_ref();
            by_day.extend(rows.by_day.clone());
            order.extend(rows.starts.iter().enumerate().map(|(i, (_, place))| (*place, rows, i)));
        }
        if mixed {
            order.sort_by_key(|(place, ..)| *place);
        }
        let mut all = RowSet { by_day, ..RowSet::default() };
        all.joined.reserve_exact(days.iter().map(|rows| rows.as_ref().joined.len()).sum());
        for (place, rows, i) in order {
            all.push(place, rows.row(i));
        }
        all
    }

    /// The same rows, which are those of a day.
    pub(super) fn all_of(mut self, date: NaiveDate) -> Self {
        self.by_day.extend((self.len() > 0).then(|| (date, self.len())));
        self
    }

    pub(super) fn push(&mut self, place: u64, row: &[u8]) {
        self.starts.push((self.joined.len(), place));
        self.joined.extend_from_slice(row);
        self.joined.push(b',');
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The rows with commas between them, as they stand in a JSON list.
    pub(super) fn slice(&self, first: usize, end: usize) -> &[u8] {
        if first >= end {
            return &[];
        }
        let stop = self.starts.get(end).map_or(self.joined.len(), |(start, _)| *start);
        &self.joined[self.starts[first].0..stop - 1]
    }

    pub(super) fn row(&self, i: usize) -> &[u8] {
        self.slice(i, i + 1)
    }
}

impl AsRef<RowSet> for RowSet {
    fn as_ref(&self) -> &RowSet {
        self
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for RowSet {
    fn from_iter<I: IntoIterator<Item = T>>(rows: I) -> Self {
        let mut all = RowSet::default();
        rows.into_iter().for_each(|row| all.push(0, row.as_ref()));
        all
    }
}

/// What was rendered already, so that a page costs a copy and not the whole answer: the windows that were asked for, and
/// the days that they are made of. Empty after every change of the world.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    windows: HashMap<(String, Ask), Arc<RowSet>>,
    days: HashMap<(String, Ask), Arc<RowSet>>,
    bytes: usize,
}

/// What is kept of a world that does not ask for more.
const KEPT_BYTES: usize = 64 << 20;

impl Rendered {
    pub(super) fn rows(&mut self, world: &World, external_id: &str, ask: &Ask) -> Arc<RowSet> {
        let key = (external_id.to_owned(), ask.clone());
        if let Some(rows) = self.windows.get(&key) {
            return rows.clone();
        }
        if self.bytes > KEPT_BYTES && !world.cached {
            self.clear();
        }
        if ask.since == ask.until {
            return self.day(world, external_id, ask.since, ask);
        }
        let days: Vec<_> =
            dates(&(ask.since..=ask.until)).map(|date| self.day(world, external_id, date, ask)).collect();
        let rows = Arc::new(RowSet::of_window(&days, world.mixed_days));
        self.bytes += rows.joined.len();
        self.windows.insert(key, rows.clone());
        rows
    }

    fn day(&mut self, world: &World, external_id: &str, date: NaiveDate, ask: &Ask) -> Arc<RowSet> {
        let key = (external_id.to_owned(), Ask { since: date, until: date, ..ask.clone() });
        let bytes = &mut self.bytes;
        let render = || {
            let rows = world.rows_of_day(external_id, date, ask);
            *bytes += rows.joined.len();
            Arc::new(rows)
        };
        self.days.entry(key).or_insert_with(render).clone()
    }

    /// Renders every day of an ad account beforehand; returns how many rows that are.
    pub(super) fn warm(&mut self, world: &World, ask: &Ask) -> usize {
        let mut rows = 0;
        for (external_id, account) in &world.ad_accounts {
            let days: BTreeSet<_> = account.ads.iter().flat_map(|ad| ad.days.keys().copied()).collect();
            rows += days.into_iter().map(|date| self.day(world, external_id, date, ask).len()).sum::<usize>();
        }
        rows
    }

    pub(super) fn clear(&mut self) {
        *self = Rendered::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::asking::{self, ACCOUNT};
    use super::super::{Failure, Graph, STATUSES, lock};

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
    async fn what_is_rendered_beforehand_is_what_is_asked_for() {
        let graph = asking::graph(20, 3, |world| world.cached = true).await;
        let query = concat!(
            r#"fields=ad_id,spend,impressions,actions&limit=500&filtering=[{"field":"ad.effective_status","#,
            r#""operator":"IN","value":["ACTIVE","PAUSED"]}]&action_attribution_windows=%5B%221d_view%22%5D"#,
        );
        assert!(graph.warm("fields=colour").is_err());
        let rows = graph.warm(query).unwrap();
        let warmed = lock(&graph.inside.rendered).days.len();
        let mut parameters = asking::ads(3, 500);
        let filter = r#"[{"field":"ad.effective_status","operator":"IN","value":["ACTIVE","PAUSED"]}]"#;
        parameters.extend([("filtering", filter.to_owned()), ("action_attribution_windows", r#"["1d_view"]"#.into())]);
        assert_eq!(graph.get(INSIGHTS, &parameters).await.rows().len(), rows);
        assert_eq!((warmed, lock(&graph.inside.rendered).days.len()), (3, 3), "nothing was left to render");
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
