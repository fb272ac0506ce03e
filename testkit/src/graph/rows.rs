//! Rows as JSON text. Text, because names can hold what no JSON value of Rust's does, and because tests compare bytes.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::ask::{Ask, Level};
use super::delivery::{Delivery, Sales};
use super::row_set::RowSet;
use super::world::{Ad, AdAccount, RawRow, World, dates};

impl World {
    /// The rows that answer the question, each as the exact JSON that is sent, in the order in which they are paged.
    /// Meta promises no order, so this one is neither by ad nor, with [`mixed_days`](World::mixed_days), by day. What is
    /// no UTF-8 in a raw row is replaced here; [`row_bytes`](Self::row_bytes) has it as it is.
    pub fn rows(&self, external_id: &str, ask: &Ask) -> Vec<String> {
        self.row_bytes(external_id, ask).iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
    }

    /// [`rows`](Self::rows), to the byte.
    pub fn row_bytes(&self, external_id: &str, ask: &Ask) -> Vec<Vec<u8>> {
        let rows = self.row_set(external_id, ask);
        (0..rows.len()).map(|i| rows.row(i).to_vec()).collect()
    }

    /// The rows of the whole window, in their order.
    pub(super) fn row_set(&self, external_id: &str, ask: &Ask) -> RowSet {
        let days = dates(&(ask.since..=ask.until)).map(|date| self.rows_of_day(external_id, date, ask));
        RowSet::of_window(&days.collect::<Vec<_>>(), self.mixed_days)
    }

    /// The rows of one day, in their order.
    pub(super) fn rows_of_day(&self, external_id: &str, date: NaiveDate, ask: &Ask) -> RowSet {
        let mut rows = RowSet::default();
        let Some(account) = self.ad_accounts.get(external_id) else { return rows };
        let mut found = self.found(external_id, date, ask);
        // A stable sort: what one ad has on one day twice stays in its order.
        found.sort_by_key(|row| row.place);
        let mut json = String::new();
        for Found { place, what } in &found {
            let (ad, delivery) = match what {
                What::Raw(row) => {
                    rows.push(*place, row);
                    continue;
                }
                What::Ad(ad, delivery) => (Some(*ad), *delivery),
                What::Account(sum) => (None, sum),
            };
            json.clear();
            Subject { external_id, account, ad, date, delivery }.write(ask, &mut json);
            rows.push(*place, json.as_bytes());
        }
        rows.all_of(date)
    }

    /// How many rows answer the question, without making them.
    pub(super) fn count_rows(&self, external_id: &str, ask: &Ask) -> usize {
        dates(&(ask.since..=ask.until)).map(|date| self.found(external_id, date, ask).len()).sum()
    }

    /// What there is a row about on a day.
    fn found(&self, external_id: &str, date: NaiveDate, ask: &Ask) -> Vec<Found<'_>> {
        let Some(account) = self.ad_accounts.get(external_id) else { return Vec::new() };
        let passes = |ad: &&Ad| ask.statuses.as_ref().is_none_or(|statuses| statuses.contains(&ad.effective_status));
        let delivered = account.ads.iter().filter(passes).filter_map(|ad| Some((ad, ad.days.get(&date)?)));
        let delivered = delivered.filter(|(_, delivery)| delivery.has_row());
        if ask.level == Level::Account {
            let sum = delivered.fold(Delivery::default(), |mut sum, (_, delivery)| {
                sum += delivery;
                sum
            });
            let row = sum.has_row().then(|| Found { place: place(None, date), what: What::Account(sum) });
            return row.into_iter().collect();
        }
        let raw = self.raw_rows.get(&(external_id.to_owned(), date));
        let is_raw = |ad: &Ad| raw.is_some_and(|raw| raw.iter().any(|row| row.ad_id == ad.id));
        let made = delivered
            .filter(|(ad, _)| !is_raw(ad))
            .map(|(ad, delivery)| Found { place: place(Some(&ad.id), date), what: What::Ad(ad, delivery) });
        let raw = raw
            .into_iter()
            .flatten()
            .map(|RawRow { ad_id, json }| Found { place: place(Some(ad_id), date), what: What::Raw(json) });
        made.chain(raw).collect()
    }
}

/// A row that is not rendered yet.
struct Found<'a> {
    /// Where it comes among the others.
    place: u64,
    what: What<'a>,
}

enum What<'a> {
    Raw(&'a Vec<u8>),
    Ad(&'a Ad, &'a Delivery),
    Account(Delivery),
}

fn place(ad_id: Option<&String>, date: NaiveDate) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ad_id, date).hash(&mut hasher);
    hasher.finish()
}

/// What a row is about; the whole ad account where there is no ad.
struct Subject<'a> {
    external_id: &'a str,
    account: &'a AdAccount,
    ad: Option<&'a Ad>,
    date: NaiveDate,
    delivery: &'a Delivery,
}

