//! The rebuilt tables beside the live ones, in SQL: which days differ, and rows exchanged.
//!
//! The schemas `rebuild` and `rebuild_undo` are there only since a rebuild began, so these statements are checked when
//! they run, and not when they are compiled.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use events::Cause;
use events::subject::AccountDay;
use futures_util::TryStreamExt;
use projections::{Days, Folds, SummaryKey};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::apply::Applied;
use super::beside::Beside;
use super::{RebuildError, SCHEMA, UNDO};
use crate::announce::announce_changes;

/// The tables of an account-day, each with the column that completes the day to its key.
const OF_A_DAY: [(&str, &str); 3] =
    [("observations", "event_id"), ("fact_meta_daily", "ad_id"), ("daily_meta_metrics", "date")];

/// The tables of which rows can be replaced.
const REPLACED: [&str; 4] = ["observations", "fact_meta_daily", "daily_meta_metrics", "daily_summary"];

const META: [&str; 6] =
    ["meta_spend", "meta_impressions", "meta_clicks", "meta_purchases", "meta_purchase_value", "meta_roas"];

fn day(row: &PgRow) -> sqlx::Result<AccountDay> {
    Ok(AccountDay { account_id: row.try_get(0)?, ad_account_id: row.try_get(1)?, date: row.try_get(2)? })
}

/// Makes the tables of replaced rows, with the columns that the live ones have by now and none of their constraints;
/// returns the instant by which this rebuild's rows are known in them.
pub(super) async fn prepare_undo(pool: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    let mut sql = format!("create schema if not exists {UNDO};");
    for table in REPLACED {
        sql += &format!(
            "create table if not exists {UNDO}.{table} as select now() as replaced_at, t.* from public.{table} t with no data;"
        );
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    // Of an earlier rebuild, before a migration.
    let lacking = sqlx::query(
        "select format('alter table rebuild_undo.%I add column %I %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
         from pg_attribute a join pg_class c on c.oid = a.attrelid
         where c.relnamespace = 'public'::regnamespace and c.relname = any ($1) and a.attnum > 0 and not a.attisdropped
           and not exists (select from pg_attribute u where u.attname = a.attname and not u.attisdropped
                                                        and u.attrelid = to_regclass('rebuild_undo.' || quote_ident(c.relname)))",
    )
    .bind(&REPLACED[..])
    .fetch_all(pool)
    .await?;
    for row in lacking {
        sqlx::raw_sql(AssertSqlSafe(row.try_get::<String, _>(0)?)).execute(pool).await?;
    }
    sqlx::query_scalar("select now()").fetch_one(pool).await
}

/// Lets the planner know how much there is beside, and of which keys: nothing else of it is asked for.
pub(super) async fn analyze(beside: &Beside) -> Result<(), RebuildError> {
    let of_a_day = OF_A_DAY.map(|(table, key)| {
        let rest = if key == "date" { String::new() } else { format!(", {key}") };
        format!("analyze {SCHEMA}.{table} (account_id, ad_account_id, date{rest});")
    });
    let each = of_a_day.concat();
    sqlx::raw_sql(AssertSqlSafe(each)).execute(beside.pool()).await?;
    Ok(())
}

/// Collects what a statement over the tables beside says, row by row.
async fn collected<T>(
    beside: &Beside,
    sql: String,
    read: impl Fn(&PgRow) -> sqlx::Result<T>,
) -> Result<Vec<T>, RebuildError> {
    let mut transaction = beside.begin().await?;
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *transaction);
    let mut all = Vec::new();
    while let Some(row) = rows.try_next().await? {
        all.push(read(&row)?);
    }
    Ok(all)
}

fn key(row: &PgRow) -> sqlx::Result<SummaryKey> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn event(row: &PgRow) -> sqlx::Result<(AccountDay, Uuid)> {
    Ok((day(row)?, row.try_get(3)?))
}

/// Account-days of which any table holds another row beside than live, in key order.
pub(super) async fn differing(beside: &Beside) -> Result<Vec<AccountDay>, RebuildError> {
    let mut days = BTreeSet::new();
    for (table, key) in OF_A_DAY {
        let sql = format!(
            "select distinct coalesce(t.account_id, r.account_id), coalesce(t.ad_account_id, r.ad_account_id), coalesce(t.date, r.date)
             from public.{table} t
             full join {SCHEMA}.{table} r on t.account_id = r.account_id and t.ad_account_id = r.ad_account_id
                                         and t.date = r.date and t.{key} = r.{key}
             where row(t.*) is distinct from row(r.*)"
        );
        days.extend(collected(beside, sql, day).await?);
    }
    Ok(days.into_iter().collect())
}

