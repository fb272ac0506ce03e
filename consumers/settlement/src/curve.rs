//! The share of a day's end that was known at each age.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::{Day, FEWEST_DAYS, NEWEST_DAYS, RESTATED_FOR_DAYS};

/// The shares of the newest settled days.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Curve {
    /// How many days have settled, with an end above zero, and were known before.
    pub settled_days: usize,
    /// One an age, from 1 to 28; ages at which no settled day was known are not in here.
    pub points: Vec<Point>,
}

/// What was known at one age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    pub age_days: i32,
    /// How many days were known at it.
    pub days: usize,
    pub median: Decimal,
    /// Eight days in ten are between these; `None` while too few are known.
    pub band: Option<(Decimal, Decimal)>,
}

impl Curve {
    /// Counts the newest of the settled days among these, which come oldest first.
    pub fn of(days: &[Day]) -> Self {
        // A day without delivery says nothing about shares, nor does one of corrections alone, nor one that nobody asked
        // for before it had settled.
        let watched = |day: &Day| day.at(RESTATED_FOR_DAYS).is_some();
        let ended = |day: &Day| day.end().filter(|end| *end > Decimal::ZERO && watched(day));
        let settled: Vec<(&Day, Decimal)> = days.iter().filter_map(|day| Some((day, ended(day)?))).collect();
        let newest = &settled[settled.len().saturating_sub(NEWEST_DAYS)..];
        let point = |age| {
            let mut shares: Vec<Decimal> =
                newest.iter().filter_map(|(day, end)| day.at(age)?.checked_div(*end)).collect();
            shares.sort();
            Point::of(age, &shares)
        };
        Curve { settled_days: settled.len(), points: (1..=RESTATED_FOR_DAYS).filter_map(point).collect() }
    }

    pub fn at(&self, age_days: i32) -> Option<&Point> {
        self.points.iter().find(|point| point.age_days == age_days)
    }
}

impl Point {
    /// Of shares in order.
    fn of(age_days: i32, shares: &[Decimal]) -> Option<Self> {
        let enough = shares.len() >= FEWEST_DAYS;
        let tenth = || Some((quantile(shares, Decimal::new(1, 1))?, quantile(shares, Decimal::new(9, 1))?));
        Some(Point {
            age_days,
            days: shares.len(),
            median: quantile(shares, Decimal::new(5, 1))?,
            band: if enough { tenth() } else { None },
        })
    }
}

/// Where among `n` shares in order the next one will be above with this probability: at the place `p (n + 1)`, counted from
/// 1, so that the bands of few days are wider than those of many.
fn quantile(shares: &[Decimal], p: Decimal) -> Option<Decimal> {
    let last = Decimal::from(shares.len().checked_sub(1)?);
    let place = (p * Decimal::from(shares.len() + 1) - Decimal::ONE).clamp(Decimal::ZERO, last);
    let below = usize::try_from(place.floor()).ok()?;
    let above = usize::try_from(place.ceil()).ok()?;
    let (below, above, part) = (*shares.get(below)?, *shares.get(above)?, place.fract());
    Some(below + (above - below) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimals(list: &[i64]) -> Vec<Decimal> {
        list.iter().map(|n| Decimal::from(*n)).collect()
    }

    #[test]
    fn quantiles_are_between_neighbours() {
        let nine = decimals(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for (shares, tenths, wanted) in [
            (&nine[..], 5, Some("5")),
            (&nine[..], 1, Some("1")),
            (&nine[..], 9, Some("9")),
            (&nine[..8], 5, Some("4.5")),
            (&nine[..1], 1, Some("1")),
            (&[], 5, None),
        ] {
            let found = quantile(shares, Decimal::new(tenths, 1)).map(|q| q.normalize().to_string());
            assert_eq!(found.as_deref(), wanted, "{shares:?} {tenths}");
        }
    }
}
