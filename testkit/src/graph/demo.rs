//! A deterministic world that looks like a shop's.

use std::ops::RangeInclusive;

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;

use super::delivery::{Delivery, Purchases, Sales};
use super::name::Name;
use super::world::{Ad, AdAccount, World, dates};
use crate::history::Random;

/// The status of each ad, over and over. From the fourth ad on, some spend belongs to ads that `ACTIVE,PAUSED` loses.
const STATUS_OF_AD: [&str; 10] = [
    "ACTIVE",
    "PAUSED",
    "ACTIVE",
    "CAMPAIGN_PAUSED",
    "ACTIVE",
    "ARCHIVED",
    "ACTIVE",
    "ADSET_PAUSED",
    "WITH_ISSUES",
    "DELETED",
];
const FIRST_ID: u64 = 120_210_000_000_000_001;

impl World {
    /// One ad account, read by one token. The same arguments give the same world.
    ///
    /// From 4 ads on, every day has spend of ads that the filter `ACTIVE,PAUSED` leaves out; from 6 ads on, some names
    /// hold emoji, right-to-left text, quotes, a NUL and a lone surrogate.
    pub fn demo(
        token: &str,
        external_id: &str,
        timezone_name: &str,
        currency: &str,
        days: RangeInclusive<NaiveDate>,
        ads: usize,
    ) -> World {
        let mut world = World::default();
        world.insert(token, external_id, AdAccount::demo(external_id, timezone_name, currency, days, ads));
        world
    }
}

impl AdAccount {
    /// The ad account of [`World::demo`], for a world of several.
    pub fn demo(
        external_id: &str,
        timezone_name: &str,
        currency: &str,
        days: RangeInclusive<NaiveDate>,
        ads: usize,
    ) -> AdAccount {
        let seed = external_id.bytes().fold(0u64, |seed, b| seed.wrapping_mul(31).wrapping_add(b.into()));
        // Ads of two ad accounts have ids of their own.
        let first_id = FIRST_ID + (seed % 9_999) * 1_000_000_000;
        let ads = (0..ads).map(|i| ad(i, first_id, seed, currency, &days)).collect();
        AdAccount {
            name: Name::new(&format!("Demo shop {external_id}")),
            currency: currency.into(),
            timezone_name: timezone_name.into(),
            account_status: 1,
            ads,
        }
    }
}

fn ad(i: usize, first_id: u64, seed: u64, currency: &str, days: &RangeInclusive<NaiveDate>) -> Ad {
    let n = i as u64;
    let campaign = n / 6;
    let adset = n / 3;
    let status = STATUS_OF_AD[i % STATUS_OF_AD.len()];
    let mut random = Random::new(seed ^ (n + 1).wrapping_mul(0x9E37_79B9));
    let budget_units = 20 + random.below(180);
    let seed_of_days = random.next();
    let delivered = |random: &mut Random| status == "CAMPAIGN_PAUSED" || !random.one_in(10);
    let days = dates(days)
        .filter_map(|date| {
            // Drawn for every day, so that one more day does not change the others.
            let mut random = Random::new(seed_of_days ^ u64::from(date.num_days_from_ce().unsigned_abs()));
            delivered(&mut random).then(|| (date, delivery(&mut random, date, budget_units, currency)))
        })
        .collect();
    Ad {
        id: (first_id + n).to_string(),
        name: ad_name(i),
        adset_id: (first_id + 500_000_000 + adset).to_string(),
        adset_name: Name::new(&format!("Ad set {} / broad", adset + 1)),
        campaign_id: (first_id + 700_000_000 + campaign).to_string(),
        campaign_name: Name::new(&format!("Campaign {} – \"evergreen\"", campaign + 1)),
        effective_status: status.into(),
        bare_numbers: i % 4 == 1,
        pixel_only: i % 5 == 3,
        days,
    }
}

