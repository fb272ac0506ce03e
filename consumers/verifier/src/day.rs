//! An ad account's day, as its snapshots make it: sorted by version, and everything looked up.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::Version;
use rust_decimal::Decimal;

use crate::rule::Rule;
use crate::snapshot::{Ad, Snapshot, sum};
use crate::tables::{Rows, Values};

/// The version of the fold that this crate describes: what it writes on its rows.
pub const PROJECTION_VERSION: i32 = 1;

/// Meta restates a day until it is so old.
const RESTATED_FOR_DAYS: i64 = 28;

/// The snapshots of a day. Of their rows only those are kept that a table can have.
#[derive(Debug, Default)]
pub struct Day {
    snapshots: BTreeMap<Version, Snapshot>,
    /// For each ad the newest version that has it, and its row there.
    ads: BTreeMap<String, (Version, Ad)>,
}

/// What a day comes to.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub currency: String,
    pub ads: usize,
    pub spend: Option<Decimal>,
    pub impressions: Option<i64>,
    pub clicks: Option<i64>,
    pub link_clicks: Option<i64>,
    /// Whether the purchases are known; they are `None` where not.
    pub known: bool,
    pub purchases: Option<Decimal>,
    pub purchase_value: Option<Decimal>,
    pub control_spend: Option<Decimal>,
    pub provisional: bool,
    pub version: Version,
    pub content: [u8; 32],
}

/// When an ad's row was brought first, and since when it is missing: (first, absent since, proven gone).
struct Standing(Version, Option<DateTime<Utc>>, bool);

impl Day {
    pub fn push(&mut self, snapshot: Snapshot, ads: BTreeMap<String, Ad>) {
        let version = snapshot.version;
        for (ad_id, ad) in ads {
            if self.ads.get(&ad_id).is_none_or(|(newest, _)| *newest < version) {
                self.ads.insert(ad_id, (version, ad));
            }
        }
        self.snapshots.insert(version, snapshot);
    }

    fn standing(&self, newest: &Version) -> Standing {
        let content = self.snapshots[newest].content;
        let first = self.snapshots.values().find(|s| s.content == content).map_or(*newest, |s| s.version);
        let mut later = self.snapshots.values().filter(|s| s.version > *newest).peekable();
        let absent_since = later.peek().map(|s| s.version.fetched_at);
        Standing(first, absent_since, later.any(|s| s.proof))
    }

    /// The rows of `observations`, by event.
    pub fn observations(&self, rule: &Rule) -> Rows {
        self.snapshots.values().map(|s| (s.version.event_id.to_string(), s.observation(rule))).collect()
    }

    /// The rows of `fact_meta_daily`, by ad.
    pub fn facts(&self, rule: &Rule) -> Rows {
        let mut standings = BTreeMap::new();
        let mut rows = Rows::new();
        for (ad_id, (newest, ad)) in &self.ads {
            let Standing(first, absent_since, gone) = standings.entry(*newest).or_insert_with(|| self.standing(newest));
            let snapshot = &self.snapshots[newest];
            let absence = absent_since.map(|_| if *gone { "deleted" } else { "not_returned" });
            let mut values: Values = ad.names.to_vec();
            values.extend([
                Some(snapshot.currency.clone()),
                number(ad.spend),
                ad.impressions.map(|n| n.to_string()),
                ad.clicks.map(|n| n.to_string()),
                ad.link_clicks.map(|n| n.to_string()),
                number(ad.sold.count),
                number(ad.sold.value),
                ad.sold.action_type.clone(),
                Some(rule.window.clone()),
                Some(rule.version.to_string()),
                Some(snapshot.known.to_string()),
                Some(first.event_id.to_string()),
                Some(time(first.fetched_at)),
                absent_since.map(time),
                absence.map(str::to_owned),
            ]);
            rows.insert(ad_id.clone(), values);
        }
        rows
    }

    /// What the day comes to; `None` if nothing is known of it.
    pub fn metrics(&self, rule: &Rule) -> Option<Metrics> {
        let newest = self.snapshots.values().next_back()?;
        let counts = |version: &Version| {
            let Standing(_, absent_since, gone) = self.standing(version);
            absent_since.is_none() || !gone
        };
        let mut counted_versions = BTreeMap::new();
        let counted: Vec<(&Version, &Ad)> = self
            .ads
            .values()
            .filter(|(version, _)| *counted_versions.entry(*version).or_insert_with(|| counts(version)))
            .map(|(version, ad)| (version, ad))
            .collect();
        let none = counted.is_empty();
        let known = if none {
            rule.is_known(&newest.windows)
        } else {
            counted.iter().all(|(version, _)| self.snapshots[*version].known)
        };
        let ads = || counted.iter().map(|(_, ad)| *ad);
        let sold = |of: fn(&Ad) -> Option<Decimal>| if known { sum(ads().map(of), none, Decimal::ZERO) } else { None };
        Some(Metrics {
            currency: newest.currency.clone(),
            ads: counted.len(),
            spend: sum(ads().map(|ad| ad.spend), none, Decimal::ZERO),
            impressions: sum(ads().map(|ad| ad.impressions), none, 0),
            clicks: sum(ads().map(|ad| ad.clicks), none, 0),
            link_clicks: sum(ads().map(|ad| ad.link_clicks), none, 0),
            known,
            purchases: sold(|ad| ad.sold.count),
            purchase_value: sold(|ad| ad.sold.value),
            control_spend: newest.control.map(|(spend, _)| spend),
            provisional: newest.age_days <= RESTATED_FOR_DAYS,
            version: newest.version,
            content: newest.content,
        })
    }
}

impl Snapshot {
    fn observation(&self, rule: &Rule) -> Values {
        vec![
            Some(time(self.version.fetched_at)),
            Some(self.age_days.to_string()),
            Some(self.ads.to_string()),
            Some(hex(&self.content)),
            number(self.spend),
            self.impressions.map(|n| n.to_string()),
            number(self.purchases),
            number(self.purchase_value),
            number(self.control.map(|(spend, _)| spend)),
            self.control.map(|(_, impressions)| impressions.to_string()),
            self.status_filter.clone(),
            Some(PROJECTION_VERSION.to_string()),
            Some(rule.version.to_string()),
            Some(self.windows.join(",")),
        ]
    }
}

impl Metrics {
    /// The row of `daily_meta_metrics`; PostgreSQL has worked out the ratios, in the order of the columns.
    pub fn row(&self, ratios: [Option<String>; 6]) -> Values {
        let [ctr, cpc, cpm, cpa, roas, coverage] = ratios;
        vec![
            Some(self.currency.clone()),
            Some(self.ads.to_string()),
            number(self.spend),
            self.impressions.map(|n| n.to_string()),
            self.clicks.map(|n| n.to_string()),
            self.link_clicks.map(|n| n.to_string()),
            Some(self.known.to_string()),
            number(self.purchases),
            number(self.purchase_value),
            ctr,
            cpc,
            cpm,
            cpa,
            roas,
            number(self.control_spend),
            coverage,
            Some(self.provisional.to_string()),
            Some(self.version.event_id.to_string()),
            Some(time(self.version.fetched_at)),
            Some(hex(&self.content)),
            Some(PROJECTION_VERSION.to_string()),
        ]
    }
}

/// A number as the tables' columns are read: without zeros at its end.
pub fn number(number: Option<Decimal>) -> Option<String> {
    number.map(|number| number.normalize().to_string())
}

/// An instant as the tables' columns are read.
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
