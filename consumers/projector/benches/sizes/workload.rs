//! Large account-days, made row by row: three names of 400 characters, actions in every window as Meta sends them.

use std::fmt::Write as _;

use anyhow::Result;
use chrono::{Duration, NaiveDate};
use events::{AdAccount, ControlTotal, InsightsData, InsightsFetched, Request};
use sqlx::PgPool;
use testkit::history::{Random, first_day};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);
const WINDOWS: [&str; 3] = ["1d_click", "7d_click", "1d_view"];
/// Characters of a name.
const NAME_CHARS: usize = 400;
const ACTIONS: [&str; 14] = [
    "link_click",
    "post_engagement",
    "page_engagement",
    "landing_page_view",
    "view_content",
    "add_to_cart",
    "initiate_checkout",
    "video_view",
    "omni_view_content",
    "omni_add_to_cart",
    "omni_initiated_checkout",
    "purchase",
    "omni_purchase",
    "offsite_conversion.fb_pixel_purchase",
];

/// What names are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// A byte a character.
    Latin,
    /// Six bytes a character: Meta escapes what is not ASCII.
    Escaped,
}

/// How many of what.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub ad_accounts: u64,
    pub days: u64,
    pub ads: u64,
    pub script: Script,
}

impl Load {
    pub fn events(self) -> impl Iterator<Item = (u64, NaiveDate)> {
        let days = (0..self.days).map(|day| first_day() + Duration::days(day as i64));
        days.flat_map(move |date| (0..self.ad_accounts).map(move |ad_account| (ad_account, date)))
    }

    /// The event of one day; its rows exist one at a time.
    pub fn event(self, ad_account: u64, date: NaiveDate) -> Result<InsightsFetched> {
        let head = InsightsData {
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
            control: Some(ControlTotal { spend: self.spend(), impressions: i64::try_from(self.ads)? * 1000 }),
            rows: Vec::new(),
        };
        let fetched_at = (first_day() + Duration::days(60)).and_hms_opt(6, 0, 0).unwrap_or_default().and_utc();
        let rows = (0..self.ads).map(|ad| self.row(ad_account, ad, date));
        Ok(InsightsFetched::new(Uuid::now_v7(), fetched_at, None, 40, &head, rows)?)
    }

    /// What a day's rows sum to.
    pub fn spend(self) -> String {
        format!("{}.00", self.ads * 3)
    }

    fn row(self, ad_account: u64, ad: u64, date: NaiveDate) -> String {
        let mut random = Random::new((ad_account << 40) | (ad << 8) | u64::from(date.to_string().as_bytes()[9]));
        let mut row = format!(
            r#"{{"account_id":"{}","account_currency":"USD","ad_id":"{}","adset_id":"{}","campaign_id":"{}""#,
            735_200_118_400_000 + ad_account,
            120_210_000_000_000_000_u64 + ad_account * 1_000_000 + ad,
            120_220_000_000_000_000_u64 + ad / 4,
            120_230_000_000_000_000_u64 + ad / 40,
        );
        for (name, of) in [("ad_name", ad), ("adset_name", ad / 4), ("campaign_name", ad / 40)] {
            let _ = write!(row, r#","{name}":"{}""#, self.name(of, name.len() as u64));
        }
        let _ = write!(
            row,
            r#","spend":"3.00","impressions":"1000","reach":"{}","clicks":"{}","inline_link_clicks":"{}","cpm":"{}.{:06}""#,
            random.below(1000),
            random.below(90),
            random.below(60),
            random.below(40),
            random.below(1_000_000),
        );
        for list in ["actions", "action_values"] {
            let _ = write!(row, r#","{list}":["#);
            for (number, action) in ACTIONS.iter().enumerate().filter(|(n, _)| list == "actions" || *n >= 4) {
                let (value, comma) = (random.below(500), if row.ends_with('[') { "" } else { "," });
                let _ = write!(row, r#"{comma}{{"action_type":"{action}","value":"{value}""#);
                for (part, window) in (2..).zip(WINDOWS) {
                    let _ = write!(row, r#","{window}":"{}""#, value / part + number as u64 % 3);
                }
                row.push('}');
            }
            row.push(']');
        }
        let _ = write!(row, r#","date_start":"{date}","date_stop":"{date}"}}"#);
        row
    }

    /// Words that are not said again soon.
    fn name(self, of: u64, salt: u64) -> String {
        let mut random = Random::new(of.wrapping_mul(31).wrapping_add(salt));
        let (mut name, mut chars) = (String::new(), 0);
        while chars < NAME_CHARS {
            let letters = (3 + random.below(7)).min((NAME_CHARS - chars) as u64);
            for _ in 0..letters {
                match self.script {
                    Script::Latin => name.push(char::from(b'a' + random.below(26) as u8)),
                    Script::Escaped => drop(write!(name, "\\u{:04x}", 0x0430 + random.below(32))),
                }
            }
            chars += letters as usize;
            if chars < NAME_CHARS {
                name.push(' ');
                chars += 1;
            }
        }
        name
    }
}

fn ad_account_id(number: u64) -> Uuid {
    Uuid::from_u128(0xad00 + u128::from(number))
}

/// The tenant and its ad accounts, which the fold expects to be there.
pub async fn insert_tenant(pool: &PgPool, ad_accounts: u64) -> Result<()> {
    sqlx::query("insert into accounts (id, name, currency, timezone) values ($1, 'Shop', 'USD', 'America/New_York')")
        .bind(TENANT)
        .execute(pool)
        .await?;
    for number in 0..ad_accounts {
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
