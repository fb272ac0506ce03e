//! A tenant or two whose events are in both logs and folded by the product, and what the verifier says of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use chrono::NaiveDate;
use events::InsightsFetched;
use jetstream::{BatchLimits, META_INSIGHTS};
use logs::{Logs, Range, Source};
use projections::Folds;
use projector::Projector;
use testkit::{Database, Nats, wait};
use tokio_util::sync::CancellationToken;
use verifier::{Difference, Finding, Refused, Report, Tables, Verifier};

const DEADLINE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub database: Database,
    pub nats: Nats,
}

/// What the verifier says.
#[derive(Debug)]
pub struct Said {
    pub report: Report,
    pub differences: Vec<Difference>,
    pub refused: Vec<Refused>,
}

impl Said {
    /// Every sentence, one a line.
    pub fn sentences(&self) -> String {
        self.differences.iter().flat_map(|difference| difference.sentences.clone()).collect::<Vec<_>>().join("\n")
    }
}

impl Stage {
    pub async fn open() -> Result<Stage> {
        Ok(Stage { database: testkit::database().await?, nats: testkit::nats_by_default().await? })
    }

    pub async fn publish(&self, event: InsightsFetched) -> Result<()> {
        let (subject, attributes) = (event.day.subject(), event.attributes()?);
        self.nats.wire.publish(&subject, &attributes, Bytes::from(event.payload)).await?;
        Ok(())
    }

    /// Appends to the raw log, and folds, until all is done.
    pub async fn work(&self) -> Result<()> {
        self.work_as(Folds::default()).await
    }

    /// The same, by folds that may have a fault.
    pub async fn work_as(&self, folds: Folds) -> Result<()> {
        self.work_beside(folds, async { Ok(()) }).await
    }

    /// Folds and appends while `beside` goes on, and until everything is settled then.
    pub async fn work_beside(&self, folds: Folds, beside: impl Future<Output = Result<()>>) -> Result<()> {
        let cancel = CancellationToken::new();
        let projector = Projector {
            pool: self.database.pool.clone(),
            wire: self.nats.wire.clone(),
            folds,
            limits: BatchLimits::default(),
            max_event_bytes: projector::MAX_EVENT_BYTES,
            observe: Arc::new(|_| {}),
        };
        let waiting = async {
            let done = async {
                beside.await?;
                self.settled(projector::DURABLE).await?;
                self.settled(raw::DURABLE).await
            };
            let done = done.await;
            cancel.cancel();
            done
        };
        let appending = raw::run(&self.database.pool, &self.nats.wire, BatchLimits::default(), &cancel);
        tokio::join!(projector.run(&cancel), appending, waiting).2
    }

    /// Appends to the raw log alone: nothing is folded.
    pub async fn append(&self) -> Result<()> {
        let cancel = CancellationToken::new();
        let waiting = async {
            let done = self.settled(raw::DURABLE).await;
            cancel.cancel();
            done
        };
        let appending = raw::run(&self.database.pool, &self.nats.wire, BatchLimits::default(), &cancel);
        tokio::join!(appending, waiting).1
    }

    async fn settled(&self, durable: &str) -> Result<()> {
        wait::until("everything is settled", DEADLINE, async || self.nats.is_settled(META_INSIGHTS, durable).await)
            .await
    }

    pub async fn stream(&self) -> Result<Verifier> {
        let pool = self.database.pool.clone();
        let logs = Logs { first: Source::stream(&self.nats.wire).await?, other: Some(Source::Raw(pool.clone())) };
        let patience = Duration::from_millis(1);
        let max_event_bytes = projector::MAX_EVENT_BYTES;
        Ok(Verifier { pool, logs, tables: Tables::Live, end: None, max_event_bytes, patience })
    }

    pub async fn raw(&self) -> Result<Verifier> {
        let verifier = self.stream().await?;
        Ok(Verifier { logs: Source::Raw(self.database.pool.clone()).into(), ..verifier })
    }

    pub async fn sql(&self, statement: &str) -> Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&self.database.pool).await?;
        Ok(())
    }
}

/// Verifies all days that there may be.
pub async fn verify(verifier: &Verifier) -> Result<Said> {
    let since = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default();
    let until = NaiveDate::from_ymd_opt(2100, 1, 1).unwrap_or_default();
    let range = Range { account_id: None, ad_account_id: None, since, until };
    let (mut differences, mut refused) = (Vec::new(), Vec::new());
    let take = |finding| match finding {
        Finding::Differs(difference) => differences.push(difference),
        Finding::Refused(event) => refused.push(event),
    };
    let report = verifier.run(&range, take, |_| {}).await?;
    Ok(Said { report, differences, refused })
}
