use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use chrono::{DateTime, Utc};
use cloudevents::AttributesReader;
use events::subject::AccountDay;
use events::{DailySummaryChanged, InsightsData, headers, open_insights, payload};
use rust_decimal::Decimal;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use ::jetstream::{DEAD_LETTERS, META_CONNECT, META_INSIGHTS, WAREHOUSE};

use crate::history::{Ad, Answer, Said};

/// What is in the streams when a history is over, read past everything that the product reads with but the contract.
#[derive(Debug, Default)]
pub struct Streams {
    pub insights: Vec<Event>,
    /// Source and id of each event of a connection.
    pub connections: Vec<(String, String)>,
    /// What was announced of the tenants' days.
    pub changes: Vec<DailySummaryChanged>,
    /// Why something was parked.
    pub dead_letters: Vec<String>,
}

/// An insights event as the stream has it.
#[derive(Debug, Clone)]
pub struct Event {
    pub sequence: u64,
    pub day: AccountDay,
    pub event_id: Uuid,
    pub fetched_at: DateTime<Utc>,
    pub payload_sha256: Vec<u8>,
    pub answer: Answer,
}

const MOST_BYTES: u64 = 1 << 26;

impl Streams {
    pub async fn read(context: &jetstream::Context) -> Result<Streams> {
        let mut streams = Streams::default();
        for (subject, headers, payload, sequence) in messages(context, META_INSIGHTS).await? {
            let event = open(&subject, &headers, &payload, sequence);
            streams.insights.push(event.with_context(|| format!("message {sequence} of {META_INSIGHTS}"))?);
        }
        for (_, headers, _, _) in messages(context, META_CONNECT).await? {
            let event = attributes(&headers)?;
            streams.connections.push((event.source().to_string(), event.id().to_owned()));
        }
        for (_, headers, payload, sequence) in messages(context, WAREHOUSE).await? {
            let change: DailySummaryChanged = serde_json::from_slice(&payload)?;
            let id = attributes(&headers)?.id().to_owned();
            ensure!(id == change.event_id().to_string(), "message {sequence} of {WAREHOUSE} has the id {id}");
            streams.changes.push(change);
        }
        for (subject, headers, _, _) in messages(context, DEAD_LETTERS).await? {
            streams.dead_letters.push(format!("{subject} {headers:?}"));
        }
        Ok(streams)
    }
}

type Headers = Vec<(String, String)>;

/// Every message, one by one by its sequence.
async fn messages(context: &jetstream::Context, stream: &str) -> Result<Vec<(String, Headers, Vec<u8>, u64)>> {
    let stream = context.get_stream(stream).await?;
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.with_context(|| format!("message {sequence}"))?;
        let pairs = message.headers.iter();
        let pairs = pairs.filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string()))).collect();
        messages.push((message.subject.to_string(), pairs, message.payload.to_vec(), sequence));
    }
    ensure!(
        messages.len() as u64 == state.messages,
        "the stream says {} messages, and has {}",
        state.messages,
        messages.len()
    );
    Ok(messages)
}

fn attributes(pairs: &Headers) -> Result<cloudevents::Event> {
    Ok(headers::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?)
}

fn open(subject: &str, pairs: &Headers, bytes: &[u8], sequence: u64) -> Result<Event> {
    let circumstances = open_insights(&attributes(pairs)?)?;
    let day = AccountDay::parse(subject)?;
    let json = payload::decode(circumstances.codec, bytes, MOST_BYTES)?;
    let data = InsightsData::parse(&json, &day)?;
    let mut ads = data.rows.iter().map(|row| ad(row.get())).collect::<Result<Vec<Ad>>>()?;
    ads.sort_by_key(|ad| ad.ad_id);
    let control = data.control.as_ref().map(|total| Ok::<_, anyhow::Error>((cents(&total.spend)?, total.impressions)));
    let answer = Answer {
        account_id: day.account_id,
        ad_account_id: day.ad_account_id,
        date: day.date,
        event_id: circumstances.event_id,
        fetched_at: circumstances.fetched_at,
        ads,
        control: control.transpose()?,
        windows: data.request.attribution_windows.iter().map(|window| window.to_string()).collect(),
    };
    Ok(Event {
        sequence,
        day,
        event_id: circumstances.event_id,
        fetched_at: circumstances.fetched_at,
        payload_sha256: Sha256::digest(bytes).to_vec(),
        answer,
    })
}

/// What of a row the second fold looks at.
#[derive(Deserialize)]
struct Row {
    ad_id: String,
    spend: String,
    impressions: serde_json::Value,
    clicks: serde_json::Value,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    action_values: Vec<Action>,
}

/// An entry of a list; each of its members but the type is a number.
type Action = BTreeMap<String, String>;

fn said(mut action: Action, number: fn(&str) -> Result<i64>) -> Result<Said> {
    let mut of = |key: &str| action.remove(key).with_context(|| format!("an action has no {key}"));
    let (action_type, value) = (of("action_type")?, of("value")?);
    let windows = action.into_iter().map(|(window, text)| Ok((window, number(&text)?))).collect::<Result<_>>()?;
    Ok(Said { action_type, number: number(&value)?, windows })
}

fn ad(json: &str) -> Result<Ad> {
    let row: Row = serde_json::from_str(json)?;
    Ok(Ad {
        ad_id: row.ad_id.parse()?,
        spend_cents: cents(&row.spend)?,
        impressions: count(&row.impressions)?,
        clicks: count(&row.clicks)?,
        actions: row.actions.into_iter().map(|action| said(action, |text| Ok(text.parse()?))).collect::<Result<_>>()?,
        values: row.action_values.into_iter().map(|action| said(action, cents)).collect::<Result<_>>()?,
    })
}

fn cents(text: &str) -> Result<i64> {
    let amount: Decimal = text.parse()?;
    Ok((amount * Decimal::ONE_HUNDRED).normalize().try_into()?)
}

/// Counts come as strings or as bare numbers.
fn count(value: &serde_json::Value) -> Result<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).with_context(|| format!("{value} is no count"))
}