/// Tenants' days whose summaries have other numbers beside than live.
pub(super) async fn differing_summaries(beside: &Beside) -> Result<Vec<SummaryKey>, RebuildError> {
    let [live, rebuilt] = ["t", "r"].map(|side| META.map(|column| format!("{side}.{column}")).join(", "));
    let sql = format!(
        "select coalesce(t.account_id, r.account_id), coalesce(t.date, r.date)
         from public.daily_summary t
         full join {SCHEMA}.daily_summary r on t.account_id = r.account_id and t.date = r.date
         where ({live}) is distinct from ({rebuilt}) or t.updated_at is distinct from r.updated_at and r.date is not null
         order by 1, 2"
    );
    collected(beside, sql, key).await
}

/// Events that live traffic has folded and that are not beside yet.
pub(super) async fn observed_since(beside: &Beside) -> Result<Vec<(AccountDay, Uuid)>, RebuildError> {
    let sql = format!(
        "select account_id, ad_account_id, date, event_id from public.observations o
         where not exists (select from {SCHEMA}.observations r
                           where (r.account_id, r.ad_account_id, r.date, r.event_id)
                               = (o.account_id, o.ad_account_id, o.date, o.event_id))"
    );
    collected(beside, sql, event).await
}

/// Account-days that were folded beside by an older purchase rule than the newest.
pub(super) async fn by_an_older_rule(beside: &Beside) -> Result<Vec<AccountDay>, RebuildError> {
    let sql = format!(
        "select distinct o.account_id, o.ad_account_id, o.date from {SCHEMA}.observations o
         join purchase_rules_newest n using (account_id, ad_account_id) where o.rule_version < n.version"
    );
    collected(beside, sql, day).await
}

/// Takes account-days out of the tables beside, so that they are folded there again.
pub(super) async fn forget(beside: &Beside, days: &Days) -> Result<(), RebuildError> {
    let mut transaction = beside.begin().await?;
    for (table, _) in OF_A_DAY {
        let sql = format!(
            "delete from {SCHEMA}.{table} t
             using unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
             where (t.account_id, t.ad_account_id, t.date) = (day.account_id, day.ad_account_id, day.date)"
        );
        let delete = sqlx::query(AssertSqlSafe(sql)).bind(&days.account_ids).bind(&days.ad_account_ids);
        delete.bind(&days.dates).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Every tenant's day that is beside.
pub(super) async fn keys_beside(beside: &Beside) -> Result<BTreeSet<SummaryKey>, RebuildError> {
    let sql = format!("select distinct account_id, date from {SCHEMA}.daily_meta_metrics");
    Ok(collected(beside, sql, key).await?.into_iter().collect())
}

/// The events that each day beside is made of, with the version of the purchase rule they were read by.
pub(super) async fn rebuilt_events(
    conn: &mut PgConnection,
    days: &Days,
) -> sqlx::Result<HashMap<AccountDay, HashMap<Uuid, i32>>> {
    let sql = format!(
        "select r.account_id, r.ad_account_id, r.date, r.event_id, r.rule_version
         from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
         join {SCHEMA}.observations r using (account_id, ad_account_id, date)"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(&days.account_ids).bind(&days.ad_account_ids).bind(&days.dates);
    let mut events: HashMap<AccountDay, HashMap<Uuid, i32>> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        events.entry(day(&row)?).or_default().insert(row.try_get(3)?, row.try_get(4)?);
    }
    Ok(events)
}

/// The columns of a live table that can be written, as a list.
async fn columns(conn: &mut PgConnection, table: &str) -> sqlx::Result<String> {
    sqlx::query_scalar(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
         where attrelid = to_regclass('public.' || $1) and attnum > 0 and not attisdropped and attgenerated = ''",
    )
    .bind(table)
    .fetch_one(conn)
    .await
}

/// Makes locked account-days equal to what is beside: rows that differ go to `rebuild_undo`, and those from beside take
/// their place; a row that is equal is not touched.
pub(super) async fn exchange(
    conn: &mut PgConnection,
    days: &Days,
    began_at: DateTime<Utc>,
    applied: &mut Applied,
) -> sqlx::Result<()> {
    for (table, key) in OF_A_DAY {
        let columns = columns(conn, table).await?;
        // A head that was made only to be locked is nobody's row.
        let kept =
            if table == "daily_meta_metrics" { "where projection_version > 0 or content_sha256 <> ''" } else { "" };
        let out = format!(
            "with gone as (
                 delete from public.{table} t
                 using unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
                 where (t.account_id, t.ad_account_id, t.date) = (day.account_id, day.ad_account_id, day.date)
                   and not exists (
                       select from {SCHEMA}.{table} r
                       where (r.account_id, r.ad_account_id, r.date, r.{key}) = (t.account_id, t.ad_account_id, t.date, t.{key})
                         and row(r.*) is not distinct from row(t.*))
                 returning t.*),
             kept as (
                 insert into {UNDO}.{table} (replaced_at, {columns}) select $4, {columns} from gone {kept}
                 returning account_id, ad_account_id, date)
             select account_id, ad_account_id, date, count(*) from kept group by 1, 2, 3"
        );
        let out = sqlx::query(AssertSqlSafe(out)).bind(&days.account_ids).bind(&days.ad_account_ids).bind(&days.dates);
        applied.replaced += note_changed(out.bind(began_at).fetch_all(&mut *conn).await?, &mut applied.changed)?;
        let into = format!(
            "with written as (
                 insert into public.{table} ({columns})
                 select {columns} from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
                 join {SCHEMA}.{table} r using (account_id, ad_account_id, date)
                 on conflict do nothing
                 returning account_id, ad_account_id, date)
             select account_id, ad_account_id, date, count(*) from written group by 1, 2, 3"
        );
        let into =
            sqlx::query(AssertSqlSafe(into)).bind(&days.account_ids).bind(&days.ad_account_ids).bind(&days.dates);
        applied.written += note_changed(into.fetch_all(&mut *conn).await?, &mut applied.changed)?;
    }
    Ok(())
}

