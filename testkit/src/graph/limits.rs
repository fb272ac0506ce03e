//! What is too large for one call.

use std::collections::BTreeMap;

use super::ask::{Ask, Level, Paging};
use super::refusal::Refusal;
use super::world::World;

/// The sizes that a call for rows of ads may have; asynchronous reports may have any.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most rows that the whole answer may have: those of all days of the window, before paging. `None` for no limit.
    pub max_rows_a_call: Option<usize>,
    /// The same for single ad accounts, by external id; it counts instead of the other.
    pub max_rows_of: BTreeMap<String, usize>,
    /// The largest `limit` of a page, in rows.
    pub max_page_rows: Option<usize>,
    /// The same for single ad accounts, by external id; it counts instead of the other.
    pub max_page_rows_of: BTreeMap<String, usize>,
    pub wording: TooMuch,
}

/// How Meta says that it is too much.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// HTTP 400, code 100, subcode 1487534.
    #[default]
    Subcode,
    /// HTTP 500, code 1, and the reason in words alone.
    Words,
}

impl Limits {
    /// Whether a call may have this answer.
    pub(super) fn check(
        &self,
        world: &World,
        external_id: &str,
        (ask, paging): (&Ask, &Paging),
    ) -> Result<(), Refusal> {
        let rows = self.max_rows_of.get(external_id).copied().or(self.max_rows_a_call);
        let page_rows = self.max_page_rows_of.get(external_id).copied().or(self.max_page_rows);
        let is_large = ask.level == Level::Ad
            && (page_rows.is_some_and(|most| paging.limit > most)
                || rows.is_some_and(|most| world.count_rows(external_id, ask) > most));
        if !is_large {
            return Ok(());
        }
        Err(match self.wording {
            TooMuch::Subcode => {
                let message = "Please reduce the amount of data you're asking for, then retry your request";
                Refusal::new(400, 100, Some(1_487_534), message)
            }
            TooMuch::Words => Refusal::new(
                500,
                1,
                None,
                "Please reduce the amount of data you're asking for, then retry your request",
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::asking::{self, ACCOUNT};
    use super::*;

    #[tokio::test]
    async fn what_is_too_large_is_refused_and_a_report_is_not() {
        let graph = asking::graph(30, 3, |world| world.reports.polls = 0).await;
        let path = format!("{ACCOUNT}/insights");
        let rows = graph.get(&path, &asking::ads(3, 1000)).await.rows().len();
        let of_first_day = graph.get(&path, &asking::ads(1, 1000)).await.rows().len();
        let set = |limits: Limits| graph.edit(|world| world.limits = limits);
        let rows_a_call = |most| Limits { max_rows_a_call: Some(most), ..Limits::default() };
        let of_account = Limits { max_rows_of: [(ACCOUNT.to_owned(), rows - 1)].into(), ..rows_a_call(rows) };
        let of_another = Limits { max_rows_of: [("act_2".to_owned(), 1)].into(), ..Limits::default() };
        let page = |most| Limits { max_page_rows: Some(most), ..Limits::default() };
        let page_of = |id: &str, most| Limits { max_page_rows_of: [(id.to_owned(), most)].into(), ..page(5) };
        let in_words = |limits| Limits { wording: TooMuch::Words, ..limits };
        let refused = Some((400, 100, Some(1_487_534)));
        for (limits, days, limit, wanted) in [
            (Limits::default(), 3, 5, None),
            (rows_a_call(rows), 3, 5, None),
            (rows_a_call(rows - 1), 3, 5, refused),
            (rows_a_call(of_first_day), 1, 5, None),
            (of_account, 3, 5, refused),
            (of_another, 3, 5, None),
            (page(5), 3, 5, None),
            (page(4), 3, 5, refused),
            (page_of(ACCOUNT, 4), 3, 5, refused),
            (page_of("act_2", 4), 3, 5, None),
            (in_words(page(4)), 3, 5, Some((500, 1, None))),
            (in_words(rows_a_call(rows - 1)), 3, 5, Some((500, 1, None))),
        ] {
            set(limits.clone());
            let answer = graph.get(&path, &asking::ads(days, limit)).await;
            assert_eq!(
                (answer.status != 200).then(|| answer.error()),
                wanted,
                "{limits:?}, {days} days, {limit} a page"
            );
        }
        set(Limits { max_page_rows: Some(4), ..rows_a_call(4) });
        let report = graph.post(&path, &asking::ads(3, 1000)).await.json();
        let id = report["report_run_id"].as_str().unwrap();
        assert_eq!(graph.get(id, &[]).await.status, 200);
        assert_eq!(graph.get(&format!("{id}/insights"), &[("limit", "1000".into())]).await.rows().len(), rows);
    }

    #[tokio::test]
    async fn days_are_mixed_over_all_pages_or_come_one_after_the_other() {
        for mixed in [false, true] {
            let graph = asking::graph(40, 4, |world| world.mixed_days = mixed).await;
            let path = format!("{ACCOUNT}/insights");
            let days_of = |rows: Vec<serde_json::Value>| -> Vec<String> {
                rows.iter().map(|row| row["date_start"].as_str().unwrap().to_owned()).collect()
            };
            let mut sorted = days_of(graph.all_rows(&path, &asking::ads(4, 10)).await);
            assert_eq!(sorted.is_sorted(), !mixed);
            let first = days_of(graph.get(&path, &asking::ads(4, 10)).await.rows());
            assert_eq!(first.iter().all(|day| *day == first[0]), !mixed, "{first:?}");
            let (whole, pages) = (asking::ads(4, 1000), asking::ads(4, 3));
            assert_eq!(graph.all_rows(&path, &whole).await, graph.all_rows(&path, &pages).await);
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), 4);
        }
    }
}
