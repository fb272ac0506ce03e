//! What the product folded is what the log says; whatever is damaged afterwards is found, and named.

mod corpus;
mod stage;
mod strange;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jetstream::META_INSIGHTS;
use logs::{Logs, Source};
use projections::{Folds, Mutant};
use projector::replay::Replay;
use sqlx::Row;
use stage::{Stage, verify};
use testkit::history::{History, Random};
use testkit::oracle::Rule;
use uuid::Uuid;
use verifier::{FACTS, METRICS, OBSERVATIONS, SUMMARY, Tables, Verifier};

const TABLES: [&str; 4] = ["observations", "fact_meta_daily", "daily_meta_metrics", "daily_summary"];

/// A random history, published, appended and folded.
async fn folded(seed: u64) -> Result<(Stage, History)> {
    let stage = Stage::open().await?;
    let history = History::random(&mut Random::new(seed));
    history.insert_tenants(&stage.database.pool).await?;
    let (account_id, ad_accounts) = &history.tenants[0];
    // A window that is asked for only now and then, so that some purchases are unknown.
    Rule::new(2, &["lead", "purchase+onsite_conversion.purchase"], "1d_view")
        .set(&stage.database.pool, *account_id, ad_accounts[1])
        .await?;
    for answer in &history.answers {
        answer.publish(&stage.nats.wire).await?;
    }
    stage.work().await?;
    Ok((stage, history))
}

