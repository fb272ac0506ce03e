//! How far a replay came is written with the days it speaks of, and who takes it up goes on there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use projections::Table;
use projector::replay::{Asked, Ended, Pace, Record, Replay, ReplayError};
use sqlx::PgPool;
use testkit::wait;
use tokio_util::sync::CancellationToken;

use crate::house::{House, everything};

const DEADLINE: Duration = Duration::from_secs(60);

fn asked() -> Asked {
    Asked { range: everything(), source: "raw", only: None, trust_hash: false }
}

async fn states(pool: &PgPool) -> Result<Vec<String>> {
    let mut listed = projector::replay::list(pool, 100).await?;
    listed.reverse();
    Ok(listed.into_iter().map(|replay| replay.state).collect())
}

/// Works until so many transactions are through, each of one day.
async fn work(house: &House, record: &Record, transactions: usize) -> Result<(projector::replay::Report, Ended)> {
    let cancel = CancellationToken::new();
    let replay = Replay { rows_a_transaction: 1, end: record.end, ..house.replay() };
    let enough = record.days_done + transactions;
    let stop = |report: &projector::replay::Report| {
        if report.days >= enough {
            cancel.cancel();
        }
    };
    Ok(replay.run_recorded(&everything(), Some(record), &cancel, stop).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_or_killed_replay_goes_on_where_it_was() -> Result<()> {
    let house = House::open(7).await?;
    let right = house.rows().await?;
    house.sql("update fact_meta_daily set spend = spend + 1").await?;
    let days: usize = usize::try_from(house.sql("select from daily_meta_metrics").await?)?;
    let end = Some(house.replay().logs.first.end(&everything()).await?);

    let begun = Record::begin(house.pool(), &asked(), end, false).await?;
    ensure!(!begun.goes_on && begun.beside.is_none() && begun.record.days_done == 0, "{begun:?}");
    let (report, ended) = work(&house, &begun.record, 2).await?;
    ensure!(ended == Ended::Paused && report.days >= 2 && report.days < days, "{report:?}");
    let (done, total) = begun.record.stopped(false).await?;
    assert_eq!((done, total), (i64::try_from(report.days)?, i64::try_from(days)?));
    assert_eq!(states(house.pool()).await?, ["paused"]);

    // Other arguments are another replay.
    for other in [
        Asked { trust_hash: true, ..asked() },
        Asked { only: Some(Table::DailySummary), ..asked() },
        Asked { source: "stream", ..asked() },
        Asked { range: logs::Range { account_id: Some(house.history.tenants[0].0), ..everything() }, ..asked() },
    ] {
        let begun = Record::begin(house.pool(), &other, None, false).await?;
        ensure!(!begun.goes_on && begun.beside.is_none(), "{begun:?}");
        begun.record.finished().await?;
    }

    // Its end is the one it had, whatever the log holds now.
    let begun = Record::begin(house.pool(), &asked(), None, false).await?;
    ensure!(begun.goes_on && begun.record.end == end && begun.record.days_done == report.days, "{begun:?}");
    let (report, ended) = work(&house, &begun.record, 2).await?;
    ensure!(ended == Ended::Paused, "{report:?}");
    // Killed: nothing more is written, and the lock goes with the process.
    let at = report.days;
    drop(begun);
    wait::until("its lock is free", DEADLINE, async || Ok(states(house.pool()).await?[0] == "broken off")).await?;

    let begun = Record::begin(house.pool(), &asked(), None, false).await?;
    ensure!(begun.goes_on && begun.record.days_done == at, "{begun:?}");
    let (report, ended) = work(&house, &begun.record, days).await?;
    ensure!(ended == Ended::Finished && report.days == days && report.compared == days - at, "{report:?}");
    begun.record.finished().await?;
    assert_eq!(house.rows().await?, right);
    let listed = projector::replay::list(house.pool(), 100).await?.pop().context("it is listed")?;
    assert_eq!(
        (listed.state.as_str(), usize::try_from(listed.days_done)?, usize::try_from(listed.days_total)?),
        ("finished", days, days),
    );
    ensure!(listed.days_changed > 0 && listed.events as usize == house.history.answers.len(), "{listed:?}");
    // What is finished is not gone on with.
    ensure!(!Record::begin(house.pool(), &asked(), end, false).await?.goes_on);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_do_not_share_a_record() -> Result<()> {
    let house = House::open(7).await?;
    let end = Some(house.replay().logs.first.end(&everything()).await?);
    let first = Record::begin(house.pool(), &asked(), end, false).await?;
    let second = Record::begin(house.pool(), &asked(), end, false).await?;
    ensure!(!second.goes_on && second.beside == Some(first.record.id), "{second:?}");
    // The first loses its lock and not its life; somebody takes it up.
    let begun = second.record;
    let both = tokio::join!(work(&house, &first.record, 1000), work(&house, &begun, 1000));
    ensure!(both.0?.1 == Ended::Finished && both.1?.1 == Ended::Finished);
    let first_id = first.record.id;
    house.sql(&format!("update replays set taken_up_at = clock_timestamp() where id = {first_id}")).await?;
    let record = first.record;
    let replay = Replay { rows_a_transaction: 1, ..house.replay() };
    match replay.run_recorded(&everything(), Some(&record), &CancellationToken::new(), |_| {}).await {
        Err(ReplayError::TakenOver) => {}
        other => anyhow::bail!("{other:?}"),
    }
    // Begun anew, what was broken off is given up; what is finished ends what was begun before it.
    drop(record);
    wait::until("its lock is free", DEADLINE, async || Ok(states(house.pool()).await?[0] == "broken off")).await?;
    begun.finished().await?;
    assert_eq!(states(house.pool()).await?, ["given up", "finished"]);
    Record::begin(house.pool(), &asked(), end, false).await?.record.stopped(true).await?;
    let third = Record::begin(house.pool(), &asked(), end, true).await?;
    ensure!(!third.goes_on, "{third:?}");
    assert_eq!(states(house.pool()).await?, ["given up", "finished", "given up", "running"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_taken_while_it_waits_for_its_pace() -> Result<()> {
    let house = House::open(7).await?;
    let begun = Record::begin(house.pool(), &asked(), None, false).await?;
    let pace = Pace { rows_a_second: Some(1), ..Pace::default() };
    let replay = Replay { rows_a_transaction: 1, pace, ..house.replay() };
    let asking = async {
        wait::until("a day is through", DEADLINE, async || {
            Ok(projector::replay::list(house.pool(), 1).await?[0].days_done > 0)
        })
        .await?;
        projector::replay::pause(house.pool(), begun.record.id).await?;
        assert_eq!(states(house.pool()).await?, ["pausing"]);
        Ok::<_, anyhow::Error>(())
    };
    let (cancel, range) = (CancellationToken::new(), everything());
    let (ended, asked) = tokio::join!(replay.run_recorded(&range, Some(&begun.record), &cancel, |_| {}), asking);
    asked?;
    let (report, ended) = ended?;
    ensure!(ended == Ended::Paused && report.days < report.days_total, "{report:?}");
    let id = begun.record.id;
    begun.record.stopped(false).await?;
    assert_eq!(states(house.pool()).await?, ["paused"]);
    let refused = projector::replay::pause(house.pool(), id).await.expect_err("it does not run");
    assert_eq!(
        refused.to_string(),
        format!("no replay {id} is running: `adledger replays` lists those that were begun")
    );
    Ok(())
}
