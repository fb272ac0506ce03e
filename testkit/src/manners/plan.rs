use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Days, NaiveDate};

use crate::graph::{AdAccount, Faults, Limits, World};

pub(super) const ZONE: chrono_tz::Tz = chrono_tz::Europe::Berlin;
pub(super) const CURRENCY: &str = "EUR";
/// Every second ad account is read with a token of an app that is known, the others with one whose app nobody knows.
const TOKENS: [&str; 2] = ["EAABmanners-of-an-app", "EAABmanners-of-nobody"];
const APP: (&str, &str) = ("424242424242", "manners-app-secret");
const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    pub ad_accounts: u64,
    /// Days of each backfill, yesterday being the last one.
    pub days: u64,
    pub faults: Faults,
    /// How many `adledger serve` work at once.
    pub processes: usize,
    /// How often one of them is ended outright, spread over the days.
    pub kills: usize,
    /// `META_MAX_BACKOFF_SECONDS`
    pub max_backoff_seconds: u64,
    /// `META_REPORT_STUCK_SECONDS`
    pub report_stuck_seconds: u64,
    /// `ADLEDGER_LEASE_SECONDS`
    pub lease_seconds: u64,
    /// How long it may take.
    pub within: Duration,
}

/// What kind of ad account one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// So many ads.
    Plain(usize),
    /// Meta refuses larger pages.
    SmallPages { ads: usize, page_rows: usize },
    /// Meta refuses to answer even a day at once: a report it must be.
    Reports { ads: usize, rows_a_call: usize },
}

impl Plan {
    /// The last two are limited by Meta, about every sixth is large, the others are small.
    fn size(&self, number: u64) -> Size {
        let large = [1_500, 2_500, 4_000];
        match self.ad_accounts.saturating_sub(number) {
            1 => Size::Reports { ads: 300, rows_a_call: 100 },
            2 => Size::SmallPages { ads: 800, page_rows: 200 },
            _ if number < (self.ad_accounts / 6).max(1) => Size::Plain(large[number as usize % large.len()]),
            _ => Size::Plain(5 + number as usize * 17 % 56),
        }
    }

    /// How many ads of which kind, in words.
    pub fn sizes(&self) -> String {
        let all = (0..self.ad_accounts).map(|number| match self.size(number) {
            Size::Plain(ads) => ads.to_string(),
            Size::SmallPages { ads, page_rows } => format!("{ads} (pages of {page_rows} rows at most)"),
            Size::Reports { ads, rows_a_call } => format!("{ads} (reports beyond {rows_a_call} rows)"),
        });
        all.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn since(&self, until: NaiveDate) -> NaiveDate {
        until - Days::new(self.days.saturating_sub(1))
    }

    /// The world, in which nothing goes wrong yet.
    pub(super) fn world(&self, until: NaiveDate) -> World {
        // Settle runs look back 29 days, however few are backfilled.
        let days = self.since(until).min(until - Days::new(30))..=until;
        let mut world = World { today: until.succ_opt(), ..World::default() };
        world.insert_app(APP.0, APP.1, &[]);
        let mut limits = Limits::default();
        for number in 0..self.ad_accounts {
            let id = external_id(number);
            let ads = match self.size(number) {
                Size::Plain(ads) => ads,
                Size::SmallPages { ads, page_rows } => {
                    limits.max_page_rows_of.insert(id.clone(), page_rows);
                    ads
                }
                Size::Reports { ads, rows_a_call } => {
                    limits.max_rows_of.insert(id.clone(), rows_a_call);
                    ads
                }
            };
            world.insert(token(number), &id, AdAccount::demo(&id, ZONE.name(), CURRENCY, days.clone(), ads));
        }
        world.token(TOKENS[0]).app_id = Some(APP.0.to_owned());
        world.limits = limits;
        world.reports.polls = 1;
        world
    }

    pub(super) fn settings(&self, graph_url: &str) -> BTreeMap<String, String> {
        [
            ("META_API_BASE_URL", graph_url.to_owned()),
            ("META_APP_ID", APP.0.to_owned()),
            ("META_APP_SECRET", APP.1.to_owned()),
            ("META_MAX_BACKOFF_SECONDS", self.max_backoff_seconds.to_string()),
            ("META_REPORT_STUCK_SECONDS", self.report_stuck_seconds.to_string()),
            ("ADLEDGER_LEASE_SECONDS", self.lease_seconds.to_string()),
            ("ADLEDGER_SECRET_KEYS", KEYS.to_owned()),
            ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

pub(super) fn external_id(number: u64) -> String {
    format!("act_{}", 5_000_000_001 + number)
}

pub(super) fn token(number: u64) -> &'static str {
    TOKENS[number as usize % TOKENS.len()]
}
