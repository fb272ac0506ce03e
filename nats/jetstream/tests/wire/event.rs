//! Events as a test wants them, and the server as somebody else sees it.

use anyhow::{Context, Result};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use cloudevents::Event;
use events::subject::AccountDay;
use events::{AdAccount, InsightsData, InsightsFetched, Request};
use jetstream::{PublishError, Published, Wire};
use testkit::Nats;
use uuid::Uuid;

/// A day of ad account 2 of tenant 1 in February 2026.
pub fn day(day: u32) -> Result<AccountDay> {
    let date = NaiveDate::from_ymd_opt(2026, 2, day).context("February has no such day")?;
    Ok(AccountDay { account_id: Uuid::from_u128(1), ad_account_id: Uuid::from_u128(2), date })
}

/// Attributes of the event of that id on that day.
pub fn attributes(id: u128, day: &AccountDay) -> Result<Event> {
    let data = InsightsData {
        account_id: day.account_id,
        ad_account: AdAccount {
            id: day.ad_account_id,
            external_id: "act_3".into(),
            currency: "EUR".into(),
            timezone_name: "Europe/Berlin".into(),
        },
        date: day.date,
        request: Request {
            api_version: "v25.0".into(),
            fields: Vec::new(),
            effective_status: None,
            attribution_windows: Vec::new(),
        },
        control: None,
        rows: Vec::new(),
    };
    let fetched_at = DateTime::from_timestamp_micros(1_770_000_000_000_000).context("an instant")?;
    Ok(InsightsFetched::new(Uuid::from_u128(id), fetched_at, None, 1, &data, data.row_bytes())?.attributes()?)
}

/// Publishes `payload` as the event of that id on that day.
pub async fn publish(
    wire: &Wire,
    id: u128,
    day: &AccountDay,
    payload: impl Into<Bytes>,
) -> Result<Published, PublishError> {
    let attributes = attributes(id, day).map_err(|_| PublishError::Header)?;
    wire.publish(&day.subject(), &attributes, payload.into()).await
}

/// Publishes the largest message that the server takes, with the headers of that event: with any other header added it
/// is too large. Returns the size of its payload.
pub async fn publish_largest(nats: &Nats, id: u128, day: &AccountDay) -> Result<usize> {
    let (limit, headers) = (nats.wire.max_payload_bytes(), events::headers::to_pairs(&attributes(id, day)?));
    let mut below = 200;
    while nats.publish_foreign(&day.subject(), &headers, &vec![b'x'; limit - below]).await.is_err() {
        below += 20;
        anyhow::ensure!(below < 2_000, "headers are not that large");
    }
    Ok(limit - below)
}

/// The server as somebody else with a NATS client sees it. That client takes credentials from its options only.
pub async fn by_hand(url: &str) -> Result<async_nats::jetstream::Context> {
    let address: async_nats::ServerAddr = url.parse()?;
    let (user, password) = (address.username().context("a user")?, address.password().context("a password")?);
    let options = async_nats::ConnectOptions::new().user_and_password(user.to_owned(), password.to_owned());
    Ok(async_nats::jetstream::new(options.connect(address).await?))
}
