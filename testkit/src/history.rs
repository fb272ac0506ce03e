//! Random histories: what Meta may say about a few ad accounts over a few days, asked again and again.

use anyhow::Result;
use bytes::Bytes;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use events::{AdAccount, ControlTotal, InsightsData, InsightsFetched, Request};
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

/// A small generator of its own (splitmix64): a seed gives the same history on every machine and for ever.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    #[expect(clippy::should_implement_trait, reason = "an iterator without an end would be a trap")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    pub fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(((u128::from(self.next()) << 64) | u128::from(self.next())).to_be_bytes())
            .into_uuid()
    }
}

/// One ad's numbers in one answer, in cents and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ad {
    pub ad_id: u64,
    pub spend_cents: i64,
    pub impressions: i64,
    pub clicks: i64,
    /// The entries of `actions`, which count.
    pub actions: Vec<Said>,
    /// The entries of `action_values`, in cents.
    pub values: Vec<Said>,
}

/// One entry of a list of actions: the number at `value`, and those at the windows that were asked for and are not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub action_type: String,
    pub number: i64,
    pub windows: Vec<(String, i64)>,
}

/// One answer of Meta's.
#[derive(Debug, Clone)]
pub struct Answer {
    pub account_id: Uuid,
    pub ad_account_id: Uuid,
    pub date: NaiveDate,
    pub event_id: Uuid,
    pub fetched_at: DateTime<Utc>,
    pub ads: Vec<Ad>,
    /// `(spend in cents, impressions)`.
    pub control: Option<(i64, i64)>,
    /// The attribution windows that were asked for.
    pub windows: Vec<String>,
}

/// The windows of which Meta knows something in these histories.
const WINDOWS: [&str; 3] = ["1d_click", "7d_click", "1d_view"];

/// A history: its tenants with their ad accounts, and every answer.
#[derive(Debug)]
pub struct History {
    pub tenants: Vec<(Uuid, Vec<Uuid>)>,
    pub answers: Vec<Answer>,
}

/// The first of the days that histories speak of.
pub fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, 1).unwrap_or_default()
}

/// How many days a history speaks of.
pub const DAYS: u64 = 3;

impl History {
    /// Restatements, vanishing and returning ads, narrower filters, empty answers, unchanged answers, equal instants.
    pub fn random(random: &mut Random) -> Self {
        let tenants: Vec<(Uuid, Vec<Uuid>)> =
            (0..2).map(|_| (random.uuid(), (0..2 + random.below(2)).map(|_| random.uuid()).collect())).collect();
        let mut answers = Vec::new();
        for (account_id, ad_accounts) in &tenants {
            for ad_account_id in ad_accounts {
                for day in 0..DAYS {
                    let date = first_day() + Duration::days(day as i64);
                    answers.extend(day_of_answers(random, *account_id, *ad_account_id, date));
                }
            }
        }
        History { tenants, answers }
    }

    /// Inserts the tenants, ad accounts and integrations, which the fold expects to be there. An integration has the id of its
    /// ad account.
    pub async fn insert_tenants(&self, pool: &PgPool) -> Result<()> {
        for (account_id, ad_accounts) in &self.tenants {
            sqlx::query("insert into accounts (id, name, currency, timezone) values ($1, 'Tenant', 'USD', 'UTC')")
                .bind(account_id)
                .execute(pool)
                .await?;
            for ad_account_id in ad_accounts {
                sqlx::query(
                    "insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
                     values ($1, $2, 'meta', $3, 'Ad account', 'USD', 'UTC', 'active')",
                )
                .bind(account_id)
                .bind(ad_account_id)
                .bind(format!("act_{}", ad_account_id.simple()))
                .execute(pool)
                .await?;
                sqlx::query(
                    "insert into integrations (account_id, id, ad_account_id, type, source, status)
                     values ($1, $2, $2, 'meta', 'meta', 'connected')",
                )
                .bind(account_id)
                .bind(ad_account_id)
                .execute(pool)
                .await?;
            }
        }
        Ok(())
    }
}

