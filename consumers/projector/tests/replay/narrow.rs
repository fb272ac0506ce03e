//! One table, and one end of the log.

use anyhow::{Context, Result, ensure};
use logs::Source;
use projections::Table;
use projector::replay::Replay;

use crate::house::{House, everything, fold, of, record};

/// What is wrong in each table, and does not show in those that are computed from it.
const DAMAGES: [(Table, &str); 4] = [
    (Table::Observations, "update observations set row_count = row_count + 1"),
    (Table::FactMetaDaily, "update fact_meta_daily set ad_name = 'x', adset_id = null"),
    (Table::DailyMetaMetrics, "update daily_meta_metrics set ads = ads + 1, content_sha256 = '\\x00'"),
    (Table::DailySummary, "update daily_summary set meta_clicks = 1000000000, updated_at = now()"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_table_the_others_keep_what_they_say() -> Result<()> {
    let house = House::open(7).await?;
    let right = house.rows().await?;
    for only in Table::ALL {
        for (_, damage) in DAMAGES {
            house.sql(damage).await?;
        }
        let damaged = house.rows().await?;
        let replay = Replay { only: Some(only), ..house.replay() };
        let told = Replay { dry_run: true, ..replay.clone() }.run(&everything(), |_| {}).await?;
        assert_eq!(house.rows().await?, damaged, "{only:?}: the dry run wrote something");
        let report = replay.run(&everything(), |_| {}).await?;
        assert_eq!(report.changes(), told.changes(), "{only:?}");
        ensure!(of(&report, only) > 0, "{only:?}: {report:?}");
        let after = house.rows().await?;
        assert_eq!(after[only.name()], right[only.name()], "{only:?} is not mended");
        for other in Table::ALL.into_iter().filter(|other| *other < only) {
            assert_eq!(after[other.name()], damaged[other.name()], "{only:?} was asked for, and {other:?} written");
        }
        // Where it changed, what is computed from it is computed again.
        for other in Table::ALL.into_iter().filter(|other| *other > only) {
            assert_ne!(
                after[other.name()],
                damaged[other.name()],
                "{only:?} was asked for, and {other:?} is as it was"
            );
        }
        house.replay().run(&everything(), |_| {}).await?;
        assert_eq!(house.rows().await?, right, "{only:?}");
        // Of a table that is right, what is computed from it is not looked at.
        if only != Table::DailySummary {
            house.sql(DAMAGES[3].1).await?;
            let report = replay.run(&everything(), |_| {}).await?;
            ensure!(report.days_changed == 0 && report.rows > 0, "{only:?}: {report:?}");
            ensure!(house.rows().await? != right, "{only:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_rows_that_are_missing_come_back_with_their_table_alone() -> Result<()> {
    let house = House::open(7).await?;
    let right = house.rows().await?;
    for only in [Table::FactMetaDaily, Table::DailyMetaMetrics, Table::DailySummary] {
        house.sql(&format!("delete from {}", only.name())).await?;
        Replay { only: Some(only), ..house.replay() }.run(&everything(), |_| {}).await?;
        assert_eq!(house.rows().await?, right, "{only:?}");
    }
    // A head that was only made to lock its day does not stay.
    house.sql("delete from daily_meta_metrics").await?;
    for only in [Table::Observations, Table::FactMetaDaily] {
        let report = Replay { only: Some(only), ..house.replay() }.run(&everything(), |_| {}).await?;
        ensure!(report.days_changed == 0, "{only:?}: {report:?}");
        ensure!(house.rows().await?["daily_meta_metrics"].is_empty(), "{only:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_is_summed_without_a_log() -> Result<()> {
    let house = House::open(5).await?;
    let right = house.rows().await?;
    house.sql(DAMAGES[3].1).await?;
    let elsewhere = testkit::database().await?.pool;
    elsewhere.close().await;
    let logs = Source::Raw(elsewhere).into();
    let replay = Replay { only: Some(Table::DailySummary), logs, ..house.replay() };
    let report = replay.run(&everything(), |_| {}).await?;
    ensure!(of(&report, Table::DailySummary) == right["daily_summary"].len() as u64, "{report:?}");
    assert_eq!(house.rows().await?, right);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_end_is_live_traffics() -> Result<()> {
    let house = House::open(7).await?;
    let first = house.history.answers.first().context("an answer")?.clone();
    let end = house.replay().logs.first.end(&everything()).await?;
    let mut later = first.clone();
    later.event_id = uuid::Uuid::from_u128(0xe4d);
    later.fetched_at += chrono::Duration::days(30);
    record(house.pool(), std::slice::from_ref(&later)).await?;
    let observed = "select from observations where event_id = '00000000-0000-0000-0000-000000000e4d'";

    let before = house.places().await?;
    let replay = Replay { end: Some(end), ..house.replay() };
    let report = replay.run(&everything(), |_| {}).await?;
    ensure!(report.days_changed == 0 && report.events == house.history.answers.len() as u64, "{report:?}");
    assert_eq!(house.places().await?, before);
    // Unless live traffic had it: then it is read, whatever the end.
    fold(house.pool(), &later).await?;
    let folded = house.rows().await?;
    let report = replay.run(&everything(), |_| {}).await?;
    ensure!(report.days_changed == 0 && report.events == 1 + house.history.answers.len() as u64, "{report:?}");
    assert_eq!(house.rows().await?, folded);
    ensure!(house.sql(observed).await? == 1);
    Ok(())
}
