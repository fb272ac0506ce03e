use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use events::subject::Priority;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobType {
    /// The last 7 complete days; then the sync cursor stands at their end.
    SevenDayFill,
    /// The attribution window up to yesterday, and every day still owed.
    Fresh,
    /// Once a day, the days behind the attribution window that Meta still restates, so that each is observed at each
    /// age.
    Settle,
    /// A range that was asked for; never moves the sync cursor.
    Backfill,
}

impl JobType {
    /// Every job, the most urgent first: in this order runs are claimed.
    pub const ALL: [JobType; 4] = [JobType::SevenDayFill, JobType::Fresh, JobType::Settle, JobType::Backfill];

    /// The name in tables and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            JobType::SevenDayFill => "meta_7d_fill",
            JobType::Fresh => "meta_fresh",
            JobType::Settle => "meta_settle",
            JobType::Backfill => "meta_backfill",
        }
    }

    /// How loud the bell rings for it. [`JobType::ALL`] tells the jobs apart further.
    pub fn priority(self) -> Priority {
        match self {
            JobType::SevenDayFill | JobType::Fresh => Priority::High,
            JobType::Settle => Priority::Normal,
            JobType::Backfill => Priority::Low,
        }
    }

    /// Whether the sync cursor follows this job.
    pub fn moves_cursor(self) -> bool {
        matches!(self, JobType::SevenDayFill | JobType::Fresh)
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|job| job.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is no job: it is meta_7d_fill, meta_fresh, meta_settle or meta_backfill"))
    }
}

/// A range of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub since: NaiveDate,
    pub until: NaiveDate,
}

impl Window {
    pub fn days(&self) -> impl Iterator<Item = NaiveDate> + use<> {
        let until = self.until;
        self.since.iter_days().take_while(move |day| *day <= until)
    }
}
