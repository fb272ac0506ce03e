//! The folded tables in another place: empty, of the live ones' shape, so that the same statements fold into them.
//!
//! A statement names `fact_meta_daily` and no schema, and PostgreSQL looks it up along the session's search path. So
//! the past and a rebuild are folded by the very code that live traffic is, and no second one can differ from it.

use sqlx::{AssertSqlSafe, PgConnection};

/// A folded table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Observations,
    FactMetaDaily,
    DailyMetaMetrics,
    DailySummary,
}

impl Table {
    pub const ALL: [Table; 4] =
        [Table::Observations, Table::FactMetaDaily, Table::DailyMetaMetrics, Table::DailySummary];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Table::Observations => "observations",
            Table::FactMetaDaily => "fact_meta_daily",
            Table::DailyMetaMetrics => "daily_meta_metrics",
            Table::DailySummary => "daily_summary",
        }
    }
}

/// Every table that a fold reads back or writes.
pub const TABLES: [&str; 5] =
    ["observations", "fact_meta_daily", "daily_meta_metrics", "daily_summary", "daily_summary_versions"];

/// Makes tables that only this session sees, in front of the live ones, until it ends.
///
/// The session must be a new one: a statement that it has prepared goes on meaning the tables it was prepared for.
pub async fn shadow_for_session(session: &mut PgConnection) -> sqlx::Result<()> {
    let each = TABLES.map(|table| format!("create temp table {table} (like public.{table} including all);"));
    sqlx::raw_sql(AssertSqlSafe(each.concat())).execute(session).await.map(drop)
}

/// Makes empty tables in a schema, where they live in nobody's way: those that were there are gone, and nothing else is.
/// They are not logged: after a crash they are empty, and made again.
pub async fn recreate_tables(conn: &mut PgConnection, schema: &'static str) -> sqlx::Result<()> {
    let each = TABLES
        .map(|table| {
            format!(
                "drop table if exists {schema}.{table};
                 create unlogged table {schema}.{table} (like public.{table} including all);"
            )
        })
        .concat();
    let sql = format!("create schema if not exists {schema}; {each}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(drop)
}
