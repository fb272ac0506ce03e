//! How a day's numbers mature: what of a day's end was known at each age, where days will end that Meta may still restate,
//! and how well that would have been said before.
//!
//! Everything is worked out from `observations`, which have what each answer said. All but [`read`] is pure. Numbers stay
//! decimals throughout: a share is a quotient of two amounts, and an estimate an amount by a share.
//!
//! What must not live here: events, the folds, and anything that writes.

mod backtest;
mod curve;
mod estimate;
mod read;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use uuid::Uuid;

pub use backtest::{AGES_OF_BACKTEST, Backtest, BacktestAge};
pub use curve::{Curve, Point};
pub use estimate::{Estimate, Restatement, restatements};
pub use read::observations;

/// Meta restates a day until it is so old: what is observed later has settled.
pub const RESTATED_FOR_DAYS: i32 = 28;

/// So many settled days a band takes at least. Of fewer, the highest and the lowest are no quantiles yet.
pub const FEWEST_DAYS: usize = 10;

/// How many of the newest settled days are counted. Older ones are of a shop that was another; see docs/SETTLEMENT.md.
pub const NEWEST_DAYS: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Spend,
    Impressions,
    Purchases,
    PurchaseValue,
}

impl Metric {
    pub const ALL: [Metric; 4] = [Metric::Spend, Metric::Impressions, Metric::Purchases, Metric::PurchaseValue];

    /// Its column in `observations`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Spend => "spend",
            Metric::Impressions => "impressions",
            Metric::Purchases => "purchases",
            Metric::PurchaseValue => "purchase_value",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Metric::Spend => "spend",
            Metric::Impressions => "impressions",
            Metric::Purchases => "purchases",
            Metric::PurchaseValue => "purchase value",
        }
    }
}

/// How far back days are looked at: older ones are of a shop that was another.
pub const HISTORY_DAYS: u64 = 400;

/// What one answer said of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observation {
    pub date: NaiveDate,
    pub event_id: Uuid,
    pub fetched_at: DateTime<Utc>,
    pub age_days: i32,
    pub spend: Option<Decimal>,
    pub impressions: Option<i64>,
    pub purchases: Option<Decimal>,
    pub purchase_value: Option<Decimal>,
}

impl Observation {
    pub fn value(&self, metric: Metric) -> Option<Decimal> {
        match metric {
            Metric::Spend => self.spend,
            Metric::Impressions => self.impressions.map(Decimal::from),
            Metric::Purchases => self.purchases,
            Metric::PurchaseValue => self.purchase_value,
        }
    }
}

/// A day of one metric: what was known of it at which age, in the order of the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    pub date: NaiveDate,
    known: Vec<(i32, Decimal)>,
}

impl Day {
    /// The days that observations speak of, which come sorted by day and version. Answers that did not know the metric
    /// are passed over, and so is what was asked on the day itself, which was not over yet.
    pub fn all(observations: &[Observation], metric: Metric) -> Vec<Day> {
        let mut days: Vec<Day> = Vec::new();
        for o in observations {
            let Some(value) = o.value(metric).filter(|_| o.age_days > 0) else { continue };
            match days.last_mut().filter(|day| day.date == o.date) {
                Some(day) => day.known.push((o.age_days, value)),
                None => days.push(Day { date: o.date, known: vec![(o.age_days, value)] }),
            }
        }
        days
    }

    /// The newest that is known, and the age at which.
    pub fn newest(&self) -> Option<(i32, Decimal)> {
        self.known.last().copied()
    }

    /// What was known when the day was so old: by the last answer until then.
    pub fn at(&self, age: i32) -> Option<Decimal> {
        self.known.iter().rev().find(|(known_at, _)| *known_at <= age).map(|(_, value)| *value)
    }

    /// Where the day ended, if it has settled.
    pub fn end(&self) -> Option<Decimal> {
        self.newest().filter(|(age, _)| *age > RESTATED_FOR_DAYS).map(|(_, value)| value)
    }

    /// The day as it was known at the end of another one.
    fn as_of(&self, today: NaiveDate) -> Day {
        let age = i32::try_from((today - self.date).num_days()).unwrap_or(i32::MAX);
        let known = self.known.iter().filter(|(known_at, _)| *known_at <= age).copied().collect();
        Day { date: self.date, known }
    }
}

/// How days of an ad account mature by a metric, and where those will end that are open.
#[derive(Debug, Serialize)]
pub struct Settlement {
    pub metric: Metric,
    pub curve: Curve,
    /// Days that Meta may still restate, oldest first.
    pub provisional: Vec<Estimate>,
}

/// The same, and how good such estimates were.
#[derive(Debug, Serialize)]
pub struct Backtested {
    #[serde(flatten)]
    pub settlement: Settlement,
    pub backtest: Backtest,
}

impl Settlement {
    pub fn of(observations: &[Observation], metric: Metric) -> Self {
        Self::of_days(&Day::all(observations, metric), metric)
    }

    fn of_days(days: &[Day], metric: Metric) -> Self {
        let curve = Curve::of(days);
        let open = days.iter().filter(|day| day.end().is_none());
        let provisional = open.filter_map(|day| Estimate::of(day, &curve)).collect();
        Settlement { metric, curve, provisional }
    }
}

impl Backtested {
    pub fn of(observations: &[Observation], metric: Metric) -> Self {
        let days = Day::all(observations, metric);
        Backtested { settlement: Settlement::of_days(&days, metric), backtest: Backtest::of(&days) }
    }
}
