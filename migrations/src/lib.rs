//! The database's schema: SQL files, only ever added to, and the list of them as this binary knows it.
//!
//! Here live the migrations. What must not live here: a query, or what a table means.

/// Every migration, in order; a running `migrate` holds PostgreSQL's advisory lock, so many at once are safe.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
