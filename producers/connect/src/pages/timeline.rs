//! The newest runs of an integration: how far each has come, what it waits for, why it stopped.

use std::collections::HashMap;

use chrono::TimeDelta;
use runs::{DaysFolded, Run};
use sqlx::PgConnection;
use uuid::Uuid;

use super::amount::UNKNOWN;
use super::card::{self, Card};
use super::freshness::Said;
use super::words::{Level, Moment, Now, count, duration, range};
use crate::problem::Problem;

const NEWEST: u32 = 20;
/// How long the tables may take after a run's end before nobody watches them any more.
const WATCHED_FOR: TimeDelta = TimeDelta::minutes(10);

/// A run, in words.
pub(crate) struct Shown {
    pub(crate) id: Uuid,
    pub(crate) job: &'static str,
    pub(crate) job_type: String,
    pub(crate) trigger: String,
    pub(crate) window: Option<String>,
    pub(crate) status: Said,
    pub(crate) asked_at: Moment,
    pub(crate) took: Option<String>,
    pub(crate) days: String,
    pub(crate) rows: String,
    pub(crate) throttles: Option<String>,
    pub(crate) waits_until: Option<Moment>,
    /// While it is watched: how far it has come.
    pub(crate) steps: Option<Vec<Step>>,
    pub(crate) card: Option<Card>,
    pub(crate) is_card_open: bool,
}

/// One of the five places that a day passes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// As the stream of events calls it.
    pub(crate) name: &'static str,
    pub(crate) text: String,
    /// Days that are done, and all of them. Rows have no end that anybody knows before.
    pub(crate) bar: Option<(i64, i64)>,
}

/// What a job is called.
pub(crate) fn job_words(job_type: &str) -> &'static str {
    match job_type {
        "meta_7d_fill" => "Last 7 days",
        "meta_fresh" => "Fresh days",
        "meta_settle" => "Settling days",
        "meta_backfill" => "Backfill",
        _ => "Run",
    }
}

pub(crate) fn status_words(status: &str) -> Said {
    let (level, words) = match status {
        "queued" => (Level::Calm, "Queued"),
        "running" => (Level::Calm, "Working"),
        "waiting" => (Level::Warn, "Waiting"),
        "succeeded" => (Level::Good, "Done"),
        "partial" => (Level::Warn, "Done in part"),
        _ => (Level::Bad, "Failed"),
    };
    Said { level, words: words.to_owned() }
}

pub(crate) async fn read(conn: &mut PgConnection, integration_id: Uuid, now: &Now) -> Result<Vec<Shown>, Problem> {
    let runs = runs::runs_of(&mut *conn, integration_id, NEWEST).await?;
    // Those that nobody watches any more are not counted again.
    let mut progress = HashMap::new();
    for run in runs.iter().filter(|run| may_go_on(run, now)) {
        progress.insert(run.id, runs::days_folded(&mut *conn, run).await?);
    }
    let mut shown: Vec<_> = runs.iter().map(|run| show(run, progress.get(&run.id), now)).collect();
    // The newest word on a job is told in full; what a later run of it has mended is history.
    for at in 0..shown.len() {
        let is_newest = shown[..at].iter().all(|later| later.job_type != shown[at].job_type);
        shown[at].is_card_open = is_newest;
    }
    Ok(shown)
}

fn may_go_on(run: &Run, now: &Now) -> bool {
    run.finished_at.is_none_or(|finished_at| now.at - finished_at < WATCHED_FOR)
}

fn show(run: &Run, progress: Option<&DaysFolded>, now: &Now) -> Shown {
    let ended = run.finished_at.unwrap_or(now.at);
    let message = run.error_message.as_deref().unwrap_or_default();
    Shown {
        id: run.id,
        job: job_words(&run.job_type),
        job_type: run.job_type.clone(),
        trigger: trigger_words(&run.trigger),
        window: run.window_since.zip(run.window_until).map(|(since, until)| range(since, until)),
        status: status_words(&run.status),
        asked_at: now.moment(run.requested_at),
        took: run.started_at.map(|started_at| match run.finished_at {
            Some(_) => format!("took {}", duration(ended - started_at)),
            None => format!("for {}", duration(ended - started_at)),
        }),
        days: match (run.days_total, run.is_finished()) {
            (0, false) => "days not planned yet".to_owned(),
            (0, true) => "no day".to_owned(),
            (total, _) => format!("{} of {}", run.days_done, count(total.into(), "day", "days")),
        },
        rows: count(run.rows_fetched, "row", "rows"),
        throttles: throttles(run.throttle_count, run.throttle_wait_ms),
        waits_until: run.not_before.filter(|at| run.status == "waiting" && *at > now.at).map(|at| now.moment(at)),
        steps: progress.and_then(|progress| steps(run, *progress)),
        card: match run.status.as_str() {
            "waiting" => Some(card::of_wait(run.wait_reason.as_deref().unwrap_or_default(), message)),
            "partial" | "failed" => Some(card::card(run.error_code.as_deref().unwrap_or_default(), message)),
            _ => None,
        },
        is_card_open: false,
    }
}