/// Notes account-days, each with how many of its rows were touched; returns how many that are together.
fn note_changed(days: Vec<PgRow>, changed: &mut BTreeSet<AccountDay>) -> sqlx::Result<u64> {
    let mut rows = 0;
    for touched in days {
        changed.insert(day(&touched)?);
        rows += touched.try_get::<i64, _>(3)?.unsigned_abs();
    }
    Ok(rows)
}

/// Makes these summaries anew, as the fold does, keeps those that it changes, and announces the changes; returns how
/// many were kept.
pub(super) async fn sum_up(
    conn: &mut PgConnection,
    keys: &BTreeSet<SummaryKey>,
    began_at: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let (account_ids, dates): (Vec<Uuid>, Vec<NaiveDate>) = keys.iter().copied().unzip();
    let columns = columns(conn, "daily_summary").await?;
    let keep = format!(
        "insert into {UNDO}.daily_summary (replaced_at, {columns})
         select $3, {columns} from (
             select s.* from unnest($1::uuid[], $2::date[]) as day (account_id, date)
             join public.daily_summary s using (account_id, date)
             order by s.account_id, s.date for update of s) as locked"
    );
    let keep = sqlx::query(AssertSqlSafe(keep)).bind(&account_ids).bind(&dates).bind(began_at);
    keep.execute(&mut *conn).await?;
    let changes = Folds::default().sum_up(conn, keys).await?;
    announce_changes(conn, &changes, Cause::Replay).await?;
    let [live, old] = ["s", "u"].map(|side| META.map(|column| format!("{side}.{column}")).join(", "));
    let unchanged = format!(
        "delete from {UNDO}.daily_summary u
         using unnest($1::uuid[], $2::date[]) as day (account_id, date), public.daily_summary s
         where (u.account_id, u.date) = (day.account_id, day.date) and u.replaced_at = $3
           and (s.account_id, s.date) = (day.account_id, day.date) and ({live}) is not distinct from ({old})"
    );
    let unchanged = sqlx::query(AssertSqlSafe(unchanged)).bind(&account_ids).bind(&dates).bind(began_at);
    unchanged.execute(conn).await?;
    Ok(changes.iter().filter(|change| change.old.is_some()).count() as u64)
}
