//! The laws of a ledger, over random histories: live fold = replay from the stream = replay from raw = rebuild = the past of
//! now, also where every connection is cut again and again; and a replay changes nothing outside its range.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use logs::{Logs, Range, Source};
use projector::as_of::{AsOf, Rule};
use sqlx::PgPool;
use testkit::history::{DAYS, first_day};
use testkit::oracle;

use crate::stage::{MAX_EVENT_BYTES, Stage};

const SEEDS: std::ops::Range<u64> = 60..64;
const EMPTY: &str = "truncate observations, fact_meta_daily, daily_meta_metrics; delete from daily_summary";
const DAMAGE: &str = "update fact_meta_daily set spend = spend + 1 where ad_id <> '101'; delete from fact_meta_daily where ad_id = '102';
    update daily_meta_metrics set clicks = 0; update daily_summary set meta_impressions = 0;
    update observations set row_count = row_count + 1";

fn whole() -> Range {
    let until = first_day() + chrono::Duration::days(DAYS as i64 - 1);
    Range { account_id: None, ad_account_id: None, since: first_day(), until }
}

async fn rebuild(stage: &Stage, first: Source) -> Result<()> {
    let rebuild = stage.rebuild().await?;
    let rebuild = projector::rebuild::Rebuild { logs: Logs { first, ..rebuild.logs }, ..rebuild };
    let mut rebuilt = rebuild.load(|_| {}).await?;
    let applied = rebuilt.apply(|_| {}).await?;
    rebuilt.close().await;
    ensure!(applied.left.is_empty() && applied.busy.is_empty(), "{applied:?}");
    Ok(())
}

/// What as-of shows of this moment is what the tables say.
async fn check_past_of_now(stage: &Stage) -> Result<()> {
    for (at, from) in [(Some(stage.now().await?), stage.stream().await?), (None, stage.raw())] {
        let session = (*stage.database.pool.connect_options()).clone();
        let (range, rule, logs) = (whole(), Rule::Today, from.into());
        let as_of = AsOf { at, rule, range, logs, session, max_event_bytes: MAX_EVENT_BYTES };
        let mut past = as_of.fold(|_, _| {}).await?;
        let difference = stage.wanted().difference(&oracle::read_from(past.session()).await?);
        ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_from_nothing_ends_in_the_same_tables() -> Result<()> {
    for seed in SEEDS {
        let stage = Stage::folded(seed).await?;
        stage.check(&stage.wanted()).await.map_err(|error| error.context(format!("seed {seed}: live")))?;
        for (name, from) in [("stream", stage.stream().await?), ("raw", stage.raw())] {
            stage.sql(EMPTY).await?;
            stage.replay(from.clone()).await?.run(&whole(), |_| {}).await?;
            let replayed = stage.check(&stage.wanted()).await;
            replayed.map_err(|error| error.context(format!("seed {seed}: replay from {name}")))?;
            stage.sql(EMPTY).await?;
            rebuild(&stage, from).await?;
            let rebuilt = stage.check(&stage.wanted()).await;
            rebuilt.map_err(|error| error.context(format!("seed {seed}: rebuild from {name}")))?;
        }
        check_past_of_now(&stage).await?;
    }
    Ok(())
}

/// Ends every connection to the database, so many times, in the middle of whatever it does.
async fn cut(stage: &Stage, times: u32) -> Result<()> {
    let elsewhere = PgPool::connect_with((*stage.database.pool.connect_options()).clone().database("postgres")).await?;
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(60)).await;
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
            .bind(stage.database.pool.connect_options().get_database())
            .execute(&elsewhere)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_cut_the_tables_end_right() -> Result<()> {
    for seed in SEEDS {
        let stage = Stage::half_folded(seed).await?;
        stage.sql(DAMAGE).await?;
        let replays = async {
            let replay = stage.replay(stage.raw()).await?;
            while replay.run(&whole(), |_| {}).await.is_err() {}
            Ok::<_, anyhow::Error>(())
        };
        let rebuilds = async {
            while rebuild(&stage, stage.stream().await?).await.is_err() {}
            Ok::<_, anyhow::Error>(())
        };
        let live = async {
            while stage.fold_rest().await.is_err() {}
            Ok::<_, anyhow::Error>(())
        };
        tokio::time::timeout(crate::stage::DEADLINE, async {
            tokio::try_join!(cut(&stage, 20), replays, rebuilds, live)
        })
        .await??;
        stage.check(&stage.wanted()).await.map_err(|error| error.context(format!("seed {seed}")))?;
        check_past_of_now(&stage).await?;
    }
    Ok(())
}

/// Every row of every table with its place on the disk and the transaction that wrote it, by tenant, ad account and date.
async fn places(stage: &Stage) -> Result<BTreeMap<String, Vec<String>>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select key, place from (
             select format('%s %s %s', account_id, ad_account_id, date) as key, 'fact' || ctid || xmin || ad_id as place from fact_meta_daily
             union all select format('%s %s %s', account_id, ad_account_id, date), 'observation' || ctid || xmin from observations
             union all select format('%s %s %s', account_id, ad_account_id, date), 'metrics' || ctid || xmin from daily_meta_metrics
             union all select format('%s - %s', account_id, date), 'summary' || ctid || xmin from daily_summary) as rows
         order by 1, 2",
    )
    .fetch_all(&stage.database.pool)
    .await?;
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, place) in rows {
        places.entry(key).or_default().push(place);
    }
    Ok(places)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_changes_nothing_outside_its_range() -> Result<()> {
    for seed in SEEDS {
        let stage = Stage::folded(seed).await?;
        stage.sql(DAMAGE).await?;
        let before = places(&stage).await?;
        let (account_id, ad_accounts) = &stage.history.tenants[0];
        let date = first_day() + chrono::Duration::days(1);
        let range =
            Range { account_id: Some(*account_id), ad_account_id: Some(ad_accounts[0]), since: date, until: date };
        stage.replay(stage.stream().await?).await?.run(&range, |_| {}).await?;
        let inside = [format!("{account_id} {} {date}", ad_accounts[0]), format!("{account_id} - {date}")];
        let after = places(&stage).await?;
        for (key, places) in &before {
            ensure!(inside.contains(key) || after.get(key) == Some(places), "seed {seed}: {key} was written");
        }
        ensure!(
            after.len() == before.len() && after[&inside[0]] != before[&inside[0]],
            "seed {seed}: nothing was mended"
        );
        let of_day = |tables: oracle::Tables| {
            tables.facts.into_iter().filter(|line| line.starts_with(&inside[0])).collect::<Vec<_>>()
        };
        ensure!(of_day(stage.wanted()) == of_day(oracle::read(&stage.database.pool).await?), "seed {seed}");
    }
    Ok(())
}
