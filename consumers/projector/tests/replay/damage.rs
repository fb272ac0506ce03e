//! Whatever is damaged is noticed and mended, and what is not damaged is not written.

use anyhow::{Context, Result, ensure};
use projections::Table;
use testkit::history::first_day;

use crate::house::{House, Rows, between, everything, fold, last_day, of, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_live_traffic_wrote_is_right_to_the_byte_and_not_written_again() -> Result<()> {
    for seed in 0..12 {
        let house = House::open(seed).await?;
        let before = house.places().await?;
        ensure!(Table::ALL.iter().all(|table| !before[table.name()].is_empty()), "{before:?}");
        let report = house.replay().run(&everything(), |_| {}).await?;
        ensure!(report.days_changed == 0 && report.rows > 0 && report.left.is_empty(), "seed {seed}: {report:?}");
        ensure!(report.days == report.days_total && report.events == house.history.answers.len() as u64, "{report:?}");
        assert_eq!(house.places().await?, before, "seed {seed}: a row was written");
    }
    Ok(())
}

/// One column of one row, damaged.
struct Damage {
    table: Table,
    column: String,
    sql: String,
    is_key: bool,
}

/// A damage for each column there is: a column that is added later is damaged too.
async fn damages(house: &House) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    for table in Table::ALL {
        let columns: Vec<(String, String, bool)> = sqlx::query_as(
            "select c.column_name::text, c.data_type::text, exists (
                 select from information_schema.key_column_usage k
                 where (k.table_schema, k.table_name, k.column_name) = (c.table_schema, c.table_name, c.column_name))
             from information_schema.columns c where c.table_schema = 'public' and c.table_name = $1
             order by c.ordinal_position",
        )
        .bind(table.name())
        .fetch_all(house.pool())
        .await?;
        ensure!(columns.len() > 8, "{columns:?}: is this test reading the right schema?");
        for (column, kind, is_key) in columns {
            // Of daily_summary, the replay answers for its own columns.
            if column.starts_with("shopify_") {
                continue;
            }
            let of_absent = ["absence", "absent_since"].contains(&column.as_str());
            let value = match kind.as_str() {
                _ if column == "absence" => {
                    "case absence when 'deleted' then 'not_returned' else 'deleted' end".to_owned()
                }
                "numeric" | "bigint" | "integer" => format!("coalesce({column}, 0) + 1"),
                "uuid" => "'ffffffff-0000-4000-8000-000000000000'".to_owned(),
                "date" => format!("{column} + 100"),
                "boolean" => format!("not {column}"),
                "bytea" => r"'\x00'".to_owned(),
                "timestamp with time zone" => format!("{column} + interval '1 microsecond'"),
                "text" => format!("coalesce({column}, '') || 'x'"),
                "character" => "'XXX'".to_owned(),
                other => anyhow::bail!("{table:?}.{column}: say how a {other} is damaged"),
            };
            let which = if of_absent { "where absence is not null" } else { "" };
            let name = table.name();
            let sql = format!(
                "update {name} set {column} = {value}
                 where ctid = (select ctid from {name} {which} order by {name}::text limit 1)"
            );
            damages.push(Damage { table, column, sql, is_key });
        }
    }
    Ok(damages)
}

