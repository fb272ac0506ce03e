//! How much of an ad account one question asks for. Pure: what was answered goes in, the next question comes out.
//!
//! Several days a question pay only while their rows fit a few pages, because no day of a window is complete before its
//! last page. A question that Meta finds too large goes down one step: one day, smaller pages, and at last a report,
//! which Meta makes first. The step below is remembered, so that a question that was too large is not asked again.

use std::ops::RangeInclusive;

use chrono::NaiveDate;
use meta_api::{Shape, Way};
use runs::FetchShape;

/// Rows a page, from the first try down.
const PAGE_LIMITS: [u32; 4] = [500, 200, 50, 25];
/// How many pages the expected rows of a window may have.
pub(crate) const PAGES_A_WINDOW: u32 = 4;
/// By which part of itself what is expected of a day shrinks with each window that had less.
const SHRINKS_BY: u32 = 8;
/// The most days a question asks for, however few rows they have.
const MOST_DAYS: u32 = 31;

/// Where on the ladder an ad account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ladder(FetchShape);

/// Why there is no further step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bottom;

impl Ladder {
    pub(crate) fn new(remembered: Option<FetchShape>) -> Self {
        let first = FetchShape { rows_a_day: None, page_limit: PAGE_LIMITS[0], most_days: MOST_DAYS, by_report: false };
        Ladder(remembered.unwrap_or(first))
    }

    /// What is to be remembered.
    pub(crate) fn shape(&self) -> FetchShape {
        self.0
    }

    /// How the next question is asked.
    pub(crate) fn question(&self) -> Shape {
        let way = if self.0.by_report { Way::Report } else { Way::Pages };
        // Of a day that is known to be large all pages are read; of anything else no more than twice what is expected.
        let max_pages = if self.is_large() { None } else { Some(2 * PAGES_A_WINDOW) };
        Shape { page_limit: self.0.page_limit, way, max_pages }
    }

    /// The days of the next question: the first of `due`, which is not empty and in order, and those that follow it
    /// without a gap, as many as are expected to fit. Before the first answer nothing is expected, and one day is asked
    /// for.
    pub(crate) fn window(&self, due: &[NaiveDate]) -> Option<RangeInclusive<NaiveDate>> {
        let (first, rest) = due.split_first()?;
        let days = match self.0.rows_a_day {
            None => 1,
            Some(rows) => (PAGES_A_WINDOW * self.0.page_limit / rows.max(1)).clamp(1, MOST_DAYS.min(self.0.most_days)),
        };
        let mut last = *first;
        for day in rest.iter().take(days as usize - 1) {
            if last.succ_opt() != Some(*day) {
                break;
            }
            last = *day;
        }
        Some(*first..=last)
    }

    /// Whether a day of the ad account is known to be larger than a few pages.
    pub(crate) fn is_large(&self) -> bool {
        self.0.rows_a_day.is_some_and(|rows| rows > PAGES_A_WINDOW * PAGE_LIMITS[0])
    }

    /// A window was answered, whose largest day had so many rows. What is expected grows at once and shrinks slowly: days
    /// without delivery say little about those that follow.
    pub(crate) fn answered(&mut self, rows_a_day: usize) {
        let rows = u32::try_from(rows_a_day).unwrap_or(u32::MAX);
        let before = self.0.rows_a_day.unwrap_or(rows);
        self.0.rows_a_day = Some(rows.max(before - before.div_ceil(SHRINKS_BY)));
    }