#[test]
fn it_describes_the_fold_as_it_is() {
    assert_eq!(verifier::PROJECTION_VERSION, projections::PROJECTION_VERSION);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_is_compared() -> Result<()> {
    let database = testkit::database().await?;
    for (table, key) in [
        (&OBSERVATIONS, &["account_id", "ad_account_id", "date", "event_id"][..]),
        (&FACTS, &["account_id", "ad_account_id", "date", "ad_id"]),
        (&METRICS, &["account_id", "ad_account_id", "date"]),
        (&SUMMARY, &["account_id", "date", "shopify_orders", "shopify_revenue"]),
    ] {
        let columns = sqlx::query_scalar(
            "select column_name::text from information_schema.columns where table_schema = 'public' and table_name = $1",
        );
        let mut columns: Vec<String> = columns.bind(table.name).fetch_all(&database.pool).await?;
        let mut compared: Vec<&str> = table.columns.iter().chain(key).copied().collect();
        columns.sort();
        compared.sort_unstable();
        assert_eq!(columns, compared, "{}", table.name);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_product_folded_is_what_either_log_says() -> Result<()> {
    for seed in 1..=4 {
        let (stage, history) = folded(seed).await?;
        let pool = &stage.database.pool;
        // A rule that comes later, by which one ad account's days are folded again.
        let (account_id, ad_account_id) = (history.tenants[1].0, history.tenants[1].1[0]);
        Rule::new(2, &["add_to_cart"], "7d_click").set(pool, account_id, ad_account_id).await?;
        let said = verify(&stage.stream().await?).await?;
        ensure!(said.sentences().contains("rule_version 1 in the table, 2 by the log"), "{said:?}");
        let replay = Replay::new(pool.clone(), Source::Raw(pool.clone()));
        replay.run_behind(account_id, ad_account_id, |_| {}).await?;
        let (facts, metrics, spend): (i64, i64, String) = sqlx::query_as(
            "select (select count(*) from fact_meta_daily), count(*), trim_scale(sum(spend))::text from daily_meta_metrics",
        )
        .fetch_one(pool)
        .await?;
        for verifier in [stage.stream().await?, stage.raw().await?] {
            let said = verify(&verifier).await?;
            ensure!(said.differences.is_empty() && said.refused.is_empty(), "seed {seed}: {said:?}");
            let report = said.report;
            assert_eq!((report.rows as i64, report.account_days as i64, report.on_their_way), (facts, metrics, 0));
            assert_eq!(report.events, history.answers.len() as u64);
            assert_eq!(report.spend["USD"].normalize().to_string(), spend);
        }
    }
    Ok(())
}

/// Every column of the four tables, in a row of each, to another value and to null.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_column_is_found_and_named() -> Result<()> {
    let (stage, _) = folded(7).await?;
    for table in TABLES {
        stage.sql(&format!("create schema if not exists kept; create table kept.{table} as table {table}")).await?;
    }
    // The tables themselves refuse some of the damages.
    stage.sql("alter table fact_meta_daily drop constraint fact_meta_daily_check, drop constraint fact_meta_daily_absence_check").await?;
    let columns = sqlx::query(
        "select table_name::text, column_name::text, data_type::text, is_nullable = 'YES' from information_schema.columns
         where table_schema = 'public' and table_name = any($1) and column_name not like 'shopify%' order by 1, 2",
    )
    .bind(TABLES)
    .fetch_all(&stage.database.pool)
    .await?;
    ensure!(columns.len() > 60, "{} columns", columns.len());
    let verifier = stage.stream().await?;
    for column in columns {
        let (table, name): (String, String) = (column.try_get(0)?, column.try_get(1)?);
        let (data_type, nullable): (String, bool) = (column.try_get(2)?, column.try_get(3)?);
        let other = match data_type.as_str() {
            "uuid" => "gen_random_uuid()".to_owned(),
            "date" => format!("{name} + 1000"),
            "text" => format!("coalesce({name}, '') || 'x'"),
            "character" => "'XXX'".to_owned(),
            "bytea" => format!("'\\x00' || {name}"),
            "boolean" => format!("not {name}"),
            "timestamp with time zone" => format!("coalesce({name}, 'epoch') + interval '1 microsecond'"),
            "numeric" => format!("coalesce({name}, 0) + 0.01"),
            _ => format!("coalesce({name}, 0) + 1"),
        };
        // Which windows an event asked for may be unknown: the column is younger than the table.
        let null = (nullable && name != "attribution_windows").then(|| "null".to_owned());
        for damage in std::iter::once(other).chain(null) {
            let what = format!("{table}.{name} = {damage}");
            let damaged: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "with damaged as (update {table} set {name} = {damage} where ctid = (
                     select ctid from {table} where {name} is distinct from {damage} limit 1) returning 1)
                 select count(*) from damaged"
            )))
            .fetch_one(&stage.database.pool)
            .await
            .with_context(|| what.clone())?;
            let said = verify(&verifier).await?;
            let is_key = matches!(name.as_str(), "account_id" | "ad_account_id" | "date" | "ad_id")
                || table == "observations" && name == "event_id";
            let sentences = said.sentences();
            let named = match (is_key, table.as_str()) {
                (false, _) => {
                    sentences.lines().any(|line| line.starts_with(&table) && line.contains(&format!("{name} ")))
                }
                (true, "observations") => sentences.contains("in neither log") && sentences.contains("not folded yet"),
                (true, _) => {
                    sentences.contains(&format!("{table}, "))
                        && sentences.contains("a row that nobody sent")
                        && sentences.contains("the row is missing")
                }
            };
            // A column that is null in every row cannot be made null.
            ensure!(named || damaged == 0 && damage == "null", "{what}: {said:?}");
            ensure!(said.report.differing_days > 0 || damaged == 0, "{what}: {said:?}");
            stage.sql(&format!("truncate {table}; insert into {table} table kept.{table}")).await?;
        }
    }
    let said = verify(&verifier).await?;
    ensure!(said.differences.is_empty(), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_never_folded_is_found_and_one_on_its_way_is_not() -> Result<()> {
    let (stage, history) = folded(3).await?;
    let mut late = history.answers[0].clone();
    (late.event_id, late.fetched_at) = (Uuid::now_v7(), late.fetched_at + chrono::Duration::days(3));
    late.publish(&stage.nats.wire).await?;
    stage.append().await?;
    for verifier in [stage.stream().await?, stage.raw().await?] {
        let said = verify(&verifier).await?;
        let wanted = format!("event {} of ", late.event_id);
        ensure!(said.sentences().contains(&wanted) && said.sentences().contains("not folded yet"), "{said:?}");
        assert_eq!((said.report.differing_days, said.report.differences, said.report.on_their_way), (1, 1, 0));
    }
    // Folded while the verifier is patient.
    let verifier = Verifier { patience: Duration::from_secs(4), ..stage.stream().await? };
    let (said, worked) = tokio::join!(verify(&verifier), stage.work());
    worked?;
    let said = said?;
    ensure!(said.differences.is_empty() && said.report.on_their_way == 0, "{said:?}");
    Ok(())
}

/// The fault that a replay repeats, and so does not show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_forgets_what_no_newer_answer_has_is_found_out() -> Result<()> {
    let stage = Stage::open().await?;
    let history = History::random(&mut Random::new(12));
    history.insert_tenants(&stage.database.pool).await?;
    for answer in history.answers.iter().rev() {
        answer.publish(&stage.nats.wire).await?;
    }
    stage.work_as(Folds { mutant: Some(Mutant::WholeSnapshotNewestWins) }).await?;
    let said = verify(&stage.stream().await?).await?;
    ensure!(said.sentences().contains(": the row is missing"), "{said:?}");
    Ok(())
}