fn day_of_answers(random: &mut Random, account_id: Uuid, ad_account_id: Uuid, date: NaiveDate) -> Vec<Answer> {
    // What is true at Meta on this day; answers show it through a filter, and it changes between them.
    let mut truth: Vec<Ad> = (0..random.below(5)).map(|n| ad(random, 100 + n)).collect();
    let mut fetched_at = date.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc() + Duration::days(1);
    let mut answers: Vec<Answer> = Vec::new();
    for _ in 0..1 + random.below(6) {
        // Two answers of one instant are told apart by their event ids.
        if !random.one_in(5) {
            fetched_at += Duration::hours(1 + random.below(100) as i64);
        }
        match random.below(5) {
            0 => truth.iter_mut().for_each(|a| *a = ad(random, a.ad_id)),
            1 if !truth.is_empty() => {
                truth.remove(random.below(truth.len() as u64) as usize);
            }
            2 => {
                let next = 100 + random.below(8);
                if truth.iter().all(|a| a.ad_id != next) {
                    truth.push(ad(random, next));
                }
            }
            _ => {}
        }
        let mut ads = truth.clone();
        match random.below(6) {
            0 => ads.clear(),
            1 | 2 => ads.retain(|_| !random.one_in(2)),
            _ => {}
        }
        ads.sort_by_key(|a| a.ad_id);
        let total = (truth.iter().map(|a| a.spend_cents).sum(), truth.iter().map(|a| a.impressions).sum());
        let control = (!random.one_in(4)).then_some(total);
        // The setting changes now and then, and Meta says nothing of a window that is empty.
        let windows: Vec<String> =
            WINDOWS.iter().filter(|_| !random.one_in(3)).map(|window| (*window).to_owned()).collect();
        for said in ads.iter_mut().flat_map(|ad| ad.actions.iter_mut().chain(&mut ad.values)) {
            said.windows.retain(|(window, number)| *number > 0 && windows.contains(window));
        }
        let event_id = random.uuid();
        answers.push(Answer { account_id, ad_account_id, date, event_id, fetched_at, ads, control, windows });
    }
    answers
}

fn ad(random: &mut Random, ad_id: u64) -> Ad {
    let (mut actions, mut values) = (Vec::new(), Vec::new());
    for action_type in ["purchase", "lead", "onsite_conversion.purchase", "omni_purchase", "add_to_cart"] {
        if random.one_in(3) {
            continue;
        }
        let said = |random: &mut Random, most: u64| Said {
            action_type: action_type.to_owned(),
            number: random.below(most) as i64,
            windows: WINDOWS.iter().map(|window| ((*window).to_owned(), random.below(most) as i64)).collect(),
        };
        actions.push(said(random, 4));
        if !random.one_in(4) {
            values.push(said(random, 3000));
        }
    }
    Ad {
        ad_id,
        spend_cents: random.below(100_000) as i64,
        impressions: random.below(10_000) as i64,
        clicks: random.below(500) as i64,
        actions,
        values,
    }
}

impl Answer {
    /// The event of this answer, its rows in Meta's form.
    pub fn event(&self) -> Result<InsightsFetched> {
        let rows: Vec<Box<RawValue>> = self
            .ads
            .iter()
            .map(|ad| Ok(RawValue::from_string(row(ad, self.date).to_string())?))
            .collect::<Result<_>>()?;
        let data = InsightsData {
            account_id: self.account_id,
            ad_account: AdAccount {
                id: self.ad_account_id,
                external_id: "act_1".into(),
                currency: "USD".into(),
                timezone_name: "UTC".into(),
            },
            date: self.date,
            request: Request {
                api_version: "v25.0".into(),
                fields: vec!["ad_id".into(), "spend".into()],
                effective_status: Some(vec!["ACTIVE".into(), "PAUSED".into()]),
                attribution_windows: self.windows.iter().map(|window| window.as_str().into()).collect(),
            },
            control: self.control.map(|(spend, impressions)| ControlTotal { spend: cents(spend), impressions }),
            rows: rows.iter().map(|row| &**row).collect(),
        };
        Ok(InsightsFetched::new(self.event_id, self.fetched_at, None, 1, &data, data.row_bytes())?)
    }

    /// Publishes the event.
    pub async fn publish(&self, wire: &jetstream::Wire) -> Result<()> {
        let event = self.event()?;
        let attributes = event.attributes()?;
        wire.publish(&event.day.subject(), &attributes, Bytes::from(event.payload)).await?;
        Ok(())
    }
}

fn cents(n: i64) -> String {
    format!("{}.{:02}", n / 100, n % 100)
}

fn row(ad: &Ad, date: NaiveDate) -> serde_json::Value {
    let mut row = serde_json::json!({
        "ad_id": ad.ad_id.to_string(), "ad_name": format!("Ad {}", ad.ad_id), "adset_id": "20", "campaign_id": "30",
        "account_currency": "USD", "date_start": date, "date_stop": date,
        "spend": cents(ad.spend_cents), "impressions": ad.impressions.to_string(), "clicks": ad.clicks.to_string(),
    });
    for (field, list, text) in
        [("actions", &ad.actions, i64::to_string as fn(&i64) -> String), ("action_values", &ad.values, |n| cents(*n))]
    {
        let entry = |said: &Said| {
            let mut entry = serde_json::json!({"action_type": said.action_type, "value": text(&said.number)});
            said.windows.iter().for_each(|(window, number)| entry[window] = text(number).into());
            entry
        };
        if !list.is_empty() {
            row[field] = list.iter().map(entry).collect();
        }
    }
    row
}