    /// A window had many more rows than were expected, and was not read to its end.
    /// Pages can be short, so that the rows that were read say little: its days are asked for one by one, whatever they were.
    pub(crate) fn larger_than_expected(&mut self, rows: usize) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.0.rows_a_day = Some(rows.max(PAGES_A_WINDOW * PAGE_LIMITS[0] + 1));
    }

    /// A question for so many days was too large: takes the next step down. `whole` says that the question itself was, and not
    /// a page of its answer: then a smaller page of a report would be the same order again.
    pub(crate) fn too_large(&mut self, days: usize, whole: bool) -> Result<(), Bottom> {
        if days > 1 {
            self.0.most_days = 1;
            return Ok(());
        }
        if whole && self.0.by_report {
            return Err(Bottom);
        }
        match PAGE_LIMITS.into_iter().find(|smaller| *smaller < self.0.page_limit) {
            Some(smaller) => self.0.page_limit = smaller,
            // A report may be of any size, and is read in pages of its own: several days and the largest page are tried first.
            None if !self.0.by_report => {
                (self.0.by_report, self.0.page_limit, self.0.most_days) = (true, PAGE_LIMITS[0], MOST_DAYS);
                return Ok(());
            }
            None => return Err(Bottom),
        }
        self.0.most_days = 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(days: &[u32]) -> Vec<NaiveDate> {
        days.iter().map(|day| NaiveDate::from_ymd_opt(2026, 11, *day).expect("a date")).collect()
    }

    fn days(ladder: &Ladder, due: &[NaiveDate]) -> i64 {
        let window = ladder.window(due).expect("days are due");
        (*window.end() - *window.start()).num_days() + 1
    }

    #[test]
    fn windows_are_as_long_as_their_rows_fit_four_pages() {
        let november: Vec<NaiveDate> = due(&(1..=30).collect::<Vec<_>>());
        for (rows_a_day, page_limit, wanted) in [
            (None, 500, 1),
            (Some(0), 500, 30),
            (Some(60), 500, 30),
            (Some(100), 500, 20),
            (Some(500), 500, 4),
            (Some(501), 500, 3),
            (Some(2000), 500, 1),
            (Some(20_000), 500, 1),
            (Some(60), 25, 1),
        ] {
            let shape = FetchShape { rows_a_day, page_limit, most_days: 31, by_report: false };
            assert_eq!(days(&Ladder(shape), &november), wanted, "{shape:?}");
        }
        let small = Ladder(FetchShape { rows_a_day: Some(1), page_limit: 500, most_days: 31, by_report: false });
        assert_eq!(days(&small, &due(&[1, 2, 4, 5, 6])), 2, "a window has no gap");
        assert_eq!(small.window(&[]), None);
    }

    #[test]
    fn what_is_expected_of_a_day_grows_at_once_and_shrinks_slowly() {
        let mut ladder = Ladder::new(None);
        let november: Vec<NaiveDate> = due(&(1..=30).collect::<Vec<_>>());
        ladder.answered(20_000);
        ladder.answered(0);
        assert_eq!((ladder.0.rows_a_day, days(&ladder, &november)), (Some(17_500), 1));
        (0..200).for_each(|_| ladder.answered(0));
        assert_eq!((ladder.0.rows_a_day, days(&ladder, &november)), (Some(0), 30));
        // And where a window proves larger on the way, its days are asked for one by one.
        assert!(!ladder.is_large() && ladder.question().max_pages.is_some());
        ladder.larger_than_expected(0);
        assert_eq!(days(&ladder, &november), 1);
        assert!(ladder.is_large() && ladder.question().max_pages.is_none(), "a large day is read to its end");
    }

    #[test]
    fn down_the_ladder_no_question_comes_twice() {
        let mut ladder = Ladder::new(None);
        ladder.answered(10);
        let november: Vec<NaiveDate> = due(&(1..=30).collect::<Vec<_>>());
        let mut asked = Vec::new();
        loop {
            let question = (ladder.window(&november), ladder.question());
            assert!(!asked.contains(&question), "{question:?} was asked before");
            asked.push(question);
            let days = days(&ladder, &november) as usize;
            if ladder.too_large(days, false) == Err(Bottom) {
                break;
            }
        }
        let steps: Vec<_> = asked.iter().map(|(_, shape)| (shape.page_limit, shape.way)).collect();
        let (pages, report) = (Way::Pages, Way::Report);
        assert_eq!(
            steps,
            [(500, pages), (500, pages), (200, pages), (50, pages), (25, pages)]
                .into_iter()
                .chain([500, 500, 200, 50, 25].map(|limit| (limit, report)))
                .collect::<Vec<_>>()
        );
        let lengths: Vec<_> =
            asked.iter().map(|(window, _)| window.clone().map(|w| (*w.end() - *w.start()).num_days() + 1)).collect();
        assert_eq!(lengths[..6], [30, 1, 1, 1, 1, 30].map(Some), "a report is of several days again");
        assert_eq!(Ladder::new(Some(ladder.shape())).question(), ladder.question(), "it is remembered");
        assert_eq!(ladder.too_large(1, true), Err(Bottom), "a report is not ordered again as it was");
    }
}
