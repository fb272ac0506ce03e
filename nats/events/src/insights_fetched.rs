use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use cloudevents::{AttributesWriter, Event, EventBuilder, EventBuilderV10};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::INSIGHTS_FETCHED_V1;
use crate::headers;
use crate::payload::{self, Codec, Encoded, PayloadError};
use crate::subject::AccountDay;
use crate::upcast::Upcaster;

/// `adledger.meta.insights.fetched.v1`: everything Meta said about one ad account on one day, at one moment.
///
/// The data ([`InsightsData`]) holds what can be equal from one fetch to the next; what always differs (when, which
/// run, how many pages) are attributes of the event ([`Circumstances`]). So two equal answers have equal bytes.
#[derive(Debug)]
pub struct InsightsFetched {
    pub circumstances: Circumstances,
    pub day: AccountDay,
    /// The data as it travels.
    pub payload: Vec<u8>,
}

/// The attributes that differ at every fetch.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// CloudEvents `id`; a UUID.
    pub event_id: Uuid,
    /// CloudEvents `time`: the moment before the snapshot's first request, from the database's clock.
    pub fetched_at: DateTime<Utc>,
    /// Extension `runid`: the sync run that fetched; absent when another program published.
    pub run_id: Option<Uuid>,
    /// Extension `rowcount`: rows in the data.
    pub row_count: Option<i32>,
    /// Extension `pagecount`: answers of Meta's that the snapshot was read from.
    pub page_count: Option<i32>,
    /// Extension `datacodec`: `plain` when absent.
    pub codec: Codec,
    /// Extension `databytes`: size of the data before compression.
    pub uncompressed_bytes: Option<i64>,
    /// Extension `traceparent`: the span that the event was fetched in, in the W3C's form; absent when no traces are
    /// kept.
    pub traceparent: Option<String>,
    /// Of an event of another version than the newest: how its data becomes that of the newest.
    pub upcaster: Option<Upcaster>,
}

/// The data of `adledger.meta.insights.fetched.v1`: one ad account, one day, and every row Meta gave, as received.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct InsightsData<'a> {
    /// The tenant.
    pub account_id: Uuid,
    #[serde(borrow)]
    pub ad_account: AdAccount<'a>,
    /// The day, in the ad account's time zone.
    pub date: NaiveDate,
    #[serde(borrow)]
    pub request: Request<'a>,
    /// The unfiltered account-level total of the day; null when Meta was not asked or did not answer. Zeros mean that
    /// Meta was asked and has no delivery on that day.
    pub control: Option<ControlTotal>,
    /// Meta's rows, each the JSON it sent. Sorted by ad id; empty when Meta has none.
    #[serde(borrow)]
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub rows: Vec<&'a RawValue>,
}

/// The ad account as it was at the fetch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AdAccount<'a> {
    /// Its id in our tables.
    pub id: Uuid,
    /// Meta's id, `act_…`.
    pub external_id: Cow<'a, str>,
    /// ISO 4217 code of every amount in the rows.
    pub currency: Cow<'a, str>,
    /// IANA name; days are days of this zone.
    pub timezone_name: Cow<'a, str>,
}

/// What Meta was asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Request<'a> {
    pub api_version: Cow<'a, str>,
    pub fields: Vec<Cow<'a, str>>,
    /// The values of `ad.effective_status` that were asked for; null means every status.
    pub effective_status: Option<Vec<Cow<'a, str>>>,
    pub attribution_windows: Vec<Cow<'a, str>>,
}

/// The unfiltered account-level total of a day: the proof by which a missing ad is known to be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlTotal {
    /// In the ad account's currency, a decimal string.
    pub spend: String,
    pub impressions: i64,
}

impl InsightsFetched {
    /// Encodes the data and completes the circumstances with what only the encoder knows.
    ///
    /// `head` says all but the rows; rows that it holds itself are passed over. Each of `rows` is the JSON of one row
    /// as Meta sent it, possibly with bytes in its strings that are no UTF-8; they come in the order of their ad ids.
    /// The data goes straight into the payload, and is never in memory as a whole.
    pub fn new(
        event_id: Uuid,
        fetched_at: DateTime<Utc>,
        run_id: Option<Uuid>,
        page_count: i32,
        head: &InsightsData<'_>,
        rows: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> Result<Self, PayloadError> {
        let mut encoder = payload::Encoder::default();
        encoder.push(&head.before_rows()?)?;
        let mut row_count = 0;
        for row in rows {
            if row_count > 0 {
                encoder.push(b",")?;
            }
            encoder.push(row.as_ref())?;
            row_count += 1;
        }
        encoder.push(AFTER_ROWS)?;
        let Encoded { codec, payload, uncompressed_bytes } = encoder.finish()?;
        Ok(InsightsFetched {
            circumstances: Circumstances {
                event_id,
                fetched_at,
                run_id,
                row_count: Some(row_count),
                page_count: Some(page_count),
                codec,
                uncompressed_bytes: i64::try_from(uncompressed_bytes).ok(),
                traceparent: None,
                upcaster: None,
            },
            day: AccountDay { account_id: head.account_id, ad_account_id: head.ad_account.id, date: head.date },
            payload,
        })
    }

    /// The event's attributes as a CloudEvent without data: the payload travels beside it, uncopied.
    pub fn attributes(&self) -> Result<Event, cloudevents::event::EventBuilderError> {
        let c = &self.circumstances;
        let mut builder = EventBuilderV10::new()
            .id(c.event_id.to_string())
            .source("urn:adledger:insights")
            .ty(INSIGHTS_FETCHED_V1)
            .subject(format!("{}/{}", self.day.ad_account_id, self.day.date))
            .time(c.fetched_at)
            .extension(headers::DATACODEC, c.codec.to_string());
        if let Some(run_id) = c.run_id {
            builder = builder.extension("runid", run_id.to_string());
        }
        if let Some(traceparent) = &c.traceparent {
            builder = builder.extension(headers::TRACEPARENT, traceparent.clone());
        }
        for (name, value) in [
            ("rowcount", c.row_count.map(i64::from)),
            ("pagecount", c.page_count.map(i64::from)),
            ("databytes", c.uncompressed_bytes),
        ] {
            if let Some(value) = value {
                builder = builder.extension(name, value);
            }
        }
        let mut event = builder.build()?;
        // The media type of the data once `datacodec` is undone.
        event.set_datacontenttype(Some("application/json"));
        Ok(event)
    }
}

impl InsightsData<'_> {
    /// The JSON of each row, for [`InsightsFetched::new`].
    pub fn row_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.iter().map(|row| row.get().as_bytes())
    }

    /// The JSON of the data up to its first row.
    fn before_rows(&self) -> Result<Vec<u8>, PayloadError> {
        let head = InsightsData {
            account_id: self.account_id,
            ad_account: self.ad_account.clone(),
            date: self.date,
            request: self.request.clone(),
            control: self.control.clone(),
            rows: Vec::new(),
        };
        let mut json = serde_json::to_vec(&head).map_err(PayloadError::Json)?;
        // The rows are the last part: see the test that holds this against the whole, written at once.
        json.truncate(json.len() - AFTER_ROWS.len());
        Ok(json)
    }
}

/// What closes the data after its last row.
const AFTER_ROWS: &[u8] = b"]}";

/// The JSON Schema of the data.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(InsightsData<'static>);
    schema.insert("$id".into(), INSIGHTS_FETCHED_V1.into());
    schema.to_value()
}
