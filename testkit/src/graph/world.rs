use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;

use super::access::{App, Code, Token, User};
use super::blocks::Quota;
use super::delivery::Delivery;
use super::faults::Faults;
use super::limits::Limits;
use super::name::Name;
use super::reports::Reports;

/// Everything that is true behind the API.
#[derive(Debug, Clone)]
pub struct World {
    /// A token that is not here is invalid.
    pub tokens: BTreeMap<String, Token>,
    /// By id.
    pub apps: BTreeMap<String, App>,
    /// Whoever sits in front of the dialog.
    pub user: User,
    /// What was granted in the dialog, also what was fetched since.
    pub codes: BTreeMap<String, Code>,
    /// How many codes and tokens were made up, so that no two are alike.
    pub minted: u64,
    /// By external id, `act_…`.
    pub ad_accounts: BTreeMap<String, AdAccount>,
    /// With a today, days more than 37 months before it are refused, as Meta does. Without one, no day is too old.
    pub today: Option<NaiveDate>,
    /// The instant that codes and tokens expire by; the machine's clock where there is none.
    pub now: Option<DateTime<Utc>>,
    /// Whether the rows of all days of a window are mixed over all of its pages, as Meta may do, or come day by day.
    /// Either way a world that does not change has one order, so that pages fit.
    pub mixed_days: bool,
    /// What is too large for one call.
    pub limits: Limits,
    pub reports: Reports,
    /// What goes wrong by chance.
    pub faults: Faults,
    /// `None` for as many calls as one likes.
    pub quota: Option<Quota>,
    /// Rows that are what a test says, by ad account and day; see [`raw_row`](World::raw_row).
    pub raw_rows: BTreeMap<(String, NaiveDate), Vec<RawRow>>,
    /// Every answer comes so much later.
    pub latency: Duration,
    /// Whether whatever was rendered is kept in memory, however much it is: a world to measure others with.
    pub cached: bool,
}

impl Default for World {
    /// Empty; its rows would be mixed, nothing is too large, and nothing goes wrong.
    fn default() -> Self {
        World {
            tokens: BTreeMap::new(),
            apps: BTreeMap::new(),
            user: User::default(),
            codes: BTreeMap::new(),
            minted: 0,
            ad_accounts: BTreeMap::new(),
            today: None,
            now: None,
            mixed_days: true,
            limits: Limits::default(),
            reports: Reports::default(),
            faults: Faults::default(),
            quota: None,
            raw_rows: BTreeMap::new(),
            latency: Duration::ZERO,
            cached: false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct AdAccount {
    pub name: Name,
    /// ISO 4217; empty where Meta is to leave it out.
    pub currency: String,
    /// IANA name.
    pub timezone_name: String,
    /// 1 active, 2 disabled, …; see Meta's list.
    pub account_status: i64,
    pub ads: Vec<Ad>,
}

#[derive(Debug, Clone)]
pub struct Ad {
    /// 18 digits: neighbours are one number as a float.
    pub id: String,
    pub name: Name,
    pub adset_id: String,
    pub adset_name: Name,
    pub campaign_id: String,
    pub campaign_name: Name,
    /// One of [`STATUSES`](super::STATUSES); the status of today, whatever day is asked for.
    pub effective_status: String,
    /// Counts come as bare numbers instead of strings.
    pub bare_numbers: bool,
    /// Purchases come under the pixel's action type alone, instead of under omni_purchase and its overlapping parts.
    pub pixel_only: bool,
    /// Days without delivery are not in here.
    pub days: BTreeMap<NaiveDate, Delivery>,
}

/// A row that is sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    pub ad_id: String,
    /// Whatever the row is to be; JSON if it wants to be read.
    pub json: Vec<u8>,
}

/// The sums over the ads of a day.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Ads with a row.
    pub ads: usize,
    pub spend: Decimal,
    pub impressions: u64,
    pub clicks: u64,
    pub link_clicks: u64,
    /// Of the unified setting, what Meta puts under `value`.
    pub purchases: u64,
    pub purchase_value: Decimal,
}

impl World {
    /// Adds an ad account, or replaces it, and lets the token read it.
    pub fn insert(&mut self, token: &str, external_id: &str, ad_account: AdAccount) {
        self.ad_accounts.insert(external_id.into(), ad_account);
        self.tokens.entry(token.into()).or_default().ad_accounts.insert(external_id.into());
    }

    /// A token that is valid, of no known app, and sees no ad account.
    pub fn insert_token(&mut self, token: &str) {
        self.tokens.entry(token.into()).or_default();
    }

    /// Lets an ad have this row on this day, whatever it is, instead of its own; more than once lets it have several. The
    /// ad need not be in the world; the row passes every filter, and the control total knows nothing of it.
    pub fn raw_row(&mut self, external_id: &str, ad_id: &str, date: NaiveDate, json: impl Into<Vec<u8>>) {
        self.raw_rows
            .entry((external_id.into(), date))
            .or_default()
            .push(RawRow { ad_id: ad_id.into(), json: json.into() });
    }

    /// The ad account, to change it.
    ///
    /// # Panics
    /// When there is none.
    pub fn ad_account(&mut self, external_id: &str) -> &mut AdAccount {
        self.ad_accounts.get_mut(external_id).unwrap_or_else(|| panic!("the world has no ad account {external_id}"))
    }

    /// What a day's rows must add up to, with only the ads of these statuses; `None` for all of them, which is also the
    /// control total. Zero for a day, or an ad account, that there is nothing about.
    pub fn totals(&self, external_id: &str, date: NaiveDate, statuses: Option<&[&str]>) -> Totals {
        let mut totals = Totals::default();
        for ad in self.ad_accounts.get(external_id).iter().flat_map(|account| &account.ads) {
            let Some(day) = ad.days.get(&date).filter(|day| day.has_row()) else { continue };
            if statuses.is_some_and(|statuses| !statuses.contains(&ad.effective_status.as_str())) {
                continue;
            }
            let sales = day.purchases.unified();
            totals.ads += 1;
            totals.spend += day.spend;
            totals.impressions += day.impressions;
            totals.clicks += day.clicks;
            totals.link_clicks += day.link_clicks;
            totals.purchases += sales.count;
            totals.purchase_value += sales.value;
        }
        totals
    }

    /// [`totals`](Self::totals) of each day, days without delivery included.
    pub fn totals_by_date(
        &self,
        external_id: &str,
        days: RangeInclusive<NaiveDate>,
        statuses: Option<&[&str]>,
    ) -> BTreeMap<NaiveDate, Totals> {
        dates(&days).map(|date| (date, self.totals(external_id, date, statuses))).collect()
    }
}

impl AdAccount {
    /// One ad, to change it.
    ///
    /// # Panics
    /// When there is none.
    pub fn ad(&mut self, id: &str) -> &mut Ad {
        self.ads.iter_mut().find(|ad| ad.id == id).unwrap_or_else(|| panic!("the ad account has no ad {id}"))
    }
}

pub(super) fn dates(days: &RangeInclusive<NaiveDate>) -> impl Iterator<Item = NaiveDate> + use<> {
    let until = *days.end();
    days.start().iter_days().take_while(move |date| *date <= until)
}
