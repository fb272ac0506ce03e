//! An event, decoded: what one answer of Meta's said.

use std::collections::BTreeMap;

use chrono::Duration;
use chrono_tz::Tz;
use events::payload::{self, PayloadError};
use events::{InsightsData, Parts, PartsError, Version};
use logs::Logged;
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::json::{self, Object};
use crate::rule::{AdAccount, Purchases, Rule};

/// Data that does not come in parts is read as a whole up to this size.
const MOST_AT_ONCE_BYTES: u64 = 64 << 20;
const MOST_ID_BYTES: usize = 200;

#[derive(Debug)]
pub struct Snapshot {
    pub version: Version,
    /// sha256 of the decompressed data.
    pub content: [u8; 32],
    pub currency: String,
    pub age_days: i64,
    /// The unfiltered total: spend and impressions.
    pub control: Option<(Decimal, i64)>,
    pub status_filter: Option<String>,
    pub windows: Vec<String>,
    /// Whether the purchases are known: the rule's window was asked for.
    pub known: bool,
    /// How many ads it has, and the sums over its own rows.
    pub ads: usize,
    pub spend: Option<Decimal>,
    pub impressions: Option<i64>,
    pub purchases: Option<Decimal>,
    pub purchase_value: Option<Decimal>,
    /// Whether it proves that what it does not contain is gone: its own rows are all that the unfiltered total counts.
    pub proof: bool,
}

/// One ad's row.
#[derive(Debug, Default, Clone)]
pub struct Ad {
    /// The ids of ad set and campaign, and the names of ad, ad set and campaign.
    pub names: [Option<String>; 5],
    pub spend: Option<Decimal>,
    pub impressions: Option<i64>,
    pub clicks: Option<i64>,
    pub link_clicks: Option<i64>,
    pub sold: Purchases,
}

/// What an event says of itself is before its rows, so it is the same in every part.
struct Head {
    currency: String,
    zone: Tz,
    control: Option<(Decimal, i64)>,
    status_filter: Option<String>,
    windows: Vec<String>,
}

/// Why an event counts for nothing, in words.
#[derive(Debug, Clone)]
pub enum Unusable {
    /// Its data cannot be read: it came so, or was damaged since.
    Illegible(String),
    /// It must not be in the tables.
    Refused(String),
}

impl Unusable {
    pub fn reason(&self) -> &str {
        match self {
            Unusable::Illegible(reason) | Unusable::Refused(reason) => reason,
        }
    }
}

impl Snapshot {
    /// Reads an event by the rule of its ad account, and its rows by ad.
    /// `come_true`: it is in the tables, so that its time has come, whenever the stream stored this copy.
    pub fn read(
        logged: &Logged,
        ad_account: Option<&AdAccount>,
        come_true: bool,
        limit_bytes: u64,
    ) -> Result<(Self, BTreeMap<String, Ad>), Unusable> {
        let refused = |reason| Err(Unusable::Refused(reason));
        let (fetched_at, stored_at) = (logged.circumstances.fetched_at, logged.stored_at);
        if fetched_at > stored_at + Duration::minutes(2) && !come_true {
            return refused(format!("it is from the future: fetched at {fetched_at}, and stored at {stored_at}"));
        }
        let Some(AdAccount { currency, rule }) = ad_account else {
            return refused(format!("ad account {} is not known", logged.day.ad_account_id));
        };
        let (head, rows, content) = data(logged, rule, limit_bytes).map_err(Unusable::Illegible)?;
        if head.currency != *currency {
            return refused(format!("it is in {}, and the tenant's currency is {currency}", head.currency));
        }
        let mut ads = BTreeMap::new();
        for (ad_id, ad) in rows {
            let ad = ad.map_err(|reason| Unusable::Refused(format!("ad {ad_id}: {reason}")))?;
            ads.insert(ad_id, ad);
        }
        let (known, none) = (rule.is_known(&head.windows), ads.is_empty());
        let spend = sum(ads.values().map(|ad| ad.spend), none, Decimal::ZERO);
        let impressions = sum(ads.values().map(|ad| ad.impressions), none, 0);
        let snapshot = Snapshot {
            version: logged.circumstances.version(),
            content,
            age_days: (fetched_at.with_timezone(&head.zone).date_naive() - logged.day.date).num_days(),
            currency: head.currency,
            control: head.control,
            status_filter: head.status_filter,
            windows: head.windows,
            known,
            ads: ads.len(),
            spend,
            impressions,
            purchases: sum(ads.values().map(|ad| ad.sold.count), none && known, Decimal::ZERO),
            purchase_value: sum(ads.values().map(|ad| ad.sold.value), none && known, Decimal::ZERO),
            proof: head.control.is_some_and(|total| (spend, impressions) == (Some(total.0), Some(total.1))),
        };
        Ok((snapshot, ads))
    }
}