async fn differing(house: &House, right: &Rows) -> Result<Vec<&'static str>> {
    let rows = house.rows().await?;
    Ok(Table::ALL.map(Table::name).into_iter().filter(|name| rows[name] != right[name]).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damage_to_any_column_is_told_by_a_dry_run_and_mended_by_a_replay() -> Result<()> {
    let house = House::open(7).await?;
    let right = house.rows().await?;
    let range = between(first_day(), last_day() + chrono::Duration::days(200));
    let mut tried = 0;
    for Damage { table, column, sql, is_key } in damages(&house).await? {
        let what = format!("{}.{column}", table.name());
        ensure!(house.sql(&sql).await? == 1, "{what}: {sql} damages nothing");
        ensure!(differing(&house, &right).await? == [table.name()], "{what}: {sql} damages nothing");
        let damaged = house.places().await?;

        // A tenant's date is in one transaction.
        let replay = projector::replay::Replay { rows_a_transaction: 25, ..house.replay() };
        let told = projector::replay::Replay { dry_run: true, ..replay.clone() }.run(&range, |_| {}).await?;
        assert_eq!(house.places().await?, damaged, "{what}: the dry run wrote something");
        // A row under another key is one that is missing and one too many.
        let expected = if is_key { 2 } else { 1 };
        // An observation under another key speaks of an event that was never logged, and nothing of its day is
        // believed.
        let orphan = table == Table::Observations && is_key;
        ensure!(
            if orphan { told.left.len() == 1 } else { of(&told, table) == expected && told.left.is_empty() },
            "{what}: {told:?}"
        );
        ensure!(orphan || (1..=2).contains(&told.days_changed), "{what}: {told:?}");
        ensure!(orphan || told.first_changed.len() == told.days_changed, "{what}: {told:?}");
        let others: u64 = told.changes().iter().filter(|(other, _)| *other != table).map(|(_, rows)| rows).sum();
        ensure!(is_key || others == 0, "{what}: rows that are right are told of: {told:?}");

        let report = replay.run(&range, |_| {}).await?;
        assert_eq!(report.changes(), told.changes(), "{what}: what was told is not what was done");
        if orphan {
            ensure!(report.left.len() == 1, "{what}: {report:?}");
            let bogus = "delete from observations o where not exists (select from meta_insights_raw r
                         where (r.account_id, r.ad_account_id, r.date, r.event_id)
                             = (o.account_id, o.ad_account_id, o.date, o.event_id))";
            ensure!(house.sql(bogus).await? == 1, "{what}");
            replay.run(&range, |_| {}).await?;
        }
        let left = differing(&house, &right).await?;
        ensure!(left.is_empty(), "{what} was not mended: {left:?} differ");
        tried += 1;
    }
    ensure!(tried > 70, "{tried} columns only");
    let report = house.replay().run(&range, |_| {}).await?;
    ensure!(report.days_changed == 0, "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_lost_or_too_many_are_mended() -> Result<()> {
    let house = House::open(7).await?;
    let right = house.rows().await?;
    for damage in [
        "delete from observations",
        "delete from fact_meta_daily",
        "delete from daily_meta_metrics",
        "delete from daily_summary",
        "insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, spend, attribution_window,
                                      rule_version, event_id, fetched_at)
         select account_id, ad_account_id, date, 'bogus', 'USD', 1, 'unified', 1, event_id, fetched_at
         from daily_meta_metrics",
        "insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, spend, attribution_window,
                                      rule_version, event_id, fetched_at)
         select account_id, gen_random_uuid(), date, 'bogus', 'USD', 1, 'unified', 1, event_id, fetched_at
         from daily_meta_metrics limit 1",
    ] {
        house.sql(damage).await?;
        let before = house.places().await?;
        let told = projector::replay::Replay { dry_run: true, ..house.replay() }.run(&everything(), |_| {}).await?;
        assert_eq!(house.places().await?, before, "{damage}: the dry run wrote something");
        let report = house.replay().run(&everything(), |_| {}).await?;
        ensure!(report.days_changed > 0 && report.changes() == told.changes(), "{damage}: {told:?} {report:?}");
        assert_eq!(house.rows().await?, right, "{damage}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_has_two_sides() -> Result<()> {
    let house = House::open(3).await?;
    let right = house.rows().await?;
    house.sql("update fact_meta_daily set spend = spend + 1").await?;
    house.sql("update daily_summary set meta_spend = coalesce(meta_spend, 0) + 1").await?;
    let before = house.places().await?;
    let middle = first_day() + chrono::Duration::days(1);
    let (account_id, ad_accounts) = house.history.tenants.first().context("a tenant")?;
    let range =
        logs::Range { account_id: Some(*account_id), ad_account_id: Some(ad_accounts[0]), ..between(middle, middle) };
    house.replay().run(&range, |_| {}).await?;
    let after = house.places().await?;
    let of_range = |table: &str, row: &str| {
        row.contains(&middle.to_string())
            && row.contains(&account_id.to_string())
            && (table == "daily_summary" || row.contains(&ad_accounts[0].to_string()))
    };
    for (table, rows) in &before {
        for row in rows.iter().filter(|row| !of_range(table, row)) {
            ensure!(after[table].contains(row), "{table}: {row} was outside of the range and is another");
        }
    }
    house.replay().run(&everything(), |_| {}).await?;
    assert_eq!(house.rows().await?, right);
    Ok(())
}

/// The head is gone, and the rows that it stood for are there: a newer answer replaces them as if it were there too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_traffic_goes_on_where_a_head_was_removed() -> Result<()> {
    let house = House::open(3).await?;
    let answer = house.history.answers.iter().find(|answer| !answer.ads.is_empty()).context("an answer with ads")?;
    let newest = house.history.answers.iter().map(|answer| answer.fetched_at).max().context("an answer")?;
    let mut newer = answer.clone();
    (newer.event_id, newer.fetched_at) = (uuid::Uuid::from_u128(1 << 100), newest + chrono::Duration::days(1));
    newer.control = None;
    record(house.pool(), std::slice::from_ref(&newer)).await?;
    ensure!(house.sql("delete from daily_meta_metrics").await? > 0);
    fold(house.pool(), &newer).await?;
    let right = house.rows().await?["fact_meta_daily"].clone();
    let report = house.replay().run(&everything(), |_| {}).await?;
    ensure!(report.left.is_empty() && of(&report, Table::FactMetaDaily) == 0, "{report:?}");
    assert_eq!(house.rows().await?["fact_meta_daily"], right);
    Ok(())
}

/// Live traffic has parked it; the day is made of its other events, and the days after it get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_postgresql_refuses_is_left_out() -> Result<()> {
    let house = House::open(4).await?;
    let before = house.rows().await?;
    let newest = house.history.answers.iter().map(|answer| answer.fetched_at).max().context("an answer")?;
    let mut newer = house.history.answers[0].clone();
    (newer.event_id, newer.fetched_at) = (uuid::Uuid::from_u128(1 << 100), newest + chrono::Duration::days(1));
    newer.ads.clear();
    record(house.pool(), std::slice::from_ref(&newer)).await?;
    let refuse = format!("alter table observations add constraint odd check (event_id <> '{}')", newer.event_id);
    house.sql(&refuse).await?;
    ensure!(fold(house.pool(), &newer).await.is_err(), "live traffic takes it");
    house.sql("update fact_meta_daily set ad_name = 'damaged'").await?;
    let report = house.replay().run(&everything(), |_| {}).await?;
    ensure!(report.not_folded.count == 1 && report.left.is_empty() && report.days == report.days_total, "{report:?}");
    ensure!(report.not_folded.named()[0].reason.starts_with("PostgreSQL refuses it: "), "{report:?}");
    assert_eq!(house.rows().await?, before);
    Ok(())
}