fn ad_name(i: usize) -> Name {
    match i % 8 {
        1 => Name::new(&format!("Spring sale 🚀🛍️ {}", i + 1)),
        2 => Name::new(&format!("عرض الربيع {}", i + 1)),
        3 => Name::new(&format!("\"Best\" \\ 50% off / {}", i + 1)),
        4 => Name::new(&format!("cut\0off {}", i + 1)),
        5 => Name::escaped(&format!(r"half an emoji \ud83d {}", i + 1)),
        _ => Name::new(&format!("Video {}", i + 1)),
    }
}

fn delivery(random: &mut Random, date: NaiveDate, budget_units: u64, currency: &str) -> Delivery {
    let weekend = if date.weekday().num_days_from_monday() >= 5 { 13 } else { 10 };
    // In hundredths of a unit: 60 to 120 percent of the budget, more on weekends.
    let cents = budget_units * (60 + random.below(61)) * weekend / 10 + random.below(100);
    let impressions = cents * 10 / (40 + random.below(80)) * 10 + random.below(10);
    let clicks = impressions * (5 + random.below(20)) / 1_000;
    let link_clicks = clicks * (50 + random.below(40)) / 100;
    let mut sales =
        |count: u64| Sales { count, value: amount((0..count).map(|_| 1_990 + random.below(9_000)).sum(), currency) };
    let click_1d = sales(link_clicks / 40);
    let mut click_7d = sales(link_clicks / 130);
    click_7d += click_1d;
    let mut click_28d = sales(link_clicks / 300);
    click_28d += click_7d;
    let view_1d = sales(link_clicks / 170);
    Delivery {
        spend: amount(cents, currency),
        impressions,
        reach: impressions * 8 / 10,
        clicks,
        link_clicks,
        purchases: Purchases { click_1d, click_7d, click_28d, view_1d },
    }
}

/// Meta writes the yen and its like without decimals. Prices are of the same order as in dollars.
fn amount(cents: u64, currency: &str) -> Decimal {
    let cents = i64::try_from(cents).unwrap_or(i64::MAX);
    if ["CLP", "ISK", "JPY", "KRW", "PYG", "VND"].contains(&currency) {
        Decimal::new(cents * 3 / 2, 0)
    } else {
        Decimal::new(cents, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_loses_spend_on_every_day() {
        let first = NaiveDate::from_ymd_opt(2026, 10, 1).unwrap();
        let days = first..=first + chrono::Days::new(29);
        let world = World::demo("t", "act_1", "Europe/Berlin", "EUR", days.clone(), 4);
        let all = world.totals_by_date("act_1", days.clone(), None);
        let filtered = world.totals_by_date("act_1", days.clone(), Some(&["ACTIVE", "PAUSED"]));
        assert_eq!(all.len(), 30);
        for (date, totals) in &all {
            assert!(totals.spend > filtered[date].spend && filtered[date].spend > Decimal::ZERO, "{date}: {totals:?}");
            assert!(totals.impressions > totals.clicks && totals.clicks > totals.link_clicks, "{date}: {totals:?}");
        }
        assert!(all.values().map(|t| t.purchases).sum::<u64>() > 0);
        let longer = World::demo("t", "act_1", "Europe/Berlin", "EUR", first..=first + chrono::Days::new(40), 9);
        let last_day = |world: &World| -> Vec<Option<Delivery>> {
            let ads = world.ad_accounts["act_1"].ads.iter().take(4);
            ads.map(|ad| ad.days.get(days.end()).cloned()).collect()
        };
        assert_eq!(last_day(&longer), last_day(&world), "more days and ads change nothing about the others");
    }

    #[test]
    fn a_currency_without_decimals_has_none() {
        let day = NaiveDate::from_ymd_opt(2026, 10, 1).unwrap();
        let totals = World::demo("t", "act_1", "Asia/Tokyo", "JPY", day..=day, 20).totals("act_1", day, None);
        assert_eq!((totals.spend.scale(), totals.purchase_value.scale()), (0, 0));
    }
}
