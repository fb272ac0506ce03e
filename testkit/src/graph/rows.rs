//! Rows as JSON text. Text, because names can hold what no JSON value of Rust's does, and because tests compare bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
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

    pub(super) fn row_set(&self, external_id: &str, ask: &Ask) -> RowSet {
        let Some(account) = self.ad_accounts.get(external_id) else { return RowSet::default() };
        let days = dates(&(ask.since..=ask.until));
        let mut found: Vec<Found<'_>> = days.flat_map(|date| self.found(external_id, date, ask)).collect();
        // A stable sort: what one ad has on one day twice stays in its order.
        match self.mixed_days {
            true => found.sort_by_key(|row| row.place),
            false => found.sort_by_key(|row| (row.date, row.place)),
        }
        let mut by_day = BTreeMap::new();
        for row in &found {
            *by_day.entry(row.date).or_default() += 1;
        }
        let rows = found.iter().map(|Found { date, what, .. }| {
            let (ad, delivery) = match what {
                What::Raw(row) => return Cow::Borrowed(row.as_slice()),
                What::Ad(ad, delivery) => (Some(*ad), *delivery),
                What::Account(sum) => (None, sum),
            };
            Cow::Owned(Subject { external_id, account, ad, date: *date, delivery }.row(ask).into_bytes())
        });
        RowSet::new(rows).with_days(by_day)
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
            let row = sum.has_row().then(|| Found { place: place(None, date), date, what: What::Account(sum) });
            return row.into_iter().collect();
        }
        let raw = self.raw_rows.get(&(external_id.to_owned(), date));
        let is_raw = |ad: &Ad| raw.is_some_and(|raw| raw.iter().any(|row| row.ad_id == ad.id));
        let made = delivered.filter(|(ad, _)| !is_raw(ad)).map(|(ad, delivery)| Found {
            place: place(Some(&ad.id), date),
            date,
            what: What::Ad(ad, delivery),
        });
        let raw = raw.into_iter().flatten().map(|RawRow { ad_id, json }| Found {
            place: place(Some(ad_id), date),
            date,
            what: What::Raw(json),
        });
        made.chain(raw).collect()
    }
}

/// A row that is not rendered yet.
struct Found<'a> {
    /// Where it comes among the others.
    place: u64,
    date: NaiveDate,
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

impl Subject<'_> {
    fn row(&self, ask: &Ask) -> String {
        let fields =
            ask.fields.iter().map(String::as_str).filter(|field| !matches!(*field, "date_start" | "date_stop"));
        let mut members: Vec<String> =
            fields.filter_map(|field| Some(format!(r#""{field}":{}"#, self.field(field, &ask.windows)?))).collect();
        members.push(format!(r#""date_start":"{0}","date_stop":"{0}""#, self.date));
        format!("{{{}}}", members.join(","))
    }

    /// The JSON of a field; `None` where Meta leaves it out.
    fn field(&self, field: &str, windows: &[String]) -> Option<String> {
        let of_ad = |value: fn(&Ad) -> &str| self.ad.map(|ad| value(ad).to_owned());
        let quoted = |text: String| format!(r#""{text}""#);
        match field {
            "account_id" => Some(quoted(self.external_id.trim_start_matches("act_").into())),
            "account_name" => Some(self.account.name.json().into()),
            "account_currency" => Some(quoted(self.account.currency.clone())),
            "campaign_id" => of_ad(|ad| &ad.campaign_id).map(quoted),
            "campaign_name" => of_ad(|ad| ad.campaign_name.json()),
            "adset_id" => of_ad(|ad| &ad.adset_id).map(quoted),
            "adset_name" => of_ad(|ad| ad.adset_name.json()),
            "ad_id" => of_ad(|ad| &ad.id).map(quoted),
            "ad_name" => of_ad(|ad| ad.name.json()),
            "attribution_setting" => self.ad.map(|_| quoted("7d_click_1d_view".into())),
            "spend" => Some(quoted(self.delivery.spend.to_string())),
            "impressions" => Some(self.count(self.delivery.impressions)),
            "reach" => self.metric(self.delivery.reach),
            "clicks" => self.metric(self.delivery.clicks),
            "inline_link_clicks" => self.metric(self.delivery.link_clicks),
            "actions" => self.actions(windows, |sales| Decimal::from(sales.count), true),
            "action_values" => self.actions(windows, |sales| sales.value, false),
            _ => None,
        }
    }

    fn count(&self, count: u64) -> String {
        if self.ad.is_some_and(|ad| ad.bare_numbers) { count.to_string() } else { format!(r#""{count}""#) }
    }

    fn metric(&self, count: u64) -> Option<String> {
        (count > 0).then(|| self.count(count))
    }

    /// A list of overlapping action types; `None` when it is empty.
    fn actions(&self, windows: &[String], of: impl Fn(Sales) -> Decimal, with_clicks: bool) -> Option<String> {
        let mut entries = Vec::new();
        let clicks = self.delivery.link_clicks;
        if with_clicks && clicks > 0 {
            // Clicks happen at once: the same in every click window.
            for action_type in ["link_click", "post_engagement"] {
                let within = |window: &str| window.contains("click").then(|| clicks.into());
                entries.push(entry(action_type, clicks.into(), windows, within));
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
                entries.push(entry(action_type, value, windows, within));
            }
        }
        (!entries.is_empty()).then(|| format!("[{}]", entries.join(",")))
    }
}

fn entry(action_type: &str, value: Decimal, windows: &[String], within: impl Fn(&str) -> Option<Decimal>) -> String {
    let mut json = format!(r#"{{"action_type":"{action_type}","value":"{}""#, value.normalize());
    for window in windows {
        if let Some(value) = within(window).filter(|value| *value > Decimal::ZERO) {
            json += &format!(r#","{window}":"{}""#, value.normalize());
        }
    }
    json + "}"
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