/// Whatever is verified while events come, are appended and folded: nothing of that is a difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_beside_it_is_no_false_alarm() -> Result<()> {
    let stage = Stage::open().await?;
    let history = History::random(&mut Random::new(11));
    history.insert_tenants(&stage.database.pool).await?;
    history.answers[0].publish(&stage.nats.wire).await?;
    let verifier = Verifier { patience: Duration::from_secs(3), ..stage.stream().await? };
    let published = tokio_util::sync::CancellationToken::new();
    let publishing = async {
        let _published = published.clone().drop_guard();
        for answer in &history.answers[1..] {
            answer.publish(&stage.nats.wire).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    let verifying = async {
        let mut times = 0;
        while !published.is_cancelled() || times < 2 {
            let said = verify(&verifier).await?;
            ensure!(said.differences.is_empty() && said.refused.is_empty(), "{said:?}");
            times += 1;
        }
        Ok(())
    };
    let (worked, verified) = tokio::join!(stage.work_beside(Folds::default(), publishing), verifying);
    worked?;
    verified
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_no_log_has_any_more_is_found() -> Result<()> {
    let (stage, history) = folded(5).await?;
    let subject = history.answers[0].event()?.day.subject();
    let log = stage.nats.wire.log(META_INSIGHTS).await?;
    let message = log.next(&subject, 1).await?.context("the first event")?;
    let event_id = logs::Logged::open(&message)?.circumstances.event_id;
    log.delete(message.sequence).await?;
    // The other log has it.
    let said = verify(&stage.stream().await?).await?;
    ensure!(said.differences.is_empty(), "{said:?}");
    stage.sql(&format!("delete from meta_insights_raw where event_id = '{event_id}'")).await?;
    let said = verify(&stage.stream().await?).await?;
    ensure!(said.sentences().contains(&format!("event {event_id} is in the tables, and in neither log")), "{said:?}");
    let said = verify(&stage.raw().await?).await?;
    ensure!(said.sentences().contains(&format!("event {event_id} is in the tables, and not in the log")), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_days_that_nobody_sent_are_found() -> Result<()> {
    let (stage, _) = folded(6).await?;
    stage
        .sql(
            "insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, spend, attribution_window, rule_version,
                 event_id, fetched_at)
             select account_id, ad_account_id, date + n, 'bogus' || n, currency, 5, attribution_window, rule_version, event_id, fetched_at
             from (select * from fact_meta_daily limit 1) f, unnest(array[0, 2000]) as n;
             insert into daily_summary (account_id, date, meta_spend)
             select account_id, date + 4000, 5 from (select * from daily_summary limit 1) s",
        )
        .await?;
    let said = verify(&stage.stream().await?).await?;
    let sentences = said.sentences();
    for wanted in [
        "ad bogus0: a row that nobody sent",
        "ad bogus2000: a row that nobody sent",
        "daily_summary, the day: a row that nobody sent",
    ] {
        ensure!(sentences.contains(wanted), "{wanted}: {said:?}");
    }
    assert_eq!(said.report.differing_days, 3);
    let day = said.differences.iter().find(|d| d.sentences[0].contains("bogus0")).context("the day")?;
    ensure!(day.by_the_log.sha256 != day.in_the_tables.sha256 && day.by_the_log.ads + 1 == day.in_the_tables.ads);
    assert_eq!(day.in_the_tables.spend - day.by_the_log.spend, 5.into());
    Ok(())
}

/// What the day's other sources wrote into a summary is not the verifier's business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sources_have_a_part_in_a_summary() -> Result<()> {
    let (stage, _) = folded(8).await?;
    stage
        .sql(
            "update daily_summary set shopify_orders = 3, updated_at = now();
             insert into daily_summary (account_id, date, shopify_revenue) select account_id, date + 4000, 5 from daily_summary limit 1",
        )
        .await?;
    let said = verify(&stage.stream().await?).await?;
    ensure!(said.differences.is_empty(), "{said:?}");
    Ok(())
}

/// A rebuild folds into a schema of its own, and has it verified there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_another_schema_are_verified_there() -> Result<()> {
    let (stage, _) = folded(9).await?;
    stage.sql("create schema rebuild").await?;
    for table in TABLES {
        stage.sql(&format!("create table rebuild.{table} as table {table}")).await?;
    }
    stage.sql("update rebuild.fact_meta_daily set spend = spend + 1").await?;
    let live = verify(&stage.stream().await?).await?;
    let rebuilt = verify(&Verifier { tables: Tables::Rebuild, ..stage.stream().await? }).await?;
    ensure!(live.differences.is_empty() && rebuilt.differences.len() > 1, "{live:?} {rebuilt:?}");
    Ok(())
}

/// An old day may have left the stream, and its rows the tables: the raw log still has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_only_the_raw_log_has_is_missed_in_the_tables() -> Result<()> {
    let (stage, history) = folded(11).await?;
    let emptied = testkit::nats().await?;
    let verifier = stage.stream().await?;
    let first = Source::stream(&emptied.wire).await?;
    let verifier = Verifier { logs: Logs { first, ..verifier.logs }, ..verifier };
    let said = verify(&verifier).await?;
    ensure!(said.differences.is_empty() && said.report.events > 0, "{said:?}");
    let day = &history.answers[0];
    for table in TABLES {
        stage
            .sql(&format!("delete from {table} where account_id = '{}' and date = '{}'", day.account_id, day.date))
            .await?;
    }
    let said = verify(&verifier).await?;
    ensure!(said.sentences().contains("is in the log, and not folded yet"), "{said:?}");
    Ok(())
}
