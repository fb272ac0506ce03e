//! The events: five ad accounts, thirty days or as many as are asked for, a thousand ads each, in rows like Meta's; made one event at a time.

use std::fmt::Write as _;
use std::sync::OnceLock;

use anyhow::Result;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use events::subject::AccountDay;
use events::{AdAccount, ControlTotal, InsightsData, InsightsFetched, Request};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use testkit::history::{Random, first_day};
use uuid::Uuid;

pub const AD_ACCOUNTS: u64 = 5;
pub const ADS: u64 = 1000;

static DAYS: OnceLock<u64> = OnceLock::new();

/// Says how many days there are, before anybody asks.
pub fn set_days(days: u64) {
    let _ = DAYS.set(days);
}

pub fn days() -> u64 {
    *DAYS.get_or_init(|| 30)
}

pub fn events() -> u64 {
    AD_ACCOUNTS * days()
}

pub fn rows() -> u64 {
    events() * ADS
}

const TENANT: Uuid = Uuid::from_u128(1);
const WINDOWS: [&str; 3] = ["1d_click", "7d_click", "1d_view"];

/// Meta says everything twice, and each row's numbers are others the second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    Older,
    Newer,
}

/// What an event weighs, and what its rows sum to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Weight {
    pub spend_cents: i64,
    pub row_bytes: usize,
    pub payload_bytes: usize,
}

/// The last report day.
pub fn last_day() -> NaiveDate {
    first_day() + Duration::days(days() as i64 - 1)
}

/// Event `number` with the numbers of one generation under the identity of one: its id and its time.
pub fn event(number: u64, numbers: Generation, identity: Generation) -> Result<(InsightsFetched, Weight)> {
    let (ad_account, day) = (number / days(), number % days());
    let date = first_day() + Duration::days(day as i64);
    let mut weight = Weight::default();
    let mut impressions = 0;
    let mut rows = Vec::with_capacity(ADS as usize);
    for ad in 0..ADS {
        let numbers = Numbers::of(number, ad, numbers);
        weight.spend_cents += numbers.spend_cents;
        impressions += numbers.impressions;
        let row = row(ad_account, ad, date, &numbers);
        weight.row_bytes += row.len();
        rows.push(RawValue::from_string(row)?);
    }
    let data = InsightsData {
        account_id: TENANT,
        ad_account: AdAccount {
            id: ad_account_id(ad_account),
            external_id: format!("act_{}", 735_200_118_400_000 + ad_account).into(),
            currency: "USD".into(),
            timezone_name: "America/New_York".into(),
        },
        date,
        request: Request {
            api_version: "v25.0".into(),
            fields: ["ad_id", "ad_name", "spend", "impressions", "actions", "action_values"].map(Into::into).into(),
            effective_status: Some(["ACTIVE", "PAUSED"].map(Into::into).into()),
            attribution_windows: WINDOWS.map(Into::into).into(),
        },
        control: Some(ControlTotal { spend: cents(weight.spend_cents), impressions }),
        rows: rows.iter().map(|row| &**row).collect(),
    };
    let event_id = Uuid::from_u128((u128::from(identity as u8 + 1) << 64) | u128::from(number));
    let event = InsightsFetched::new(event_id, fetched_at(identity), None, 2, &data, data.row_bytes())?;
    weight.payload_bytes = event.payload.len();
    Ok((event, weight))
}

/// Newer is later.
pub fn fetched_at(generation: Generation) -> DateTime<Utc> {
    let settled = last_day() + Duration::days(40 + generation as i64);
    settled.and_hms_opt(6, 0, 0).unwrap_or_default().and_utc()
}

fn ad_account_id(number: u64) -> Uuid {
    Uuid::from_u128(0xad00 + u128::from(number))
}