// Writing to a String cannot fail.
impl Subject<'_> {
    fn write(&self, ask: &Ask, out: &mut String) {
        out.push('{');
        for field in ask.fields.iter().filter(|field| !matches!(field.as_str(), "date_start" | "date_stop")) {
            let start = out.len();
            let _ = write!(out, r#""{field}":"#);
            if self.write_field(field, &ask.windows, out) {
                out.push(',');
            } else {
                out.truncate(start);
            }
        }
        let _ = write!(out, r#""date_start":"{0}","date_stop":"{0}"}}"#, self.date);
    }

    /// The JSON of a field; false where Meta leaves it out.
    fn write_field(&self, field: &str, windows: &[String], out: &mut String) -> bool {
        let delivery = self.delivery;
        let quoted = |text: &str, out: &mut String| out.extend(["\"", text, "\""]);
        match (field, self.ad) {
            ("account_id", _) => quoted(self.external_id.trim_start_matches("act_"), out),
            ("account_name", _) => out.push_str(self.account.name.json()),
            ("account_currency", _) => quoted(&self.account.currency, out),
            ("campaign_id", Some(ad)) => quoted(&ad.campaign_id, out),
            ("campaign_name", Some(ad)) => out.push_str(ad.campaign_name.json()),
            ("adset_id", Some(ad)) => quoted(&ad.adset_id, out),
            ("adset_name", Some(ad)) => out.push_str(ad.adset_name.json()),
            ("ad_id", Some(ad)) => quoted(&ad.id, out),
            ("ad_name", Some(ad)) => out.push_str(ad.name.json()),
            ("attribution_setting", Some(_)) => quoted("7d_click_1d_view", out),
            ("spend", _) => drop(write!(out, r#""{}""#, delivery.spend)),
            ("impressions", _) => self.write_count(delivery.impressions, out),
            ("reach", _) if delivery.reach > 0 => self.write_count(delivery.reach, out),
            ("clicks", _) if delivery.clicks > 0 => self.write_count(delivery.clicks, out),
            ("inline_link_clicks", _) if delivery.link_clicks > 0 => self.write_count(delivery.link_clicks, out),
            ("actions", _) => return self.write_actions(windows, |sales| sales.count.into(), true, out),
            ("action_values", _) => return self.write_actions(windows, |sales| sales.value, false, out),
            _ => return false,
        }
        true
    }

    fn write_count(&self, count: u64, out: &mut String) {
        let quote = if self.ad.is_some_and(|ad| ad.bare_numbers) { "" } else { "\"" };
        let _ = write!(out, "{quote}{count}{quote}");
    }

    /// A list of overlapping action types; false when it is empty.
    fn write_actions(
        &self,
        windows: &[String],
        of: impl Fn(Sales) -> Decimal,
        with_clicks: bool,
        out: &mut String,
    ) -> bool {
        let start = out.len();
        let clicks = self.delivery.link_clicks;
        if with_clicks && clicks > 0 {
            // Clicks happen at once: the same in every click window.
            for action_type in ["link_click", "post_engagement"] {
                let within = |window: &str| window.contains("click").then(|| clicks.into());
                write_entry(action_type, clicks.into(), windows, within, out);
            }
        }
        let purchases = &self.delivery.purchases;
        let types: &[(&str, Part)] = if self.ad.is_some_and(|ad| ad.pixel_only) {
            &[("offsite_conversion.fb_pixel_purchase", Part::All)]
        } else {
            &[
                ("offsite_conversion.fb_pixel_purchase", Part::Web),
                ("onsite_conversion.purchase", Part::OnMeta),
                ("purchase", Part::All),
                ("omni_purchase", Part::All),
            ]
        };
        for (action_type, part) in types {
            let value = of(part.of(purchases.unified()));
            if value > Decimal::ZERO {
                let within = |window: &str| purchases.within(window).map(|sales| of(part.of(sales)));
                write_entry(action_type, value, windows, within, out);
            }
        }
        let has_any = out.len() > start;
        if has_any {
            // The first comma becomes the bracket.
            out.replace_range(start..=start, "[");
            out.push(']');
        }
        has_any
    }
}

/// With a comma before it.
fn write_entry(
    action_type: &str,
    value: Decimal,
    windows: &[String],
    within: impl Fn(&str) -> Option<Decimal>,
    out: &mut String,
) {
    let _ = write!(out, r#",{{"action_type":"{action_type}","value":"{}""#, value.normalize());
    for window in windows {
        if let Some(value) = within(window).filter(|value| *value > Decimal::ZERO) {
            let _ = write!(out, r#","{window}":"{}""#, value.normalize());
        }
    }
    out.push('}');
}

/// The share of an action type in all purchases: every third is made on Meta itself.
#[derive(Clone, Copy)]
enum Part {
    All,
    Web,
    OnMeta,
}

impl Part {
    fn of(self, all: Sales) -> Sales {
        let scale = all.value.scale();
        let count = all.count / 3;
        let value = match all.count {
            0 => Decimal::ZERO,
            n => (all.value * Decimal::from(count) / Decimal::from(n)).round_dp(scale),
        };
        match self {
            Part::All => all,
            Part::OnMeta => Sales { count, value },
            Part::Web => Sales { count: all.count - count, value: all.value - value },
        }
    }
}
