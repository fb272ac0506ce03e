//! How many calls there were, and how many of them were needed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;

use super::ask::Ask;
use super::blocks::Came;
use super::recorded::{About, Endpoint};
use super::row_set::RowSet;
use super::world::dates;

/// What was asked since the start, against what had to be asked.
///
/// **Made** are all calls but those about tokens and people: the dialog, `/oauth/…`, `/debug_token`, `/me…`.
///
/// **Needed** are the calls that a client makes which knows everything beforehand and asks for one day at a time:
/// - for each completed fetch, and each day of its window, the pages of the day: its rows, those that pass the filter,
///   divided by the page limit and rounded up, at least 1. A fetch is complete when its last page was answered well,
///   and its page limit is the largest one that a page of it was answered well with. So several days in one call can
///   only help, and pages that were answered before a fetch was given up, or begun again, were not needed;
/// - for each completed fetch that was a report, also the call that started it, and the looks at it until it was
///   finished. Looks and starts of reports that failed were not needed, nor was what was asked too early;
/// - each good answer about the whole ad account (`level=account`), however many days it is about;
/// - each good answer of an ad account about itself.
///
/// A day that is fetched again is needed again, as the fake cannot know why; see [`fetched_again`](Counts::fetched_again).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub needed: u64,
    pub made: u64,
    /// Calls that came during a block although a throttle that told its end had been sent at least 50 ms before.
    pub during_block: u64,
    /// The same, after a throttle without a word of its end: a client can but guess.
    pub during_silent_block: u64,
    /// Calls during a block that nobody could know of yet.
    pub before_warning: u64,
    /// Throttles answered, of every kind, those of scripted failures included.
    pub throttles: u64,
    /// Whatever was answered neither well nor with a throttle, cut answers and refusals included.
    pub failures: u64,
    pub by_endpoint: BTreeMap<Endpoint, Tally>,
    /// By external id, of the calls in `made`.
    pub by_ad_account: BTreeMap<String, Tally>,
    /// By external id and day, of the calls for rows. A call for a window is counted with each of its days.
    pub by_day: BTreeMap<(String, NaiveDate), DayTally>,
}

/// Calls, and what was answered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub made: u64,
    pub good: u64,
    pub throttled: u64,
}

/// What a day of an ad account took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DayTally {
    /// Calls that asked for it, alone or among others; looks at a report of it included.
    pub made: u64,
    /// Fetches that were completed.
    pub fetches: u64,
    /// Their pages, as [`Counts`] defines it.
    pub needed: u64,
}

impl Counts {
    /// Fetches of days that had been fetched before.
    pub fn fetched_again(&self) -> u64 {
        self.by_day.values().map(|day| day.fetches.saturating_sub(1)).sum()
    }

    /// Days that were fetched at least once.
    pub fn days_fetched(&self) -> usize {
        self.by_day.values().filter(|day| day.fetches > 0).count()
    }
}

/// A page of rows that was answered well.
#[derive(Debug, Clone)]
pub(super) struct PageRead {
    pub(super) external_id: String,
    pub(super) ask: Ask,
    pub(super) rows: Arc<RowSet>,
    pub(super) limit: usize,
    pub(super) is_last: bool,
    /// Of a report: its id, and the looks at it that it needed.
    pub(super) report: Option<(String, u32)>,
}

/// How a call was answered.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Good(Option<PageRead>),
    Throttled(Option<Came>),
    Bad,
}

/// The counts, and the fetches that are under way.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) counts: Counts,
    /// The largest page limit so far, by ad account, question and report.
    under_way: HashMap<(String, Ask, Option<String>), usize>,
    reports_read: BTreeSet<String>,
}

impl Ledger {
    /// A call has come.
    pub(super) fn came(&mut self, endpoint: Endpoint, about: &About) {
        let counts = &mut self.counts;
        counts.by_endpoint.entry(endpoint).or_default().made += 1;
        if !endpoint.is_counted() {
            return;
        }
        counts.made += 1;
        counts.by_ad_account.entry(about.external_id.clone()).or_default().made += 1;
        let window = about.window.filter(|_| endpoint.is_about_rows());
        for date in window.iter().flat_map(|(since, until)| dates(&(*since..=*until))) {
            counts.by_day.entry((about.external_id.clone(), date)).or_default().made += 1;
        }
    }