/// The tenant and its ad accounts, which the fold expects to be there.
pub async fn insert_tenant(pool: &PgPool) -> Result<()> {
    sqlx::query("insert into accounts (id, name, currency, timezone) values ($1, 'Shop', 'USD', 'America/New_York')")
        .bind(TENANT)
        .execute(pool)
        .await?;
    for number in 0..AD_ACCOUNTS {
        sqlx::query(
            "insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
             values ($1, $2, 'meta', $3, 'Ad account', 'USD', 'America/New_York', 'active')",
        )
        .bind(TENANT)
        .bind(ad_account_id(number))
        .bind(format!("act_{number}"))
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// Appends an event to the raw log, as its consumer does.
pub async fn append(pool: &PgPool, sequence: u64, event: &InsightsFetched) -> Result<()> {
    let AccountDay { account_id, ad_account_id, date } = event.day;
    let sha256 = Sha256::digest(&event.payload).to_vec();
    let headers: serde_json::Map<_, _> =
        events::headers::to_pairs(&event.attributes()?).into_iter().map(|(name, value)| (name, value.into())).collect();
    sqlx::query("insert into meta_payloads (account_id, payload_sha256, payload) values ($1, $2, $3)")
        .bind(account_id)
        .bind(&sha256)
        .bind(&event.payload)
        .execute(pool)
        .await?;
    sqlx::query(
        "insert into meta_insights_raw (account_id, ad_account_id, date, event_id, fetched_at, stored_at,
             stream_incarnation, stream_sequence, row_count, codec, uncompressed_bytes, payload_sha256, headers)
         values ($1, $2, $3, $4, $5, $5, 'epoch', $6, $7, $8, $9, $10, $11)",
    )
    .bind(account_id)
    .bind(ad_account_id)
    .bind(date)
    .bind(event.circumstances.event_id)
    .bind(event.circumstances.fetched_at)
    .bind(i64::try_from(sequence)?)
    .bind(event.circumstances.row_count)
    .bind(event.circumstances.codec.to_string())
    .bind(event.circumstances.uncompressed_bytes)
    .bind(sha256)
    .bind(serde_json::Value::Object(headers))
    .execute(pool)
    .await?;
    Ok(())
}

struct Numbers {
    spend_cents: i64,
    impressions: i64,
    clicks: i64,
    /// Counts of the actions besides purchases, in the order of [`ACTIONS`].
    actions: [i64; ACTIONS.len()],
    purchases: i64,
    value_cents: i64,
    /// Where the shares of the windows begin.
    seed: u64,
}

const ACTIONS: [&str; 7] = [
    "link_click",
    "post_engagement",
    "page_engagement",
    "landing_page_view",
    "omni_view_content",
    "omni_add_to_cart",
    "offsite_conversion.fb_pixel_initiate_checkout",
];

const PURCHASES: [&str; 4] =
    ["purchase", "omni_purchase", "offsite_conversion.fb_pixel_purchase", "onsite_web_app_purchase"];

impl Numbers {
    fn of(event: u64, ad: u64, generation: Generation) -> Self {
        let mut random = Random::new((event * ADS + ad) * 2 + generation as u64);
        let mut below = |n: u64| random.below(n) as i64;
        let clicks = 3 + below(400);
        // Three ads in four sell.
        let purchases = (1 + below(40)) * below(4).min(1);
        Numbers {
            spend_cents: 500 + below(60_000),
            impressions: 1_000 + below(80_000),
            clicks,
            actions: std::array::from_fn(|n| 1 + below(1 + clicks as u64 / (n as u64 + 1))),
            purchases,
            value_cents: purchases * (1_999 + below(9_000)),
            seed: below(1 << 40) as u64,
        }
    }
}

/// A row as Meta sends it: numbers are strings, ids have 18 digits, lists repeat each action in its windows.
fn row(ad_account: u64, ad: u64, date: NaiveDate, n: &Numbers) -> String {
    let id = |kind: u64, number: u64| {
        120_210_000_000_000_000 + ad_account * 1_000_000_007 + kind * 70_000_000 + number * 10_007
    };
    let (adset, campaign) = (ad / 5, ad / 40);
    let mut row = format!(
        r#"{{"account_currency":"USD","campaign_id":"{}","campaign_name":"Prospecting | US | Broad | Campaign {campaign:03}","adset_id":"{}","adset_name":"Broad 25-54 | Advantage+ placements | Set {adset:03}","ad_id":"{}","ad_name":"Video 9:16 | Hook {} | Caf\u00e9 edition | v{ad:04}","spend":"{}","impressions":"{}","clicks":"{}","inline_link_clicks":"{}""#,
        id(1, campaign),
        id(2, adset),
        id(3, ad),
        ad % 17,
        cents(n.spend_cents),
        n.impressions,
        n.clicks,
        n.actions[0],
    );
    let mut random = Random::new(n.seed);
    let counts = ACTIONS.iter().zip(n.actions).chain(PURCHASES.iter().map(|name| (name, n.purchases)));
    list(&mut row, &mut random, "actions", counts, |count| count.to_string());
    list(&mut row, &mut random, "action_values", PURCHASES.iter().map(|name| (name, n.value_cents)), cents);
    // Writing into a String does not fail.
    let _ = write!(row, r#","date_start":"{date}","date_stop":"{date}"}}"#);
    row
}

/// A list of actions, each with its share in every window; left out when it would be empty, as Meta does.
fn list<'a>(
    row: &mut String,
    random: &mut Random,
    name: &str,
    of: impl Iterator<Item = (&'a &'a str, i64)>,
    text: fn(i64) -> String,
) {
    let mut open = false;
    for (action_type, value) in of.filter(|(_, value)| *value > 0) {
        row.push_str(if open { "," } else { "" });
        if !open {
            let _ = write!(row, r#","{name}":["#);
            open = true;
        }
        let _ = write!(row, r#"{{"action_type":"{action_type}","value":"{}""#, text(value));
        for window in WINDOWS {
            let within = value * random.below(10) as i64 / 10;
            if within > 0 {
                let _ = write!(row, r#","{window}":"{}""#, text(within));
            }
        }
        row.push('}');
    }
    row.push_str(if open { "]" } else { "" });
}

fn cents(n: i64) -> String {
    format!("{}.{:02}", n / 100, n % 100)
}
