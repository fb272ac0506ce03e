//! How well days would have been estimated before: each settled day again, at some ages, from what was known that day.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::{Curve, Day, Estimate, FEWEST_DAYS};

/// The ages at which days are estimated again.
pub const AGES_OF_BACKTEST: [i32; 4] = [1, 3, 7, 14];

/// One line an age.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Backtest {
    pub ages: Vec<BacktestAge>,
}

/// What came of the estimates at one age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BacktestAge {
    pub age_days: i32,
    /// How many days were estimated.
    pub days: u32,
    /// How far the estimates were from the ends, in the middle of all days.
    pub mean_absolute_error: Decimal,
    /// How far the days as they stood were.
    pub mean_absolute_error_as_it_stands: Decimal,
    /// Where the ends were, in the middle: what errors are to be held against.
    pub mean_end: Decimal,
    /// How often the end was within the band.
    pub band_held: u32,
}

impl Backtest {
    /// Each day is estimated by those alone that had settled until it was so old, and by what was known of them then.
    pub fn of(days: &[Day]) -> Self {
        let mut lines: Vec<Sums> = AGES_OF_BACKTEST.map(Sums::new).into();
        let settled: Vec<(&Day, Decimal)> = days.iter().filter_map(|day| Some((day, day.end()?))).collect();
        for (day, end) in &settled {
            for line in &mut lines {
                let today = day.date + chrono::Duration::days(line.age_days.into());
                let earlier: Vec<Day> = settled
                    .iter()
                    .take_while(|(other, _)| other.date < day.date)
                    .map(|(other, _)| other.as_of(today))
                    .collect();
                let curve = Curve::of(&earlier);
                if curve.settled_days >= FEWEST_DAYS
                    && let Some(value) = day.at(line.age_days)
                {
                    line.add(&Estimate::at(day.date, line.age_days, value, &curve), *end);
                }
            }
        }
        Backtest { ages: lines.into_iter().filter_map(Sums::mean).collect() }
    }
}

struct Sums {
    age_days: i32,
    days: u32,
    error: Decimal,
    error_as_it_stands: Decimal,
    end: Decimal,
    held: u32,
}

impl Sums {
    fn new(age_days: i32) -> Self {
        let zero = Decimal::ZERO;
        Sums { age_days, days: 0, error: zero, error_as_it_stands: zero, end: zero, held: 0 }
    }

    fn add(&mut self, estimate: &Estimate, end: Decimal) {
        let (Some(estimated), Some((low, high))) = (estimate.end, estimate.band) else { return };
        self.days += 1;
        self.error += (estimated - end).abs();
        self.error_as_it_stands += (estimate.value - end).abs();
        self.end += end;
        self.held += u32::from(low <= end && high.is_none_or(|high| end <= high));
    }

    fn mean(self) -> Option<BacktestAge> {
        let mean = |sum: Decimal| Some(sum.checked_div(self.days.into())?.round_dp(2));
        Some(BacktestAge {
            age_days: self.age_days,
            days: self.days,
            mean_absolute_error: mean(self.error)?,
            mean_absolute_error_as_it_stands: mean(self.error_as_it_stands)?,
            mean_end: mean(self.end)?,
            band_held: self.held,
        })
    }
}