    /// It is answered.
    pub(super) fn answered(&mut self, endpoint: Endpoint, about: &About, outcome: Outcome) {
        let counts = &mut self.counts;
        let tallies = [
            Some(counts.by_endpoint.entry(endpoint).or_default()),
            endpoint.is_counted().then(|| counts.by_ad_account.entry(about.external_id.clone()).or_default()),
        ];
        for tally in tallies.into_iter().flatten() {
            tally.good += u64::from(matches!(outcome, Outcome::Good(_)));
            tally.throttled += u64::from(matches!(outcome, Outcome::Throttled(_)));
        }
        match outcome {
            Outcome::Bad => counts.failures += u64::from(endpoint.is_counted()),
            Outcome::Throttled(came) => {
                counts.throttles += 1;
                match came {
                    None | Some(Came::First) => {}
                    Some(Came::Unwarned) => counts.before_warning += 1,
                    Some(Came::Warned) => counts.during_block += 1,
                    Some(Came::Guessing) => counts.during_silent_block += 1,
                }
            }
            Outcome::Good(_) if matches!(endpoint, Endpoint::AccountRow | Endpoint::AdAccount) => counts.needed += 1,
            Outcome::Good(Some(page)) => self.read(page),
            Outcome::Good(None) => {}
        }
    }

    fn read(&mut self, page: PageRead) {
        let PageRead { external_id, ask, rows, limit, is_last, report } = page;
        let days = dates(&(ask.since..=ask.until));
        let key = (external_id.clone(), ask, report.as_ref().map(|(id, _)| id.clone()));
        let largest = self.under_way.get(&key).copied().unwrap_or_default().max(limit);
        if !is_last {
            self.under_way.insert(key, largest);
            return;
        }
        self.under_way.remove(&key);
        if let Some((id, looks)) = report {
            if !self.reports_read.insert(id) {
                return;
            }
            self.counts.needed += 1 + u64::from(looks);
        }
        for date in days {
            let pages = rows.by_day.get(&date).copied().unwrap_or_default().div_ceil(largest).max(1) as u64;
            let day = self.counts.by_day.entry((external_id.clone(), date)).or_default();
            day.fetches += 1;
            day.needed += pages;
            self.counts.needed += pages;
        }
    }
}

impl Endpoint {
    /// Whether its calls are among those made and needed.
    pub(super) fn is_counted(self) -> bool {
        matches!(self, Endpoint::AdAccount | Endpoint::AccountRow) || self.is_about_rows()
    }

    /// Whether it can be throttled.
    pub(super) fn is_throttled(self) -> bool {
        self == Endpoint::AccountRow || self.is_about_rows()
    }

    fn is_about_rows(self) -> bool {
        matches!(self, Endpoint::AdRows | Endpoint::ReportStart | Endpoint::ReportStatus | Endpoint::ReportRows)
    }
}

