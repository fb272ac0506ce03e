//! Where a day will end that Meta may still restate; and how it was restated so far.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::{Curve, Day, Metric, Observation};

/// A provisional day, as it stands and as it will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    pub date: NaiveDate,
    /// The age at which it was known last.
    pub age_days: i32,
    pub value: Decimal,
    /// `None` where nothing like it has settled, or nothing of it is known yet.
    pub end: Option<Decimal>,
    /// Where the end is with eight chances in ten. Without an upper bound where one day in ten was not known at all at this
    /// age; `None` where too few days have settled.
    pub band: Option<(Decimal, Option<Decimal>)>,
}

impl Estimate {
    /// By the day's newest answer; `None` if there is none.
    pub fn of(day: &Day, curve: &Curve) -> Option<Self> {
        let (age_days, value) = day.newest()?;
        Some(Estimate::at(day.date, age_days, value, curve))
    }

    /// By what is known at an age. Nothing of it can be said where that is nothing, or below.
    pub(crate) fn at(date: NaiveDate, age_days: i32, value: Decimal, curve: &Curve) -> Self {
        let mut estimate = Estimate { date, age_days, value, end: None, band: None };
        let Some(point) = curve.at(age_days).filter(|_| value > Decimal::ZERO) else { return estimate };
        let end = |share: Decimal| value.checked_div(share).filter(|_| share > Decimal::ZERO).map(round(value));
        estimate.end = end(point.median);
        estimate.band = point.band.and_then(|(low, high)| Some((end(high)?, end(low))));
        estimate
    }
}

/// To the digits that amounts of a day have, and two at least.
fn round(like: Decimal) -> impl Fn(Decimal) -> Decimal {
    move |value| value.round_dp(like.scale().max(2)).normalize()
}

/// An answer, and what it changed against the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restatement {
    #[serde(flatten)]
    pub observation: Observation,
    pub changes: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub metric: Metric,
    pub before: Option<Decimal>,
    pub after: Option<Decimal>,
}

/// How a day was restated, by its observations in order. The first one changes nothing.
pub fn restatements(observations: &[Observation]) -> Vec<Restatement> {
    let mut before: Option<&Observation> = None;
    let mut all = Vec::new();
    for observation in observations {
        let changed = |metric: Metric| {
            let (before, after) = (before?.value(metric), observation.value(metric));
            (before != after).then_some(Change { metric, before, after })
        };
        let changes = Metric::ALL.into_iter().filter_map(changed).collect();
        all.push(Restatement { observation: observation.clone(), changes });
        before = Some(observation);
    }
    all
}
