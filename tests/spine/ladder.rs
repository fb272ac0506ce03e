//! How much is asked for at once: several days while they fit, less when Meta says that it is too much, and never again
//! what was too large.

use std::collections::HashSet;

use anyhow::Result;
use chrono::NaiveDate;
use testkit::graph::{Endpoint, Recorded, ReportFate, TooMuch};

use crate::shop::{Shop, days_ago};

/// The days that a question for rows asks for, its page, and the way it is asked.
type Shape = (Option<NaiveDate>, Option<String>, Option<String>, String);

impl Shop {
    fn asked(&self, endpoint: Endpoint) -> Vec<Recorded> {
        self.graph.requests().into_iter().filter(|question| question.endpoint() == endpoint).collect()
    }

    async fn backfill(&self, since: u64, until: u64) -> Result<crate::shop::Ran> {
        let (integration, since, until) =
            (self.integration_id.to_string(), days_ago(since).to_string(), days_ago(until).to_string());
        self.run(&["backfill", "--integration", &integration, "--since", &since, "--until", &until, "--wait"]).await
    }
}

fn shape(question: &Recorded) -> Shape {
    let parameter = |name| question.parameter(name).map(str::to_owned);
    (question.since(), parameter("time_range"), parameter("limit"), question.method.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_share_a_question_once_their_size_is_known() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| world.mixed_days = true);
    shop.graph.forget_requests();
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    shop.check_sums(days_ago(7), days_ago(1)).await?;
    // One day to learn how many rows it has, and the other six together.
    let asked: Vec<Shape> = shop.asked(Endpoint::AdRows).iter().map(shape).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(shop.asked(Endpoint::AccountRow).len(), 2);

    // It is remembered: the next run asks for all of its days at once.
    shop.graph.forget_requests();
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    assert_eq!(shop.asked(Endpoint::AdRows).len(), 1);
    shop.check_sums(days_ago(7), days_ago(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_asked_for_in_smaller_parts_and_never_again() -> Result<()> {
    for wording in [TooMuch::Subcode, TooMuch::Words] {
        let shop = Shop::open().await?;
        // Two days are too much, and so is a page of more than 60 rows.
        shop.graph.edit(|world| {
            world.limits.max_rows_a_call = Some(20);
            world.limits.max_page_rows = Some(60);
            world.limits.wording = wording;
        });
        let ran = shop.sync("meta_7d_fill").await?;
        assert_eq!(ran.code, 0, "{ran:?}");
        shop.check_sums(days_ago(7), days_ago(1)).await?;
        let asked: Vec<Shape> = shop.asked(Endpoint::AdRows).iter().map(shape).collect();
        let distinct: HashSet<&Shape> = asked.iter().collect();
        assert_eq!(distinct.len(), asked.len(), "a question came twice: {asked:?}");
        assert!(shop.asked(Endpoint::ReportStart).is_empty());

        // A run later nothing is too large any more.
        shop.graph.forget_requests();
        assert_eq!(shop.backfill(20, 8).await?.code, 0);
        shop.check_sums(days_ago(20), days_ago(8)).await?;
        assert_eq!(shop.asked(Endpoint::AdRows).len(), 13, "one question a day");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_page_is_small_enough_meta_makes_a_report() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| {
        world.limits.max_rows_a_call = Some(3);
        world.reports.destine(ReportFate::Failed, 1);
        world.reports.destine(ReportFate::EarlyCompleted, 1);
        world.reports.destine(ReportFate::NotReady(2637), 1);
        world.reports.destine(ReportFate::Expired, 1);
    });
    let ran = shop.sync("meta_7d_fill").await?;
    assert_eq!(ran.code, 0, "{ran:?}");
    shop.check_sums(days_ago(7), days_ago(1)).await?;
    let limits: Vec<_> = shop
        .asked(Endpoint::AdRows)
        .iter()
        .filter_map(|question| question.parameter("limit").map(str::to_owned))
        .collect();
    assert_eq!(limits, ["500", "200", "50", "25"], "each step is taken once, on the first day");
    assert!(shop.asked(Endpoint::ReportStart).len() >= 3);

    shop.graph.forget_requests();
    assert_eq!(shop.sync("meta_fresh").await?.code, 0);
    assert!(shop.asked(Endpoint::AdRows).is_empty(), "a report from the first day on");
    shop.check_sums(days_ago(7), days_ago(1)).await
}