fn trigger_words(trigger: &str) -> String {
    match trigger {
        "manual" => "asked for by hand".to_owned(),
        "connect" => "because it was connected".to_owned(),
        "schedule" | "scheduler" => "by the schedule".to_owned(),
        other => format!("by {other}"),
    }
}

fn throttles(throttle_count: i32, throttle_wait_ms: i64) -> Option<String> {
    let times = match throttle_count {
        ..=0 => return None,
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    };
    Some(format!("throttled {times}, waited {}", duration(TimeDelta::milliseconds(throttle_wait_ms))))
}

/// `None` once all is where it belongs: then there is nothing to watch.
fn steps(run: &Run, progress: DaysFolded) -> Option<Vec<Step>> {
    if progress.is_over(run) {
        return None;
    }
    let of = i64::from(run.days_total);
    let step = |name, text| Step { name, text, bar: None };
    let days = |name, done: u64| {
        let done = i64::try_from(done).unwrap_or(of).min(of);
        let text = if of > 0 { format!("{done} of {of}") } else { UNKNOWN.to_owned() };
        Step { name, text, bar: Some((done, of.max(1))) }
    };
    Some(vec![
        step("asked", if of > 0 { count(of, "day", "days") } else { UNKNOWN.to_owned() }),
        step("fetched", count(run.rows_fetched, "row", "rows")),
        days("published", progress.published),
        days("raw", progress.raw),
        days("folded", progress.folded),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::freshness::tests::now;
    use super::*;

    fn run(status: &str) -> Run {
        let at = |text: &str| text.parse().unwrap();
        let finished = matches!(status, "succeeded" | "partial" | "failed");
        Run {
            id: Uuid::nil(),
            account_id: Uuid::nil(),
            integration_id: Uuid::nil(),
            job_type: "meta_fresh".into(),
            trigger: "manual".into(),
            status: status.into(),
            window_since: Some("2026-11-18".parse().unwrap()),
            window_until: Some("2026-11-24".parse().unwrap()),
            days_total: 7,
            days_done: 4,
            rows_fetched: 1234,
            rate_limited: true,
            throttle_count: 3,
            throttle_wait_ms: 130_000,
            throttled_until: None,
            wait_reason: (status == "waiting").then(|| "throttled".into()),
            not_before: (status == "waiting").then(|| at("2026-11-25T13:04:00Z")),
            attempts: 1,
            error_code: finished.then(|| "unreachable".into()),
            error_message: Some("no usable answer".into()),
            requested_at: at("2026-11-25T12:58:00Z"),
            started_at: (status != "queued").then(|| at("2026-11-25T12:58:30Z")),
            finished_at: finished.then(|| at("2026-11-25T12:59:00Z")),
        }
    }

    #[test]
    fn a_run_says_what_it_waits_for_and_how_far_it_is() {
        let (ahead, done) =
            (DaysFolded { published: 4, raw: 3, folded: 2 }, DaysFolded { published: 4, raw: 4, folded: 4 });
        for (status, progress, words, is_watched, title) in [
            ("queued", ahead, "Queued", true, None),
            ("running", done, "Working", true, None),
            ("waiting", ahead, "Waiting", true, Some("Meta asked to slow down")),
            ("succeeded", ahead, "Done", true, None),
            ("succeeded", done, "Done", false, None),
            ("partial", done, "Done in part", false, Some("Meta gave no usable answer")),
            ("failed", done, "Failed", false, Some("Meta gave no usable answer")),
        ] {
            let shown = show(&run(status), Some(&progress), &now());
            assert_eq!(shown.status.words, words);
            assert_eq!(shown.steps.is_some(), is_watched, "{status} {progress:?}");
            assert_eq!(shown.card.map(|card| card.title), title, "{status}");
            assert_eq!(shown.waits_until.map(|at| at.distance), (status == "waiting").then(|| "in 4 min".into()));
        }
        let shown = show(&run("running"), Some(&ahead), &now());
        let steps: Vec<_> = shown.steps.iter().flatten().map(|step| (step.name, &*step.text, step.bar)).collect();
        let expected = [
            ("asked", "7 days", None),
            ("fetched", "1,234 rows", None),
            ("published", "4 of 7", Some((4, 7))),
            ("raw", "3 of 7", Some((3, 7))),
            ("folded", "2 of 7", Some((2, 7))),
        ];
        assert_eq!(steps, expected);
        assert_eq!(shown.throttles.as_deref(), Some("throttled 3 times, waited 2 min 10 s"));
        assert_eq!((shown.days.as_str(), shown.rows.as_str()), ("4 of 7 days", "1,234 rows"));
        assert_eq!(shown.took.as_deref(), Some("for 1 min 30 s"));
        assert_eq!(show(&run("failed"), None, &now()).took.as_deref(), Some("took 30 s"));
    }
}
