//! Working on one run until its result is in the tables, for the commands that wait.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use events::{headers, subject};
use jetstream::{META_INSIGHTS, Which, Wire};
use runs::Run;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::boot::{Boot, Servers};
use crate::output;
use crate::progress::Progress;
use crate::roles::{self, Role};
use crate::shutdown::{Signals, Tasks};

/// The pause before the tables are asked again is a part of the time that was waited already, so that a short run is
/// not kept waiting for long, and a long one not asked about all the time. It is within these bounds.
const SHORTEST_POLL: Duration = Duration::from_millis(5);
const LONGEST_POLL: Duration = Duration::from_millis(200);
const PART_OF_TIME_WAITED: u32 = 20;

/// Plays every role for this run until it is finished and folded, beside whoever else does. Fails when the run does, at
/// the deadline, and on a signal.
pub async fn until_folded(boot: &Boot, servers: &Servers, run_id: Uuid, deadline: Duration) -> Result<Run> {
    let mut tasks = Tasks::new();
    roles::spawn(&mut tasks, Role::Raw, boot, servers)?;
    roles::spawn(&mut tasks, Role::Project, boot, servers)?;
    let (fetcher, cancel, pool) = (roles::fetcher(boot, servers)?, tasks.cancel().clone(), servers.pool.clone());
    tasks.spawn("fetch", async move { fetch(&fetcher, &pool, run_id, &cancel).await });
    let mut signals = Signals::new()?;
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(deadline, watch(servers, run_id)) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(overdue(&servers.pool, run_id, deadline).await?),
        },
        signal = signals.next() => Err(anyhow::anyhow!("ended by {signal}; the run goes on with `adledger serve`, or when it is asked for again")),
    };
    let ended = tasks.end().await;
    let run = outcome?;
    ended.map(|()| run)
}

/// Works on this run and no other, until it is finished.
async fn fetch(fetcher: &insights::Fetcher, pool: &PgPool, run_id: Uuid, cancel: &CancellationToken) {
    let pauses = Pauses::begin();
    while !cancel.is_cancelled() {
        match fetcher.run_once(Some(run_id), cancel).await {
            // It may have given way to others, and there are none here.
            Ok(Some(_)) => continue,
            Ok(None) => {
                if runs::run(pool, run_id).await.is_ok_and(|run| run.is_none_or(|run| run.is_finished())) {
                    return;
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the fetch stopped and goes on"),
        }
        let _ = tokio::time::timeout(pauses.next(), cancel.cancelled()).await;
    }
}

/// How long to pause between two looks.
struct Pauses {
    since: tokio::time::Instant,
}

impl Pauses {
    fn begin() -> Self {
        Pauses { since: tokio::time::Instant::now() }
    }

    fn next(&self) -> Duration {
        (self.since.elapsed() / PART_OF_TIME_WAITED).clamp(SHORTEST_POLL, LONGEST_POLL)
    }
}

/// Shows the run's progress until every event of it is in the tables and in the raw log.
async fn watch(servers: &Servers, run_id: Uuid) -> Result<Run> {
    let mut parked = Parked::from_now(&servers.wire).await?;
    let pauses = Pauses::begin();
    let mut progress = Progress::new("days fetched");
    let run = loop {
        let run = runs::run(&servers.pool, run_id).await?.context("the run is gone")?;
        let message = match (&run.wait_reason, run.rate_limited) {
            (Some(reason), _) => format!("waiting: {reason} ({})", run.error_message.as_deref().unwrap_or_default()),
            (None, true) => throttled(&run),
            (None, false) => format!("{} rows", run.rows_fetched),
        };
        progress.at(run.days_done.try_into()?, run.days_total.try_into()?, &message);
        if run.is_finished() {
            break run;
        }
        tokio::time::sleep(pauses.next()).await;
    };
    drop(progress);
    let mut progress = Progress::new("days folded");
    loop {
        let days = runs::days_folded(&servers.pool, &run).await?;
        progress.at(days.folded, days.published, "");
        parked.look(&servers.wire, run.id).await?;
        if days.folded + parked.days.len() as u64 >= days.published {
            break;
        }
        tokio::time::sleep(pauses.next()).await;
    }
    drop(progress);
    for (date, reason) in &parked.days {
        runs::day_parked(&servers.pool, &run, *date, reason).await?;
    }
    if let Some((date, reason)) = parked.days.first_key_value() {
        bail!(
            "the events of {} days cannot be used and were parked, {date} first: {reason}. \
             The days are owed, and the next meta_fresh asks for them again",
            parked.days.len()
        );
    }
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

/// How often Meta throttled the run, how long it waited for that, and until when the newest throttle lasts.
fn throttled(run: &Run) -> String {
    let times = if run.throttle_count == 1 { "once".to_owned() } else { format!("{} times", run.throttle_count) };
    let waited = run.throttle_wait_ms / 1000;
    let until = run.throttled_until.map_or_else(String::new, |until| format!(", until {}", output::time(until)));
    format!("{} rows; throttled {times}, waits {waited} s in all{until}", run.rows_fetched)
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
    which: Which,
    next: u64,
    /// Days of the run, each with the reason.
    days: BTreeMap<NaiveDate, String>,
}

impl Parked {
    async fn from_now(wire: &Wire) -> Result<Self> {
        let next = wire.dead_letters().await?.last_id().await? + 1;
        let which = Which { stream: Some(META_INSIGHTS.to_owned()), ..Which::default() };
        Ok(Parked { which, next, days: BTreeMap::new() })
    }

    /// Looks for further letters, and keeps those of this run.
    async fn look(&mut self, wire: &Wire, run_id: Uuid) -> Result<()> {
        let letters = wire.dead_letters().await?;
        while let Some(letter) = letters.next(&self.which, self.next).await? {
            self.next = letter.id + 1;
            let of_run = letter
                .attributes()
                .is_ok_and(|event| headers::extension(&event, "runid").is_some_and(|id| id == run_id.to_string()));
            let by_log_or_fold = [projector::DURABLE, raw::DURABLE].contains(&letter.consumer.as_str());
            let day = letter.origin.and_then(|origin| subject::AccountDay::parse(&origin.subject).ok());
            if let (true, true, Some(day), Some(reason)) = (of_run, by_log_or_fold, day, letter.reason) {
                self.days.insert(day.date, reason);
            }
        }
        Ok(())
    }
}
