//! The stub: a small advertiser made of arithmetic, for trying everything without Meta and without HTTP.
//!
//! What it says about a day is a function of the ad account's id, the day, and the day's age when it is asked. Spend
//! follows the week; conversions go on arriving until a day is 28 days old; and each week's offer is archived ten days
//! after its week began, so that a status filter loses it from then on while the control total still counts it.

use accounts::Integration;
use chrono::{Datelike, Days, NaiveDate};
use meta_api::{ControlTotal, DayAnswer, InsightsQuery, Rows};
use serde_json::{Value, json};

use crate::source::Day;

/// Campaign, ad set, ad, and cents spent on an average day.
const ADS: [(&str, &str, &str, i64); 9] = [
    ("Prospecting", "Lookalike 1%", "Video: how it is made", 9_400),
    ("Prospecting", "Lookalike 1%", "Carousel: bestsellers", 7_100),
    ("Prospecting", "Interests", "Photo: kitchen", 4_300),
    ("Prospecting", "Interests", "Photo: garden", 3_800),
    ("Retargeting", "Visitors 30 days", "Reminder: your basket", 5_600),
    ("Retargeting", "Visitors 30 days", "Review: five stars", 3_200),
    ("Retargeting", "Customers", "New arrivals", 2_500),
    ("Brand", "Reels", "Story: our workshop", 2_900),
    ("Brand", "Reels", "Story: the founders", 1_700),
];
/// The ad set of the week's offer, a new ad each week.
const OFFER: (&str, &str, i64) = ("Retargeting", "Offer of the week", 3_000);
/// Days from a week's Monday until its offer is archived.
const OFFER_ARCHIVED_AFTER: u64 = 10;
/// Share of the average day, in percent, from Monday to Sunday.
const WEEK: [i64; 7] = [92, 88, 95, 99, 108, 121, 114];
/// Share of a day's conversions that are known at its age in days, in percent: half of what is late comes within a
/// week.
const KNOWN: [i64; 28] =
    [41, 62, 70, 75, 79, 82, 84, 86, 88, 89, 90, 91, 92, 93, 94, 94, 95, 95, 96, 96, 97, 97, 98, 98, 99, 99, 99, 99];
/// Currencies without minor units, as Meta writes them.
const WHOLE_CURRENCIES: [&str; 7] = ["JPY", "KRW", "VND", "CLP", "ISK", "PYG", "HUF"];

/// What the stub says about a day when it is asked on `today`.
pub(crate) fn day(integration: &Integration, date: NaiveDate, today: NaiveDate, query: &InsightsQuery) -> Day {
    let age = (today - date).num_days();
    let seen = |status: &str| query.effective_status.as_ref().is_none_or(|asked| asked.iter().any(|s| s == status));
    let mut rows = Vec::new();
    let (mut spend, mut impressions) = (0, 0);
    for ad in ads(&integration.external_id, date, today) {
        let numbers = Numbers::of(&ad, date, age, minor_units(&integration.currency));
        spend += numbers.spend_cents;
        impressions += numbers.impressions;
        if seen(ad.status) {
            rows.push((id(ad.seed), row(&ad, &numbers, integration, date, query).to_string()));
        }
    }
    let control = ControlTotal { spend: money(spend, &integration.currency), impressions };
    let rows = Rows::made(rows);
    Day { answer: DayAnswer { date, rows, pages: 1, currencies: Vec::new() }, control: Some(control) }
}

struct Ad {
    /// What its ids and its chances are made from.
    seed: u64,
    campaign: &'static str,
    adset: &'static str,
    name: String,
    cents: i64,
    status: &'static str,
    account: u64,
}

/// The ads that delivered on a day, with the status they have today.
fn ads(external_id: &str, date: NaiveDate, today: NaiveDate) -> Vec<Ad> {
    let account = hash(0, external_id.as_bytes());
    let mut ads: Vec<Ad> = ADS
        .iter()
        .map(|&(campaign, adset, name, cents)| Ad {
            seed: hash(account, name.as_bytes()),
            campaign,
            adset,
            name: name.into(),
            cents,
            status: "ACTIVE",
            account,
        })
        .collect();
    let monday = date - Days::new(u64::from(date.weekday().num_days_from_monday()));
    let week = monday.iso_week();
    let archived = today >= monday + Days::new(OFFER_ARCHIVED_AFTER);
    let (campaign, adset, cents) = OFFER;
    ads.push(Ad {
        seed: hash(account, monday.to_string().as_bytes()),
        campaign,
        adset,
        name: format!("Offer {}-W{:02}", week.year(), week.week()),
        cents,
        status: if archived { "ARCHIVED" } else { "ACTIVE" },
        account,
    });
    ads
}

