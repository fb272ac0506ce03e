//! Which days a job fetches. Pure: dates in, dates out; `today` is the ad account's.

use std::collections::BTreeSet;

use chrono::{Days, Months, NaiveDate};
use runs::{JobType, Window};

/// Meta keeps 37 months; one day inside that limit, because its clock and ours may differ by a zone.
pub fn oldest_day(today: NaiveDate) -> NaiveDate {
    today - Months::new(37) + Days::new(1)
}

/// Meta restates a day for 28 days: one day more, and its last word is on record.
const OLDEST_AGE_DAYS: u64 = 29;

/// The window of a job. `None` for a backfill, which is asked for with a window of its own.
pub fn window(job: JobType, today: NaiveDate, attribution_window_days: i32) -> Option<Window> {
    let yesterday = today - Days::new(1);
    match job {
        JobType::SevenDayFill => Some(Window { since: today - Days::new(7), until: yesterday }),
        JobType::Fresh => {
            // A window of 1 is empty by the formula: then it is yesterday.
            let back = u64::try_from(attribution_window_days - 1).unwrap_or(0).max(1);
            Some(Window { since: today - Days::new(back), until: yesterday })
        }
        JobType::Settle => {
            let since = today - Days::new(OLDEST_AGE_DAYS);
            let youngest = u64::try_from(attribution_window_days).unwrap_or(1).clamp(1, OLDEST_AGE_DAYS);
            Some(Window { since, until: today - Days::new(youngest) })
        }
        JobType::Backfill => None,
    }
}

/// Why a range cannot be backfilled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RangeError {
    #[error("--since {since} is after --until {until}: give the earlier day first")]
    Backwards { since: NaiveDate, until: NaiveDate },
    #[error("{until} is not over in the ad account's time zone, where it is {today}: the last complete day is {}", *today - Days::new(1))]
    NotOver { until: NaiveDate, today: NaiveDate },
    #[error("{since} is too long ago: Meta keeps 37 months, the first day to ask for is {oldest}")]
    TooOld { since: NaiveDate, oldest: NaiveDate },
}

/// Checks a range that somebody asked to backfill.
pub fn backfill(since: NaiveDate, until: NaiveDate, today: NaiveDate) -> Result<Window, RangeError> {
    let oldest = oldest_day(today);
    if since > until {
        return Err(RangeError::Backwards { since, until });
    }
    if until >= today {
        return Err(RangeError::NotOver { until, today });
    }
    if since < oldest {
        return Err(RangeError::TooOld { since, oldest });
    }
    Ok(Window { since, until })
}

/// The days to fetch, oldest first: the window's, and for `meta_fresh` also those missed since the sync cursor and
/// those still owed. Never today, which is not over, and nothing that Meta no longer has.
pub fn days(
    job: JobType,
    window: Window,
    cursor: Option<NaiveDate>,
    owed: &[NaiveDate],
    today: NaiveDate,
) -> Vec<NaiveDate> {
    let mut days: BTreeSet<NaiveDate> = window.days().collect();
    if job == JobType::Fresh {
        days.extend(owed);
        if let Some(cursor) = cursor {
            days.extend(Window { since: cursor.max(oldest_day(today)), until: window.until }.days().skip(1));
        }
    }
    days.into_iter().filter(|day| (oldest_day(today)..today).contains(day)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    #[test]
    fn windows_of_the_jobs() {
        for (job, attribution, since, until) in [
            (JobType::SevenDayFill, 7, "2026-11-03", "2026-11-09"),
            (JobType::Fresh, 7, "2026-11-04", "2026-11-09"),
            (JobType::Fresh, 28, "2026-10-14", "2026-11-09"),
            (JobType::Fresh, 2, "2026-11-09", "2026-11-09"),
            (JobType::Fresh, 1, "2026-11-09", "2026-11-09"),
            (JobType::Settle, 7, "2026-10-12", "2026-11-03"),
            (JobType::Settle, 1, "2026-10-12", "2026-11-09"),
            (JobType::Settle, 28, "2026-10-12", "2026-10-13"),
        ] {
            let wanted = Window { since: day(since), until: day(until) };
            assert_eq!(window(job, day("2026-11-10"), attribution), Some(wanted), "{job} {attribution}");
        }
        assert_eq!(window(JobType::Backfill, day("2026-11-10"), 7), None);
    }

    #[test]
    fn fresh_fetches_what_was_missed_and_the_other_jobs_do_not() {
        let today = day("2026-11-10");
        let window = Window { since: day("2026-11-08"), until: day("2026-11-09") };
        let owed = [day("2026-10-01"), day("2026-11-10"), day("2020-01-01")];
        let fresh = days(JobType::Fresh, window, Some(day("2026-11-05")), &owed, today);
        let wanted = ["2026-10-01", "2026-11-06", "2026-11-07", "2026-11-08", "2026-11-09"];
        assert_eq!(fresh, wanted.map(day));
        assert_eq!(days(JobType::Fresh, window, None, &[], today), [day("2026-11-08"), day("2026-11-09")]);
        let fill = days(JobType::SevenDayFill, window, Some(day("2026-11-05")), &owed, today);
        assert_eq!(fill, [day("2026-11-08"), day("2026-11-09")]);
        // A cursor that is ahead of the window, or older than what Meta keeps.
        assert_eq!(days(JobType::Fresh, window, Some(day("2026-11-09")), &[], today).len(), 2);
        let all = days(JobType::Fresh, window, Some(day("2001-01-01")), &[], today);
        assert!(all[0] >= oldest_day(today) && all.len() < 37 * 31);
    }

    #[test]
    fn ranges_that_cannot_be_backfilled_say_why() {
        let today = day("2026-11-10");
        assert!(backfill(day("2023-10-11"), day("2026-11-09"), today).is_ok());
        for (since, until, said) in [
            ("2026-11-09", "2026-11-08", "--since 2026-11-09 is after --until 2026-11-08"),
            (
                "2026-11-09",
                "2026-11-10",
                "2026-11-10 is not over in the ad account's time zone, where it is 2026-11-10",
            ),
            ("2023-10-10", "2026-11-09", "the first day to ask for is 2023-10-11"),
        ] {
            let error = backfill(day(since), day(until), today).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
