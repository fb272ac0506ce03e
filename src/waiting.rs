//! Working on one run until its result is in the tables, for the commands that wait.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cloudevents::AttributesReader;
use jetstream::{DEAD_LETTERS, META_INSIGHTS, Wire};
use runs::Run;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::boot::{Boot, House};
use crate::progress::Progress;
use crate::roles::{self, Role};
use crate::shutdown::{Signals, Tasks};

/// How often the tables are asked.
const POLL: Duration = Duration::from_millis(200);

/// Plays every role for this run until it is finished and folded, beside whoever else does. Fails when the run does, at
/// the deadline, and on a signal.
pub async fn until_folded(boot: &Boot, house: &House, run_id: Uuid, deadline: Duration) -> Result<Run> {
    let mut tasks = Tasks::new();
    roles::spawn(&mut tasks, Role::Raw, boot, house)?;
    roles::spawn(&mut tasks, Role::Project, boot, house)?;
    let (fetcher, cancel, pool) = (roles::fetcher(boot, house)?, tasks.cancel().clone(), house.pool.clone());
    tasks.spawn("fetch", async move { fetch(&fetcher, &pool, run_id, &cancel).await });
    let mut signals = Signals::new()?;
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(deadline, watch(house, run_id)) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(overdue(&house.pool, run_id, deadline).await?),
        },
        signal = signals.next() => Err(anyhow::anyhow!("ended by {signal}; the run goes on with `adledger serve`, or when it is asked for again")),
    };
    tasks.end().await?;
    outcome
}

/// Works on this run and no other, until it is finished.
async fn fetch(fetcher: &insights::Fetcher, pool: &PgPool, run_id: Uuid, cancel: &CancellationToken) {
    while !cancel.is_cancelled() {
        match fetcher.run_once(Some(run_id), cancel).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                if runs::run(pool, run_id).await.is_ok_and(|run| run.is_none_or(|run| run.is_finished())) {
                    return;
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the fetch stopped and goes on"),
        }
        let _ = tokio::time::timeout(POLL, cancel.cancelled()).await;
    }
}

/// Shows the run's progress until every event of it is in the tables and in the raw log.
async fn watch(house: &House, run_id: Uuid) -> Result<Run> {
    let mut parked = Parked::from_now(&house.wire).await?;
    let mut progress = Progress::new("days fetched");
    let run = loop {
        let run = runs::run(&house.pool, run_id).await?.context("the run is gone")?;
        let message = match (&run.wait_reason, run.rate_limited) {
            (Some(reason), _) => format!("waiting: {reason} ({})", run.error_message.as_deref().unwrap_or_default()),
            (None, true) => format!("throttled {} times", run.throttle_count),
            (None, false) => format!("{} rows", run.rows_fetched),
        };
        progress.at(run.days_done.try_into()?, run.days_total.try_into()?, &message);
        if run.is_finished() {
            break run;
        }
        tokio::time::sleep(POLL).await;
    };
    drop(progress);
    let events: Vec<Uuid> = runs::events_of_run(&house.pool, &run).await?.into_iter().map(|(_, event)| event).collect();
    let mut progress = Progress::new("days folded");
    loop {
        let (folded, kept) = in_tables(&house.pool, &run, &events).await?;
        progress.at(folded.min(kept), events.len() as u64, "");
        if folded.min(kept) == events.len() as u64 {
            break;
        }
        if let Some(reason) = parked.reason(&house.wire, &events).await? {
            bail!("an event of the run cannot be used and was parked: {reason}");
        }
        tokio::time::sleep(POLL).await;
    }
    drop(progress);
    match run.status.as_str() {
        "succeeded" => Ok(run),
        status => bail!(
            "the run {status} with {} of {} days: {}",
            run.days_done,
            run.days_total,
            run.error_message.as_deref().unwrap_or("no reason was written down")
        ),
    }
}

/// How many of the events are observed, and how many are in the raw log.
async fn in_tables(pool: &PgPool, run: &Run, events: &[Uuid]) -> Result<(u64, u64)> {
    let row = sqlx::query!(
        r#"select (select count(*) from observations where account_id = $1 and event_id = any ($2)) as "folded!",
                  (select count(*) from meta_insights_raw where account_id = $1 and event_id = any ($2)) as "kept!""#,
        run.account_id,
        events,
    )
    .fetch_one(pool)
    .await?;
    Ok((row.folded.try_into()?, row.kept.try_into()?))
}

async fn overdue(pool: &PgPool, run_id: Uuid, deadline: Duration) -> Result<anyhow::Error> {
    let run = runs::run(pool, run_id).await?.context("the run is gone")?;
    let reason = run.wait_reason.or(run.error_message).map_or_else(String::new, |reason| format!(" ({reason})"));
    Ok(anyhow::anyhow!(
        "after {} s the run is {} with {} of {} days{reason}: it goes on with `adledger serve`, or wait longer with --deadline-seconds",
        deadline.as_secs(),
        run.status,
        run.days_done,
        run.days_total,
    ))
}

/// Dead letters that came while the command waited.
struct Parked {
    next: Vec<(String, u64)>,
    reasons: Vec<(String, String)>,
}

impl Parked {
    async fn from_now(wire: &Wire) -> Result<Self> {
        let last = wire.log(DEAD_LETTERS).await?.level().await?.last_sequence;
        let subjects =
            [projector::DURABLE, raw::DURABLE].map(|durable| events::subject::dead_letter(META_INSIGHTS, durable));
        Ok(Parked { next: subjects.map(|subject| (subject, last + 1)).into(), reasons: Vec::new() })
    }

    /// Why one of these events was parked, if one was.
    async fn reason(&mut self, wire: &Wire, events: &[Uuid]) -> Result<Option<String>> {
        let log = wire.log(DEAD_LETTERS).await?;
        for (subject, next) in &mut self.next {
            while let Some(letter) = log.next(subject, *next).await? {
                *next = letter.sequence + 1;
                let event_id = letter.attributes().ok().map(|event| event.id().to_owned());
                self.reasons.extend(event_id.zip(letter.parked_reason()));
            }
        }
        let ids: HashSet<String> = events.iter().map(Uuid::to_string).collect();
        Ok(self.reasons.iter().find(|(id, _)| ids.contains(id)).map(|(_, reason)| reason.clone()))
    }
}
