//! How what Meta says of a day matures with the day's age: curves that nothing in the product was written for.

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;

use super::delivery::{Delivery, Sales};
use super::world::World;
use crate::history::Random;

/// From this age on a day is what it is in the [`World`].
const SETTLED_DAYS: i64 = 29;

/// The shape of a day's maturing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Curve {
    /// Purchases come in at once and then ever slower, every day like the other.
    Steady,
    /// Purchases come in along an S, later after weekends, each day at a pace of its own; one day in five is taken too
    /// high, and corrected down at the end of its month. Spend is corrected down in its first days.
    Slow,
}

impl Curve {
    /// Leaves of each day what is known of it on this day, before it is over.
    pub fn mature(self, world: &mut World, today: NaiveDate) {
        for ad in world.ad_accounts.values_mut().flat_map(|account| &mut account.ads) {
            for (date, delivery) in &mut ad.days {
                self.delivery(delivery, *date, (today - *date).num_days());
            }
        }
    }

    fn delivery(self, delivery: &mut Delivery, date: NaiveDate, age: i64) {
        if age >= SETTLED_DAYS {
            return;
        }
        let share = self.share(date, age);
        // Of a few purchases each has a time of its own: whether the last of a part is known yet is the ad's luck that day.
        let mut random = Random::new(delivery.impressions ^ u64::from(date.num_days_from_ce().unsigned_abs()) << 40);
        let luck = random.below(1_000) as f64 / 1_000.0;
        let purchases = &mut delivery.purchases;
        for sales in
            [&mut purchases.click_1d, &mut purchases.click_7d, &mut purchases.click_28d, &mut purchases.view_1d]
        {
            let known = Sales { count: (sales.count as f64 * share + luck) as u64, value: part(sales.value, share) };
            *sales = if known.count == 0 { Sales::default() } else { known };
        }
        delivery.spend = part(delivery.spend, self.share_of_spend(age));
    }

    /// The share of a day's purchases that is known at an age.
    fn share(self, date: NaiveDate, age: i64) -> f64 {
        let age = age as f64;
        match self {
            Curve::Steady => 1.0 - 0.6 * (-age / 5.0).exp(),
            Curve::Slow => {
                // The day's own pace, which is the same whenever it is asked for.
                let mut random = Random::new(u64::from(date.num_days_from_ce().unsigned_abs()));
                let mut chance = || random.below(1_000) as f64 / 1_000.0;
                let weekend = if date.weekday().num_days_from_monday() >= 4 { 2.0 } else { 0.0 };
                let (middle, width) = (4.0 + weekend + 3.0 * chance(), 2.5 + 1.5 * chance());
                let rises = |age: f64| 1.0 / (1.0 + (-(age - middle) / width).exp());
                let share = 0.15 + 0.85 * rises(age) / rises(SETTLED_DAYS as f64);
                // Refunds are taken back late.
                let too_high = if chance() < 0.2 { 1.0 + 0.08 * chance() } else { 1.0 };
                if age < 25.0 { share * too_high } else { share }
            }
        }
    }

    fn share_of_spend(self, age: i64) -> f64 {
        match (self, age) {
            (Curve::Slow, ..=1) => 1.03,
            (Curve::Slow, 2..=3) => 1.01,
            _ => 1.0,
        }
    }
}

/// A part of an amount, with the digits that it has.
fn part(amount: Decimal, share: f64) -> Decimal {
    let share = Decimal::new((share * 10_000.0) as i64, 4);
    (amount * share).round_dp(amount.scale())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_matures_to_what_it_is() {
        let date = NaiveDate::from_ymd_opt(2026, 10, 3).unwrap();
        let whole = World::demo("t", "act_1", "Europe/Berlin", "EUR", date..=date, 20);
        let end = whole.totals("act_1", date, None);
        for curve in [Curve::Steady, Curve::Slow] {
            let at = |age: i64| {
                let mut world = whole.clone();
                curve.mature(&mut world, date + chrono::Duration::days(age));
                world.totals("act_1", date, None)
            };
            assert_eq!((at(29), at(60)), (end.clone(), end.clone()));
            let known: Vec<u64> = (1..=24).map(|age| at(age).purchases).collect();
            assert!(known.is_sorted() && known[0] * 4 < end.purchases * 3 && known[0] > 0, "{curve:?}: {known:?}");
        }
        let mut young = whole.clone();
        Curve::Slow.mature(&mut young, date + chrono::Duration::days(1));
        assert!(young.totals("act_1", date, None).spend > end.spend, "spend is corrected down");
    }
}
