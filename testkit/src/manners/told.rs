use std::fmt;
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::plan::Plan;
use crate::graph::{Counts, Tally};

/// What came of a trial.
#[derive(Debug)]
pub struct Told {
    pub plan: Plan,
    /// From the start of the services to the last fold.
    pub lasted: Duration,
    pub counts: Counts,
    /// Ad accounts' days that are in the tables as Meta has them, to the cent.
    pub days_complete: u64,
    /// What is not as it must be, in sentences.
    pub findings: Vec<String>,
    pub runs: Vec<RunsOfJob>,
    /// What `adledger runs` printed in the middle.
    pub meanwhile: String,
    /// How often a process was ended outright.
    pub killed: usize,
}

/// What the runs of a job say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunsOfJob {
    pub job: String,
    pub runs: i64,
    pub succeeded: i64,
    pub throttled: i64,
    pub throttles: i64,
    pub throttle_wait_ms: i64,
    pub most_attempts: i32,
}

impl RunsOfJob {
    pub(super) fn read(row: &PgRow) -> sqlx::Result<RunsOfJob> {
        Ok(RunsOfJob {
            job: row.try_get(0)?,
            runs: row.try_get(1)?,
            succeeded: row.try_get(2)?,
            throttles: row.try_get(3)?,
            throttle_wait_ms: row.try_get(4)?,
            most_attempts: row.try_get(5)?,
            throttled: row.try_get(6)?,
        })
    }
}

impl Told {
    /// Calls made for each one that was needed.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn ratio(&self) -> f64 {
        self.counts.made as f64 / self.counts.needed.max(1) as f64
    }
}

/// As tables of Markdown, so that they can stand in a page as they were printed.
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { plan, counts, .. } = self;
        let faults = &plan.faults;
        let percent = |share: f64| format!("{} %", share * 100.0);
        writeln!(f, "| figure | |\n|---|--:|")?;
        writeln!(
            f,
            "| faults: throttles, 5xx, cut bodies, reports that fail | {}, {}, {}, {} |",
            percent(faults.throttles),
            percent(faults.server_errors),
            percent(faults.cut_bodies),
            percent(faults.reports)
        )?;
        writeln!(f, "| processes, of these ended outright and started again | {}, {} |", plan.processes, self.killed)?;
        writeln!(
            f,
            "| **days complete, to the cent** | **{} of {}** |",
            self.days_complete,
            plan.ad_accounts * plan.days
        )?;
        writeln!(f, "| calls made | {} |\n| calls needed | {} |", counts.made, counts.needed)?;
        writeln!(f, "| **made / needed** | **{:.3}** |", self.ratio())?;
        writeln!(f, "| throttles answered | {} |", counts.throttles)?;
        writeln!(f, "| other failures answered | {} |", counts.failures)?;
        writeln!(f, "| **calls during a block whose end was told** | **{}** |", counts.during_block)?;
        writeln!(f, "| calls during a block without a word of its end | {} |", counts.during_silent_block)?;
        writeln!(f, "| calls during a block that were under way when it was told | {} |", counts.before_warning)?;
        writeln!(f, "| days fetched, fetched again | {}, {} |", counts.days_fetched(), counts.fetched_again())?;
        writeln!(f, "| wall | {:.0} s |", self.lasted.as_secs_f64())?;
        writeln!(f, "| **findings** | **{}** |", self.findings.len())?;
        writeln!(f, "\n| calls | made | good | throttled |\n|---|--:|--:|--:|")?;
        for (endpoint, Tally { made, good, throttled }) in &counts.by_endpoint {
            writeln!(f, "| {endpoint:?} | {made} | {good} | {throttled} |")?;
        }
        writeln!(f, "\n| runs | number | succeeded | throttled | throttles | waited in all | most attempts |")?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
        for RunsOfJob { job, runs, succeeded, throttled, throttles, throttle_wait_ms, most_attempts } in &self.runs {
            let waited = throttle_wait_ms / 1000;
            writeln!(f, "| {job} | {runs} | {succeeded} | {throttled} | {throttles} | {waited} s | {most_attempts} |")?;
        }
        Ok(())
    }
}
