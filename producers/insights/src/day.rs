//! A window of days of one ad account: ask, translate, publish a day at a time.

use std::ops::RangeInclusive;

use accounts::{Integration, VersionError};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use events::InsightsFetched;
use jetstream::PublishError;
use meta_api::Access;
use runs::{Lease, PublishedDay};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::Fetcher;
use crate::ladder::Ladder;
use crate::source::{Ask, Day};
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

/// What became of a window. Days are published one after the other: some may be, though a later one failed.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) published: Vec<PublishedDay>,
    pub(crate) error: Option<DayError>,
}

/// What every window of a run is fetched with.
pub(crate) struct Fetch<'a> {
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) lease: &'a Lease,
    pub(crate) integration: &'a Integration,
    pub(crate) access: Access<'a>,
    pub(crate) today: NaiveDate,
}

impl Fetch<'_> {
    /// Fetches a window and publishes the event of each of its days. The versions are taken before the first request:
    /// what Meta says later than that is at least as new.
    pub(crate) async fn window(&self, window: RangeInclusive<NaiveDate>, ladder: &mut Ladder) -> Brought {
        let span = tracing::info_span!(
            "window",
            otel.status_code = field::Empty,
            error = field::Empty,
            ad_account_id = %self.integration.ad_account_id,
            since = %window.start(),
            until = %window.end(),
            run_id = %self.lease.run_id,
            rows = field::Empty,
            pages = field::Empty,
        );
        let brought = self.ask_and_publish(window, ladder).instrument(span.clone()).await;
        if let Some(error) = &brought.error {
            span.record("otel.status_code", "ERROR").record("error", field::display(error));
        }
        brought
    }

    async fn ask_and_publish(&self, window: RangeInclusive<NaiveDate>, ladder: &mut Ladder) -> Brought {
        let mut brought = Brought::default();
        // Of large days a process holds one at a time, until the log has it.
        let _alone = if ladder.is_large() { self.fetcher.shared.large.acquire().await.ok() } else { None };
        let days = match self.ask(window, ladder).await {
            Ok(days) => days,
            Err(error) => return Brought { error: Some(error), ..brought },
        };
        for (day, fetched_at) in days {
            let (date, rows) = (day.answer.date, day.answer.rows.len());
            let span = tracing::info_span!("day", otel.status_code = field::Empty, %date, rows);
            match self.publish(day, fetched_at).instrument(span).await {
                Ok(published) => brought.published.push(published),
                Err(error) => return Brought { error: Some(error), ..brought },
            }
        }
        brought
    }

    async fn ask(
        &self,
        window: RangeInclusive<NaiveDate>,
        ladder: &mut Ladder,
    ) -> Result<Vec<(Day, DateTime<Utc>)>, DayError> {
        let Fetcher { pool, sources, asked, .. } = self.fetcher;
        let days = (*window.end() - *window.start()).num_days() + 1;
        let versions = accounts::next_fetched_at(pool, self.integration, usize::try_from(days).unwrap_or(1)).await?;
        let ask = Ask { window, shape: ladder.question(), asked, today: self.today };
        let answer = sources.window(&self.access, self.integration, &ask).await?;
        translate::check_currencies(self.integration, &answer.currencies)?;
        let rows = |day: &Day| day.answer.rows.len();
        ladder.answered(answer.days.iter().map(rows).max().unwrap_or_default());
        Span::current()
            .record("rows", answer.days.iter().map(rows).sum::<usize>())
            .record("pages", answer.days.first().map_or(0, |day| day.answer.pages));
        Ok(answer.days.into_iter().zip(versions).collect())
    }

    async fn publish(&self, mut day: Day, fetched_at: DateTime<Utc>) -> Result<PublishedDay, DayError> {
        // Encoding a large day takes a while; others on this thread get their turn in between.
        tokio::task::yield_now().await;
        day.answer.rows.sort();
        let (date, rows) = (day.answer.date, day.answer.rows.len() as u64);
        let head = translate::head(self.integration, &self.fetcher.asked, &day);
        let pages = i32::try_from(day.answer.pages).unwrap_or(i32::MAX);
        let run_id = Some(self.lease.run_id);
        let mut event = InsightsFetched::new(Uuid::now_v7(), fetched_at, run_id, pages, &head, day.answer.rows.iter())
            .map_err(|error| DayError::Encode(error.to_string()))?;
        // The rows are in the event now; waiting for the log is no reason to hold them twice.
        drop(head);
        drop(day);
        event.circumstances.traceparent = jetstream::traceparent();
        let attributes = event.attributes().map_err(|error| DayError::Encode(error.to_string()))?;
        let event_id = event.circumstances.event_id;
        self.fetcher.wire.publish(&event.day.subject(), &attributes, Bytes::from(event.payload)).await?;
        (self.fetcher.observe)(crate::Step::Published { date });
        Ok(PublishedDay { date, event_id, fetched_at, rows })
    }
}