impl fmt::Display for Counts {
    /// A small table, of several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { needed, made, throttles, failures, during_block, during_silent_block, before_warning, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = if *needed > 0 { *made as f64 / *needed as f64 } else { 0.0 };
        writeln!(f, "calls made {made}, needed {needed} (made / needed {ratio:.3})")?;
        writeln!(
            f,
            "throttles {throttles}, other failures {failures}; during a block {during_block}, during a silent one \
             {during_silent_block}, before a warning {before_warning}"
        )?;
        writeln!(f, "days fetched {}, fetched again {}", self.days_fetched(), self.fetched_again())?;
        writeln!(f, "{:<16}{:>10}{:>10}{:>10}", "", "made", "good", "throttled")?;
        let endpoints = self.by_endpoint.iter().map(|(endpoint, tally)| (format!("{endpoint:?}"), tally));
        let ad_accounts = self.by_ad_account.iter().map(|(id, tally)| (id.clone(), tally));
        for (name, Tally { made, good, throttled }) in endpoints.chain(ad_accounts) {
            writeln!(f, "{name:<16}{made:>10}{good:>10}{throttled:>10}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::asking::{self, ACCOUNT};
    use super::super::{Failure, Graph, Quota, TooMuch};
    use super::*;

    const INSIGHTS: &str = "act_1001/insights";

    fn needed_and_made(graph: &Graph) -> (u64, u64) {
        let Counts { needed, made, .. } = graph.counts();
        (needed, made)
    }

    /// How many rows each of the first days has.
    fn rows_of(graph: &Graph, days: u64) -> Vec<u64> {
        let totals = graph.edit(|world| world.totals_by_date(ACCOUNT, asking::window(days), None));
        totals.values().map(|totals| totals.ads as u64).collect()
    }

    #[tokio::test]
    async fn a_completed_fetch_needed_the_pages_of_its_days_and_whatever_else_was_asked_was_only_made() {
        let graph = asking::graph(30, 4, |_| ()).await;
        let rows = rows_of(&graph, 3);
        let (first, all): (u64, u64) = (rows[0].div_ceil(10), rows.iter().map(|rows| rows.div_ceil(10)).sum());
        let in_one = rows.iter().sum::<u64>().div_ceil(10);

        graph.all_rows(INSIGHTS, &asking::ads(1, 10)).await;
        assert_eq!(needed_and_made(&graph), (first, first));

        graph.forget_counts();
        graph.all_rows(INSIGHTS, &asking::ads(3, 10)).await;
        assert_eq!(needed_and_made(&graph), (all, in_one), "several days in one call only help");
        assert_eq!((graph.counts().days_fetched(), graph.counts().fetched_again()), (3, 0));
        let day = graph.counts().by_day[&(ACCOUNT.to_owned(), asking::first_day())];
        assert_eq!(day, DayTally { made: in_one, fetches: 1, needed: first });

        graph.all_rows(INSIGHTS, &asking::ads(1, 10)).await;
        assert_eq!(needed_and_made(&graph), (all + first, in_one + first));
        assert_eq!((graph.counts().days_fetched(), graph.counts().fetched_again()), (3, 1));

        // Given up after a page; answered badly; asked with larger pages at first.
        graph.forget_counts();
        graph.get(INSIGHTS, &asking::ads(3, 10)).await;
        assert_eq!(needed_and_made(&graph), (0, 1));
        for failure in [Failure::html(500), Failure::cut(), Failure::account_throttle(1)] {
            graph.fail(failure.times(1));
            graph.get(INSIGHTS, &asking::ads(1, 100)).await;
        }
        assert_eq!(needed_and_made(&graph), (0, 4));
        assert_eq!((graph.counts().throttles, graph.counts().failures), (1, 2));
        graph.get(INSIGHTS, &asking::ads(1, 100)).await;
        assert_eq!(needed_and_made(&graph), (1, 5));

        // A day without any row takes a page all the same.
        graph.forget_counts();
        graph.edit(|world| world.ad_account(ACCOUNT).ads.iter_mut().for_each(|ad| ad.days.clear()));
        graph.get(INSIGHTS, &asking::ads(2, 10)).await;
        assert_eq!(needed_and_made(&graph), (2, 1));
    }

    #[tokio::test]
    async fn the_largest_page_of_a_fetch_is_the_yardstick() {
        let graph = asking::graph(40, 1, |_| ()).await;
        let rows = rows_of(&graph, 1)[0];
        let first = graph.get(INSIGHTS, &asking::ads(1, 20)).await;
        let mut after = first.after();
        while let Some(cursor) = after {
            let parameters = [asking::ads(1, 5), vec![("after", cursor)]].concat();
            after = graph.get(INSIGHTS, &parameters).await.after();
        }
        assert_eq!(needed_and_made(&graph), (rows.div_ceil(20), 1 + (rows - 20).div_ceil(5)));
    }

    #[tokio::test]
    async fn a_report_needed_its_start_its_looks_and_its_pages() {
        let graph = asking::graph(30, 2, |world| world.reports.polls = 2).await;
        let pages: u64 = rows_of(&graph, 2).iter().map(|rows| rows.div_ceil(10)).sum();
        let made = rows_of(&graph, 2).iter().sum::<u64>().div_ceil(10);
        let start = async || {
            let report = graph.post(INSIGHTS, &asking::ads(2, 10)).await.json();
            report["report_run_id"].as_str().unwrap().to_owned()
        };
        let id = start().await;
        let rows = format!("{id}/insights");
        for _ in 0..3 {
            graph.get(&id, &[]).await;
        }
        graph.all_rows(&rows, &[("limit", "10".into())]).await;
        assert_eq!(needed_and_made(&graph), (1 + 3 + pages, 1 + 3 + made));
        let day = graph.counts().by_day[&(ACCOUNT.to_owned(), asking::first_day())];
        assert_eq!((day.made, day.fetches), (1 + 3 + made, 1));

        graph.get(&id, &[]).await;
        graph.all_rows(&rows, &[("limit", "10".into())]).await;
        assert_eq!(needed_and_made(&graph), (4 + pages, 4 + 1 + 2 * made), "again is not needed");

        graph.forget_counts();
        let id = start().await;
        graph.get(&format!("{id}/insights"), &[]).await;
        assert_eq!(needed_and_made(&graph), (0, 2), "it was too early");
    }

    #[tokio::test]
    async fn control_totals_and_checks_count_and_what_is_about_tokens_does_not() {
        let graph = asking::graph(10, 2, |_| ()).await;
        let control: Vec<_> = asking::ads(2, 10)
            .into_iter()
            .map(|(key, value)| match key {
                "level" => (key, "account".into()),
                "fields" => (key, "spend,impressions".into()),
                _ => (key, value),
            })
            .collect();
        assert_eq!(graph.get(INSIGHTS, &control).await.rows().len(), 2);
        assert_eq!(needed_and_made(&graph), (1, 1));
        graph.get(ACCOUNT, &[("fields", "currency".into())]).await;
        assert_eq!(needed_and_made(&graph), (2, 2));
        for path in ["me", "me/permissions", "me/adaccounts", "debug_token", "oauth/access_token"] {
            graph.get(path, &[]).await;
        }
        assert_eq!(needed_and_made(&graph), (2, 2));
        let counts = graph.counts();
        assert_eq!(counts.by_endpoint[&Endpoint::Me], Tally { made: 1, good: 1, throttled: 0 });
        assert_eq!(counts.by_ad_account[ACCOUNT], Tally { made: 2, good: 2, throttled: 0 });
        let table = counts.to_string();
        assert!(table.contains("calls made 2, needed 2") && table.contains("AccountRow"), "{table}");
    }

    #[tokio::test]
    async fn a_call_that_was_too_large_was_not_needed() {
        let graph = asking::graph(30, 2, |world| {
            world.limits.max_rows_a_call = Some(30);
            world.limits.wording = TooMuch::Words;
        })
        .await;
        graph.get(INSIGHTS, &asking::ads(2, 50)).await;
        graph.get(INSIGHTS, &asking::ads(1, 50)).await;
        assert_eq!(needed_and_made(&graph), (1, 2));
    }

    #[tokio::test]
    async fn the_quota_is_in_the_headers_and_at_its_end_there_is_a_block() {
        let quota = Quota { calls: 4, window: std::time::Duration::from_secs(600), block_seconds: 2 };
        let graph = asking::graph(3, 1, |world| world.quota = Some(quota)).await;
        for percent in ["25", "50", "75", "100"] {
            let answer = graph.get(INSIGHTS, &asking::ads(1, 50)).await;
            assert_eq!(answer.status, 200);
            for (header, start) in [
                ("x-business-use-case-usage", r#"{"1001":[{"type":"ads_insights","call_count":"#),
                ("x-app-usage", r#"{"call_count":"#),
                ("x-ad-account-usage", r#"{"acc_id_util_pct":"#),
                ("x-fb-ads-insights-throttle", r#"{"app_id_util_pct":"#),
            ] {
                let value = answer.header(header).unwrap();
                assert!(value.starts_with(&format!("{start}{percent}")), "{value}");
            }
        }
        let answer = graph.get(INSIGHTS, &asking::ads(1, 50)).await;
        assert_eq!(answer.error(), (400, 17, Some(2_446_079)));
        let usage: serde_json::Value = serde_json::from_str(answer.header("x-ad-account-usage").unwrap()).unwrap();
        assert!((598..=600).contains(&usage["reset_time_duration"].as_u64().unwrap()), "{usage}");
        assert_eq!(graph.get(ACCOUNT, &[]).await.status, 200, "the quota is for insights");
        assert_eq!(graph.counts().throttles, 1);
    }
}
