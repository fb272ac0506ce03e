use anyhow::{Result, ensure};
use events::subject::insights_filter;
use jetstream::META_INSIGHTS;
use logs::Source;
use projector::rebuild::RebuildError;
use testkit::oracle;

use crate::stage::Stage;

/// What a user has hung on the tables, and another source has written into them.
const OF_OTHERS: &str = "
    create role reader_of_a_rebuild_test nologin;
    create view spend_of_days as select account_id, date, meta_spend from daily_summary;
    create policy readers on daily_summary to reader_of_a_rebuild_test using (true);
    grant select on daily_summary, spend_of_days to reader_of_a_rebuild_test;
    update daily_summary set shopify_orders = 7, shopify_revenue = 70.5;
    insert into daily_summary (account_id, date, shopify_orders) select id, '2020-01-01', 1 from accounts";

const DAMAGES: [&str; 5] = [
    "update fact_meta_daily set spend = spend + 1; update daily_summary set meta_spend = 0",
    "delete from fact_meta_daily where ad_id in ('100', '101'); delete from observations where spend < 300",
    "insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, spend, attribution_window, rule_version, event_id, fetched_at)
     select account_id, ad_account_id, '2026-02-01', 'bogus', 'USD', 1, 'unified', 1, gen_random_uuid(), now() from observations group by 1, 2",
    "update daily_meta_metrics set clicks = clicks + 1, projection_version = 0",
    "update daily_summary set meta_roas = 9, updated_at = now()",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_replaced_and_kept_and_nothing_else_is_touched() -> Result<()> {
    let stage = Stage::folded(30).await?;
    stage.sql(OF_OTHERS).await?;
    let oids = "select sum(oid::bigint)::bigint from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')";
    let before = stage.count(oids).await?;
    for damage in DAMAGES {
        stage.sql(damage).await?;
        let mut rebuilt = stage.rebuild().await?.load(|_| {}).await?;
        ensure!(rebuilt.loaded.not_folded.is_empty(), "{:?}", rebuilt.loaded);
        let applied = rebuilt.apply(|_| {}).await?;
        ensure!(applied.left.is_empty() && applied.busy.is_empty(), "{applied:?}");
        rebuilt.close().await;
        stage.sql("delete from daily_summary where date = '2020-01-01'").await?;
        stage.check(&stage.wanted()).await.map_err(|error| error.context(damage))?;
        let kept = stage.count("select (select count(*) from rebuild_undo.fact_meta_daily) + (select count(*) from rebuild_undo.observations)
             + (select count(*) from rebuild_undo.daily_meta_metrics) + (select count(*) from rebuild_undo.daily_summary)").await?;
        ensure!(applied.replaced + applied.written + applied.summaries > 0, "{damage}: {applied:?}");
        ensure!(kept.cast_unsigned() == applied.replaced + applied.summaries, "{damage}: {kept} of {applied:?}");
        ensure!(stage.count("select count(*) from rebuild_undo.daily_meta_metrics where event_id = '00000000-0000-0000-0000-000000000000'").await? == 0);
        // What it found, it does not find again.
        let mut again = stage.rebuild().await?.load(|_| {}).await?;
        let nothing = again.apply(|_| {}).await?;
        ensure!(
            nothing.days == 0 && nothing.replaced == 0 && nothing.written == 0 && nothing.summaries == 0,
            "{nothing:?}"
        );
        again.close().await;
        projector::rebuild::drop_schemas(&stage.database.pool).await?;
        ensure!(stage.count("select count(*) from pg_namespace where nspname like 'rebuild%'").await? == 0);
    }
    ensure!(stage.count(oids).await? == before, "a table or view is another one than before");
    let others = "select count(*) from daily_summary where shopify_orders is distinct from 7 or shopify_revenue is distinct from 70.5";
    ensure!(stage.count(others).await? == 0, "another source has lost a number");
    let mut connection = stage.database.pool.acquire().await?;
    sqlx::raw_sql("set role reader_of_a_rebuild_test").execute(&mut *connection).await?;
    let read: i64 = sqlx::query_scalar("select count(*) from spend_of_days").fetch_one(&mut *connection).await?;
    sqlx::raw_sql("reset role; drop owned by reader_of_a_rebuild_test; drop role reader_of_a_rebuild_test")
        .execute(&mut *connection)
        .await?;
    ensure!(
        read == stage.count("select count(*) from daily_summary").await?,
        "the reader's view, grant or policy is gone"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_equal_row_is_not_written() -> Result<()> {
    let stage = Stage::folded(31).await?;
    let rows = "select sum(hashtext(place))::bigint from (
        select 'f' || ctid || xmin as place from fact_meta_daily union all select 'o' || ctid || xmin from observations
        union all select 'm' || ctid || xmin from daily_meta_metrics union all select 's' || ctid || xmin from daily_summary) rows";
    let before = stage.count(rows).await?;
    let mut rebuilt = stage.rebuild().await?.load(|_| {}).await?;
    ensure!(rebuilt.catch_up().await? == 0 && rebuilt.differing().await? == (Vec::new(), Vec::new()));
    rebuilt.apply(|_| {}).await?;
    rebuilt.close().await;
    ensure!(stage.count(rows).await? == before, "a row was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_live_traffic_folds_meanwhile_is_kept() -> Result<()> {
    for seed in 32..35 {
        let stage = Stage::half_folded(seed).await?;
        // Of the logs only half is there yet: the others come while the rebuild is at work.
        let folded = oracle::read(&stage.database.pool).await?.observations.len();
        let late: Vec<_> = stage.history.answers.iter().skip(1).step_by(2).map(|a| a.event_id).collect();
        ensure!(folded > 0 && !late.is_empty());
        sqlx::query("create table of_later as select * from meta_insights_raw where event_id = any ($1)")
            .bind(&late)
            .execute(&stage.database.pool)
            .await?;
        let forget = "alter table meta_insights_raw disable trigger all; delete from meta_insights_raw where event_id in (select event_id from of_later)";
        stage.sql(forget).await?;
        stage.sql("update fact_meta_daily set clicks = 0").await?;
        let mut rebuild = stage.rebuild().await?;
        rebuild.logs = stage.raw().into();
        let mut rebuilt = rebuild.load(|_| {}).await?;
        stage.sql("insert into meta_insights_raw select * from of_later").await?;
        let rule = stage.set_rule(2).await?;
        stage.fold_rest().await?;
        let applied = rebuilt.apply(|_| {}).await?;
        ensure!(applied.left.is_empty() && applied.busy.is_empty(), "{applied:?}");
        rebuilt.close().await;
        let ruled = stage.history.tenants[0].1[0];
        let newest = |id| if id == ruled { rule.clone() } else { oracle::Rule::first() };
        stage.check(&oracle::tables_by(&stage.history.answers, newest)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_whose_event_is_in_no_log_is_left_and_said() -> Result<()> {
    let stage = Stage::folded(36).await?;
    let lost = stage.history.answers[0].clone();
    stage.sql("alter table meta_insights_raw disable trigger all").await?;
    sqlx::query("delete from meta_insights_raw where event_id = $1")
        .bind(lost.event_id)
        .execute(&stage.database.pool)
        .await?;
    stage.sql("update fact_meta_daily set clicks = clicks + 1").await?;
    let before = oracle::read(&stage.database.pool).await?;
    let mut rebuild = stage.rebuild().await?;
    rebuild.logs = Source::Raw(stage.database.pool.clone()).into();
    let mut rebuilt = rebuild.load(|_| {}).await?;
    rebuilt.catch_up().await?;
    let applied = rebuilt.apply(|_| {}).await?;
    rebuilt.close().await;
    let left: Vec<_> = applied.left.iter().map(|(day, id)| (day.date, *id)).collect();
    ensure!(left == [(lost.date, lost.event_id)], "{applied:?}");
    let of_it = format!("{} {} {} ", lost.account_id, lost.ad_account_id, lost.date);
    let of_day = |tables: &oracle::Tables| {
        tables.facts.iter().filter(|line| line.starts_with(&of_it)).cloned().collect::<Vec<_>>()
    };
    ensure!(of_day(&before) == of_day(&oracle::read(&stage.database.pool).await?), "the day was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_rebuild_at_a_time() -> Result<()> {
    let stage = Stage::folded(37).await?;
    let first = stage.rebuild().await?.load(|_| {}).await?;
    let second = stage.rebuild().await?.load(|_| {}).await;
    ensure!(matches!(second.err(), Some(RebuildError::AnotherOne)));
    first.close().await;
    stage.rebuild().await?.load(|_| {}).await?.close().await;
    Ok(())
}

/// Old days have left the stream, and somebody has emptied the tables: the raw log has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_only_the_raw_log_holds_are_rebuilt_too() -> Result<()> {
    let stage = Stage::folded(38).await?;
    let log = stage.nats.wire.log(META_INSIGHTS).await?;
    log.purge(&insights_filter(None, None), log.level().await?.last_sequence / 2).await?;
    stage.sql("truncate observations, fact_meta_daily").await?;
    let mut rebuilt = stage.rebuild().await?.load(|_| {}).await?;
    let applied = rebuilt.apply(|_| {}).await?;
    rebuilt.close().await;
    ensure!(applied.left.is_empty() && applied.busy.is_empty(), "{applied:?}");
    stage.check(&stage.wanted()).await
}

/// A name that is not found beside would be found in the live tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_goes_away_ends_the_rebuild_before_it_writes() -> Result<()> {
    for misfortune in
        ["drop schema rebuild cascade", "truncate rebuild.run", "update rebuild.run set id = gen_random_uuid()"]
    {
        let stage = Stage::half_folded(39).await?;
        let before = oracle::read(&stage.database.pool).await?;
        let mut rebuilt = stage.rebuild().await?.load(|_| {}).await?;
        ensure!(matches!(projector::rebuild::drop_schemas(&stage.database.pool).await, Err(RebuildError::AnotherOne)));
        stage.sql(misfortune).await?;
        let (caught_up, applied) = (rebuilt.catch_up().await, rebuilt.apply(|_| {}).await);
        ensure!(matches!(caught_up, Err(RebuildError::Gone)), "{misfortune}: {caught_up:?}");
        ensure!(matches!(applied, Err(RebuildError::Gone)), "{misfortune}: {applied:?}");
        rebuilt.close().await;
        ensure!(before == oracle::read(&stage.database.pool).await?, "{misfortune}");
    }
    Ok(())
}