struct Numbers {
    spend_cents: i64,
    impressions: i64,
    clicks: i64,
    link_clicks: i64,
    purchases: i64,
    value_cents: i64,
}

impl Numbers {
    /// Amounts are multiples of `unit`, in cents.
    fn of(ad: &Ad, date: NaiveDate, age: i64, unit: i64) -> Self {
        let chance = |what: &str, below: i64| {
            let seed = hash(ad.seed, format!("{date} {what}").as_bytes());
            i64::try_from(seed % u64::try_from(below).unwrap_or(1)).unwrap_or(0)
        };
        let weekday = WEEK[date.weekday().num_days_from_monday() as usize];
        let spend_cents = ad.cents * weekday * (80 + chance("spend", 41)) / 10_000 / unit * unit;
        // A thousand impressions cost between 7.50 and 11.50.
        let impressions = spend_cents * 1000 / (750 + chance("cpm", 400));
        let clicks = impressions * (11 + chance("ctr", 14)) / 1000;
        let link_clicks = clicks * (60 + chance("link", 25)) / 100;
        let settled = spend_cents * (8 + chance("purchases", 12)) / 30_000;
        let known = usize::try_from(age).ok().and_then(|age| KNOWN.get(age)).copied().unwrap_or(100);
        // Each purchase is known from an age of its own: those of a younger age stay the same.
        let purchases = (0..settled).filter(|n| chance(&format!("late {n}"), 100) < known).count() as i64;
        let value_cents = (0..purchases).map(|n| (3_900 + chance(&format!("basket {n}"), 7_000)) / unit * unit).sum();
        Numbers { spend_cents, impressions, clicks, link_clicks, purchases, value_cents }
    }
}

/// A row in Meta's form.
fn row(ad: &Ad, numbers: &Numbers, integration: &Integration, date: NaiveDate, query: &InsightsQuery) -> Value {
    let currency = &integration.currency;
    let mut row = json!({
        "account_currency": currency,
        "campaign_id": id(hash(ad.account, ad.campaign.as_bytes())), "campaign_name": ad.campaign,
        "adset_id": id(hash(ad.account, ad.adset.as_bytes())), "adset_name": ad.adset,
        "ad_id": id(ad.seed), "ad_name": ad.name,
        "spend": money(numbers.spend_cents, currency),
        "impressions": numbers.impressions.to_string(),
        "clicks": numbers.clicks.to_string(),
        "inline_link_clicks": numbers.link_clicks.to_string(),
        "date_start": date, "date_stop": date,
    });
    // As Meta does: what is empty is left out, and the types of a purchase overlap.
    let action = |kind: &str, value: &dyn Fn(i64) -> String| {
        let mut action = json!({"action_type": kind, "value": value(100)});
        for window in &query.attribution_windows {
            let share = match window.as_str() {
                "1d_click" => 70,
                "7d_click" => 90,
                "1d_view" => 10,
                _ => continue,
            };
            action[window.as_str()] = value(share).into();
        }
        action
    };
    let mut actions = vec![action("link_click", &|share| (numbers.link_clicks * share / 100).to_string())];
    if numbers.purchases > 0 {
        let count = |share: i64| (numbers.purchases * share / 100).to_string();
        let value = |share: i64| money(numbers.value_cents * share / 100, currency);
        let kinds = ["omni_purchase", "purchase", "offsite_conversion.fb_pixel_purchase"];
        actions.extend(kinds.map(|kind| action(kind, &count)));
        row["action_values"] = kinds.map(|kind| action(kind, &value)).into_iter().collect();
    }
    row["actions"] = Value::Array(actions);
    row
}

fn money(cents: i64, currency: &str) -> String {
    if minor_units(currency) == 100 { (cents / 100).to_string() } else { format!("{}.{:02}", cents / 100, cents % 100) }
}

/// The smallest amount of a currency, in hundredths of its unit.
fn minor_units(currency: &str) -> i64 {
    if WHOLE_CURRENCIES.contains(&currency) { 100 } else { 1 }
}

/// An id of 18 digits, as Meta's are.
fn id(seed: u64) -> String {
    format!("12{:016}", seed % 10_000_000_000_000_000)
}

/// FNV-1a with a seed, finished so that near inputs give far outputs; the same on every machine and for ever.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let fnv =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ seed, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}
