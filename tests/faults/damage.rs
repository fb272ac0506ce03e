//! The judge, on a history without a misfortune: it finds nothing there, and each damage that is done to the tables.

use std::path::Path;

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, Connection};
use testkit::faults::{self, Plan, Postgres};

/// What is done to the tables, and what the judge must say.
const DAMAGES: [(&str, &str); 23] = [
    ("delete from fact_meta_daily where ctid = (select min(ctid) from fact_meta_daily)", "lost: act_"),
    ("update fact_meta_daily set spend = spend + 0.01 where ctid = (select min(ctid) from fact_meta_daily)", "facts has"),
    ("update fact_meta_daily set ad_id = '1' || ad_id where ctid = (select min(ctid) from fact_meta_daily)", "facts lacks"),
    (
        "insert into fact_meta_daily select (jsonb_populate_record(f, '{\"ad_id\":\"7\"}')).* from fact_meta_daily f limit 1",
        "doubled: act_",
    ),
    ("delete from daily_meta_metrics where date = (select min(date) from daily_meta_metrics)", "has no row of"),
    ("update daily_meta_metrics set spend = spend + 0.01 where date = (select max(date) from daily_meta_metrics)", "where the world has"),
    ("update daily_meta_metrics set clicks = clicks * 2 where date = (select max(date) from daily_meta_metrics)", "where the world has"),
    ("update daily_meta_metrics set date = date - 40 where date = (select min(date) from daily_meta_metrics)", "which nobody asked for"),
    ("update daily_summary set meta_spend = meta_spend - 0.01 where date = (select max(date) from daily_summary)", "is not the sum"),
    ("update daily_summary set meta_clicks = meta_clicks + 1", "is not what its summary says"),
    ("delete from daily_summary where date = (select max(date) from daily_summary)", "is not the sum"),
    ("delete from meta_insights_raw where event_id = (select max(event_id::text)::uuid from meta_insights_raw)", "not in the raw log"),
    ("update meta_payloads set payload = payload || '\\x00' where ctid = (select min(ctid) from meta_payloads)", "has other bytes"),
    (
        "insert into meta_insights_raw select (jsonb_populate_record(r, jsonb_build_object('event_id', gen_random_uuid()))).*
         from meta_insights_raw r limit 1",
        "in the raw log and not in the stream",
    ),
    ("delete from observations where event_id = (select max(event_id::text)::uuid from observations)", "was not observed"),
    (
        "insert into observations select (jsonb_populate_record(o, jsonb_build_object('event_id', gen_random_uuid()))).*
         from observations o limit 1",
        "which is no event",
    ),
    ("update sync_runs set status = 'waiting' where id = (select max(id::text)::uuid from sync_runs)", "stuck: run meta_"),
    ("update sync_runs set status = 'partial' where id = (select max(id::text)::uuid from sync_runs)", "wrong: run meta_"),
    ("update sync_days set state = 'failed' where date = (select max(date) from sync_days)", "is failed"),
    (
        "insert into sync_runs select (jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid()))).*
         from sync_runs r where job_type = 'meta_7d_fill'",
        "2 fill runs",
    ),
    ("delete from sync_runs where job_type = 'meta_settle'", "has 0 settle runs"),
    ("update sync_cursors set value = value - 1", "the cursor of"),
    ("delete from initial_fills", "were announced"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_judge_finds_each_damage_and_nothing_without() -> Result<()> {
    let folder = super::folder("damage");
    let mut postgres = Postgres::start(&folder.join("postgres")).await?;
    let drawn = Plan::of(1, &[]);
    let plan =
        Plan { nodes: 1, small_disk: false, roles: vec!["all"], on_processes: vec![], on_servers: vec![], ..drawn };
    let history = folder.join("history");
    let told = faults::happen(plan, Path::new(super::BINARY), &history, &mut postgres, async |judge, connection| {
        let mut missed = Vec::new();
        for (damage, said) in DAMAGES {
            let mut transaction = connection.begin().await?;
            sqlx::raw_sql(AssertSqlSafe(damage)).execute(&mut *transaction).await?;
            let findings = judge.findings(&mut transaction).await?;
            if !findings.iter().any(|finding| finding.contains(said)) {
                missed.push(format!("after {damage}: {findings:#?}"));
            }
            transaction.rollback().await?;
        }
        ensure!(missed.is_empty(), "{}", missed.join("\n"));
        ensure!(judge.findings(connection).await?.is_empty(), "every damage was taken back");
        Ok(())
    });
    let told = told.await?;
    ensure!(told.findings.is_empty(), "{:#?}", told.findings);
    ensure!(told.events > 50, "there was something to damage");
    postgres.end().await;
    Ok(std::fs::remove_dir_all(&folder)?)
}