/// The sum of what is known. Where there is nothing to sum, it is `zero`.
pub fn sum<T: std::ops::Add<Output = T>>(all: impl Iterator<Item = Option<T>>, is_empty: bool, zero: T) -> Option<T> {
    all.flatten().reduce(|a, b| a + b).or(is_empty.then_some(zero))
}

/// The rows by ad: where an ad has several, the last one counts, whatever is wrong with those before it.
type Rows = BTreeMap<String, Result<Ad, String>>;

fn data(logged: &Logged, rule: &Rule, limit_bytes: u64) -> Result<(Head, Rows, [u8; 32]), String> {
    let codec = logged.circumstances.codec;
    let in_parts = || {
        let mut rows = Rows::new();
        let mut head = None;
        let parts = Parts::new(codec, &logged.payload, limit_bytes).map_err(PartsError::from)?;
        let mut parts = parts.upcast(logged.circumstances.upcaster);
        while let Some(part) = parts.next_part()? {
            let of_part = part_of(logged, rule, &payload::text(part), &mut rows);
            match of_part {
                Ok(of_part) => head = head.or(Some(of_part)),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let head = head.ok_or(PartsError::NotInParts)?;
        Ok(Ok((head, rows, parts.sha256())))
    };
    match in_parts() {
        Ok(read) => read,
        Err(PartsError::NotInParts) if logged.circumstances.upcaster.is_none() => {
            let whole = payload::decode(codec, &logged.payload, limit_bytes.min(MOST_AT_ONCE_BYTES));
            let whole = whole.map_err(|e: PayloadError| e.to_string())?;
            let mut rows = Rows::new();
            let head = part_of(logged, rule, &payload::text(&whole), &mut rows)?;
            Ok((head, rows, Sha256::digest(&whole).into()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn part_of(logged: &Logged, rule: &Rule, json: &str, rows: &mut Rows) -> Result<Head, String> {
    let data = InsightsData::parse(json.as_bytes(), &logged.day).map_err(|e| e.to_string())?;
    let strings = |all: &[std::borrow::Cow<'_, str>]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let zone = &data.ad_account.timezone_name;
    let control = match &data.control {
        None => None,
        Some(total) => {
            let spend = Decimal::from_str_exact(&total.spend).map_err(|e| format!("control total: {e}"))?;
            if spend.abs() >= Decimal::from(1_000_000_i64) * Decimal::from(996_000_000_000_000_i64) {
                return Err("control total: it is larger than any amount".to_owned());
            }
            Some((spend, total.impressions))
        }
    };
    let words = data.request.effective_status.iter().chain([&data.request.attribution_windows]).flatten();
    if let Some(word) = words.into_iter().find(|word| word.contains('\0')) {
        return Err(format!("the request's {word:?} holds a character that PostgreSQL's text does not take"));
    }
    let head = Head {
        currency: data.ad_account.currency.to_string(),
        zone: zone.parse().map_err(|_| format!("time zone {zone} is not known"))?,
        control,
        status_filter: data.request.effective_status.as_deref().map(|all| strings(all).join(",")),
        windows: strings(&data.request.attribution_windows),
    };
    for row in &data.rows {
        let object = Object::read(row)?;
        let ad_id = object.get("ad_id")?.and_then(json::text).ok_or("a row has no ad id")?;
        let ad = ad(&ad_id, &object, &head, rule);
        rows.insert(ad_id, ad);
    }
    Ok(head)
}

fn ad(ad_id: &str, row: &Object<'_>, head: &Head, rule: &Rule) -> Result<Ad, String> {
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if ad_id.is_empty() || ad_id.len() > MOST_ID_BYTES || !ad_id.chars().all(is_id) {
        return Err(format!("{ad_id:?} is no id"));
    }
    if let Some(currency) = row.get("account_currency")? {
        let currency = json::text(currency).ok_or("its currency is no text")?;
        if !currency.is_empty() && currency != head.currency {
            return Err(format!("its currency is {currency}, and the event's {}", head.currency));
        }
    }
    let name = |field: &str| Ok::<_, String>(row.get(field)?.map(|raw: &RawValue| json::name(raw)));
    let sold = rule.purchases(row)?;
    Ok(Ad {
        names: [name("adset_id")?, name("campaign_id")?, name("ad_name")?, name("adset_name")?, name("campaign_name")?],
        spend: json::amount(row.get("spend")?)?,
        impressions: json::count(row.get("impressions")?)?,
        clicks: json::count(row.get("clicks")?)?,
        link_clicks: json::count(row.get("inline_link_clicks")?)?,
        sold: if rule.is_known(&head.windows) { sold } else { Purchases::default() },
    })
}
