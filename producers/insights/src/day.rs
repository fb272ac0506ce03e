//! One day of one ad account: ask, translate, publish.

use accounts::{Integration, VersionError};
use bytes::Bytes;
use chrono::NaiveDate;
use events::InsightsFetched;
use jetstream::PublishError;
use meta_api::Observer;
use runs::{Lease, PublishedDay};
use secrecy::SecretString;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::Fetcher;
use crate::translate::{self, TranslateError};

/// Why a day has no event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DayError {
    #[error(transparent)]
    Meta(#[from] meta_api::Error),
    #[error(transparent)]
    Translate(#[from] TranslateError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("the day's event cannot be encoded: {0}")]
    Encode(String),
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl Fetcher {
    /// Fetches a day and publishes its event. The version is taken before the first request: what Meta says later than
    /// that is at least as new.
    pub(crate) async fn day(
        &self,
        lease: &Lease,
        integration: &Integration,
        token: &SecretString,
        date: NaiveDate,
        today: NaiveDate,
        observer: Observer<'_>,
    ) -> Result<PublishedDay, DayError> {
        let span = tracing::info_span!(
            "day",
            otel.status_code = field::Empty,
            error = field::Empty,
            ad_account_id = %integration.ad_account_id,
            %date,
            run_id = %lease.run_id,
            rows = field::Empty,
            pages = field::Empty,
        );
        let publishing = self.ask_and_publish(lease, integration, token, date, today, observer);
        let published = publishing.instrument(span.clone()).await;
        if let Err(error) = &published {
            span.record("otel.status_code", "ERROR").record("error", field::display(error));
        }
        published
    }

    async fn ask_and_publish(
        &self,
        lease: &Lease,
        integration: &Integration,
        token: &SecretString,
        date: NaiveDate,
        today: NaiveDate,
        observer: Observer<'_>,
    ) -> Result<PublishedDay, DayError> {
        let fetched_at = accounts::next_fetched_at(&self.pool, integration).await?;
        let answer = self.sources.day(token, integration, date, today, &self.asked, observer).await?;
        let data = translate::data(integration, date, &self.asked, &answer)?;
        let rows = data.rows.len() as u64;
        let pages = i32::try_from(answer.pages).unwrap_or(i32::MAX);
        Span::current().record("rows", rows).record("pages", pages);
        let mut event =
            InsightsFetched::new(Uuid::now_v7(), fetched_at, Some(lease.run_id), pages, &data, data.row_bytes())
                .map_err(|error| DayError::Encode(error.to_string()))?;
        event.circumstances.traceparent = jetstream::traceparent();
        let attributes = event.attributes().map_err(|error| DayError::Encode(error.to_string()))?;
        let event_id = event.circumstances.event_id;
        self.wire.publish(&event.day.subject(), &attributes, Bytes::from(event.payload)).await?;
        Ok(PublishedDay { date, event_id, fetched_at, rows })
    }
}
