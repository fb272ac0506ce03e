//! The steps of a program that writes to PostgreSQL, each with a gate in front of it.
//!
//! A gate is a trigger of the history's own database that takes an advisory lock for a moment. Who holds that lock
//! exclusively stops whoever comes to the step, in the middle of his transaction, and learns who it is. So a program is
//! killed or stopped at a step, without a word about it in the program. What a program does elsewhere (it asks Meta,
//! publishes, acknowledges) lies between two of these steps.

use std::time::Duration;

use anyhow::Result;
use sqlx::{Connection, PgConnection};

/// When a step's gate is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the statement: what the program did before it is done, and nothing of it.
    Statement,
    /// At the commit: whoever dies here has committed and does not know.
    Commit,
}

/// A step: a statement on a table, or the commit of a transaction that had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub table: &'static str,
    pub operation: &'static str,
    pub moment: Moment,
}

const fn step(table: &'static str, operation: &'static str, moment: Moment) -> Step {
    Step { table, operation, moment }
}

use Moment::{Commit, Statement};

/// Steps of connecting an ad account and of asking for a backfill: by commands, once each.
pub const OF_COMMANDS: [Step; 7] = [
    step("ad_accounts", "insert", Statement),
    step("integrations", "insert", Statement),
    step("integration_secrets", "insert", Statement),
    step("integrations", "insert", Commit),
    step("outbox", "insert", Statement),
    step("sync_runs", "insert", Statement),
    step("sync_runs", "insert", Commit),
];

/// Steps that come early in a history and seldom: bells and events relayed, fills made, daily jobs asked for.
pub const SELDOM: [Step; 8] = [
    step("outbox", "delete", Statement),
    step("outbox", "delete", Commit),
    step("initial_fills", "insert", Statement),
    step("initial_fills", "insert", Commit),
    step("daily_jobs", "insert", Statement),
    step("daily_jobs", "insert", Commit),
    step("leaders", "insert", Statement),
    step("sync_days", "insert", Statement),
];

/// Steps that come all the time while there is work: of the fetcher, of the raw log, of the projector.
pub const OFTEN: [Step; 18] = [
    step("sync_runs", "update", Statement),
    step("sync_runs", "update", Commit),
    step("ad_accounts", "update", Statement),
    step("ad_accounts", "update", Commit),
    step("sync_days", "update", Statement),
    step("sync_days", "update", Commit),
    step("sync_cursors", "insert", Statement),
    step("sync_cursors", "insert", Commit),
    step("meta_payloads", "insert", Statement),
    step("meta_insights_raw", "insert", Statement),
    step("meta_insights_raw", "insert", Commit),
    step("observations", "insert", Statement),
    step("observations", "insert", Commit),
    step("daily_meta_metrics", "insert", Statement),
    step("fact_meta_daily", "insert", Statement),
    step("daily_meta_metrics", "update", Statement),
    step("daily_summary", "update", Statement),
    step("daily_summary_versions", "insert", Statement),
];

/// A number of our own for the advisory locks; the second number is the step's place.
const CLASS: i32 = 0x6661_756c;
const POLL: Duration = Duration::from_millis(2);

impl Step {
    /// Every step there is.
    pub fn all() -> impl Iterator<Item = Step> {
        OF_COMMANDS.into_iter().chain(SELDOM).chain(OFTEN)
    }

    fn key(self) -> i32 {
        Step::all().position(|step| step == self).and_then(|place| i32::try_from(place).ok()).unwrap_or(-1)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = if self.moment == Commit { "commit of " } else { "" };
        write!(f, "{moment}{} {}", self.operation, self.table)
    }
}

/// Puts the gates into a database.
pub async fn install(connection: &mut PgConnection) -> Result<()> {
    let function = format!(
        "create function faults_gate() returns trigger language plpgsql as $$
         begin
             perform pg_advisory_lock_shared({CLASS}, tg_argv[0]::int);
             perform pg_advisory_unlock_shared({CLASS}, tg_argv[0]::int);
             return null;
         end $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(function)).execute(&mut *connection).await?;
    for step in Step::all() {
        let (key, table, operation) = (step.key(), step.table, step.operation);
        let trigger = match step.moment {
            Statement => format!(
                "create trigger faults_{key} before {operation} on {table} for each statement execute function faults_gate({key})"
            ),
            Commit => format!(
                "create constraint trigger faults_{key} after {operation} on {table} deferrable initially deferred
                 for each row execute function faults_gate({key})"
            ),
        };
        sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Closes the step's gate, and waits for the first who comes; `act` is told its name while it stands there. Then the gate is open again.
/// `None` when nobody came in time.
///
/// The name is the session's `application_name`.
pub async fn at(url: &str, step: Step, within: Duration, act: impl FnOnce(&str)) -> Result<Option<String>> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("select pg_advisory_lock($1, $2)::text").bind(CLASS).bind(step.key()).execute(&mut connection).await?;
    let deadline = tokio::time::Instant::now() + within;
    let mut came = None;
    while came.is_none() && tokio::time::Instant::now() < deadline {
        came = sqlx::query_scalar::<_, String>(
            "select a.application_name from pg_locks l join pg_stat_activity a using (pid)
             where l.locktype = 'advisory' and not l.granted and l.classid = $1::int::oid and l.objid = $2::int::oid
               and l.database = (select oid from pg_database where datname = current_database())
             limit 1",
        )
        .bind(CLASS)
        .bind(step.key())
        .fetch_optional(&mut connection)
        .await?;
        tokio::time::sleep(POLL).await;
    }
    if let Some(name) = &came {
        act(name);
    }
    // The lock goes with the session.
    connection.close().await?;
    Ok(came)
}
