use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jetstream::topology::{self, Durable};
use jetstream::{Lag, LogRoom, Wire};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Watched, exposition};
use crate::exit;

/// How long an answer is good for: however often it is asked for, the servers are asked this rarely.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// How long one of the two servers may take to answer; it is left out then.
const DEADLINE: Duration = Duration::from_secs(3);

/// The last answer. Who asks while it is made waits for it, and asks the servers nothing.
#[derive(Default)]
pub struct Scrapes {
    last: Mutex<Option<(Instant, String)>>,
}

/// What PostgreSQL and JetStream know, and so the truth about every process there is; `None` for who did not answer.
pub struct Figures {
    pub database: Option<(runs::Figures, outbox::Waiting)>,
    pub stream: Option<StreamFigures>,
}

/// What JetStream knows.
pub struct StreamFigures {
    pub lags: Vec<(Durable, Lag)>,
    /// Parked messages by stream and consumer.
    pub parked: BTreeMap<(String, String), u64>,
    pub log: LogRoom,
}

pub async fn scrape(State(watched): State<Watched>) -> Response {
    let mut last = watched.scrapes.last.lock().await;
    let text = match last.as_ref() {
        Some((made_at, text)) if made_at.elapsed() < GOOD_FOR => text.clone(),
        _ => {
            let (database, stream) = tokio::join!(
                within("PostgreSQL", ask_database(&watched.pool)),
                within("JetStream", ask_stream(&watched.wire)),
            );
            let text = exposition::text(Figures { database, stream });
            *last = Some((Instant::now(), text.clone()));
            text
        }
    };
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

/// The answer, if it comes in time.
async fn within<T>(whom: &'static str, asking: impl Future<Output = Result<T>>) -> Option<T> {
    let answer = tokio::time::timeout(DEADLINE, asking).await.context("no answer in time");
    match answer.and_then(|answer| answer) {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::debug!(whom, error = exit::sentence(&error), "left out of the metrics");
            None
        }
    }
}

async fn ask_database(pool: &PgPool) -> Result<(runs::Figures, outbox::Waiting)> {
    let mut transaction = pool.begin().await?;
    // PostgreSQL gives up when we do. A count that nobody waits for would go on beside the next one.
    let limit = format!("set local statement_timeout = {}", DEADLINE.as_millis());
    sqlx::raw_sql(sqlx::AssertSqlSafe(limit)).execute(&mut *transaction).await?;
    Ok((runs::figures(&mut transaction).await?, outbox::waiting(&mut *transaction).await?))
}

async fn ask_stream(wire: &Wire) -> Result<StreamFigures> {
    let durables = topology::durables()?;
    let parked = parked(wire, &durables).await?;
    let mut lags = Vec::new();
    for durable in durables {
        let lag = wire.lag(&durable.stream, &durable.name).await?;
        lags.push((durable, lag));
    }
    Ok(StreamFigures { lags, parked, log: LogRoom::ask(wire).await? })
}

/// Each durable has its number, also where it is none: an alert can only compare what is there. What something else
/// wrote has no consumer, and so no number.
async fn parked(wire: &Wire, durables: &[Durable]) -> Result<BTreeMap<(String, String), u64>> {
    let mut parked = wire.dead_letters().await?.by_consumer().await?;
    parked.remove(&(String::new(), String::new()));
    for durable in durables {
        parked.entry((durable.stream.clone(), durable.name.clone())).or_default();
    }
    Ok(parked)
}
