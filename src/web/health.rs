use std::time::Duration;

use anyhow::Result;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jetstream::{LogRoom, META_INSIGHTS, Verdict};
use serde::Serialize;

use super::Watched;
use crate::exit;

/// How long one check may take: a server that takes a connection and then says nothing must not hang the probe.
const DEADLINE: Duration = Duration::from_secs(2);

/// In the order of how bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// It works, and somebody should look before it does not.
    Warn,
    Fail,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// What was found; where it is not ok, also what to do.
    detail: String,
}

#[derive(Serialize)]
pub struct Readiness {
    /// That of the worst check.
    status: Status,
    checks: [Check; 4],
}

/// The process lives and answers. What it works with is another question, so that nobody restarts it for that.
pub async fn live() -> &'static str {
    "ok\n"
}

/// Whether work can go on now: 503 when it cannot.
pub async fn ready(State(watched): State<Watched>) -> (StatusCode, Json<Readiness>) {
    let checks: [Check; 4] = tokio::join!(
        check("database", database(&watched)),
        check("stream", stream(&watched)),
        check("log_fill", log_fill(&watched)),
        check("runs", runs(&watched)),
    )
    .into();
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
    let code = if status == Status::Fail { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(Readiness { status, checks }))
}

async fn check(name: &'static str, look: impl Future<Output = Result<(Status, String)>>) -> Check {
    let (status, detail) = match tokio::time::timeout(DEADLINE, look).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => (Status::Fail, exit::sentence(&error)),
        Err(_) => (
            Status::Fail,
            format!("no answer within {} s: check that the server runs and can be reached", DEADLINE.as_secs()),
        ),
    };
    Check { name, status, detail }
}

async fn database(watched: &Watched) -> Result<(Status, String)> {
    crate::boot::check_tables(&watched.pool).await?;
    Ok((Status::Ok, "every migration is applied".to_owned()))
}

async fn stream(watched: &Watched) -> Result<(Status, String)> {
    watched.wire.log(META_INSIGHTS).await?;
    Ok((Status::Ok, format!("nats-server {} has the stream {META_INSIGHTS}", watched.wire.server_version())))
}

async fn log_fill(watched: &Watched) -> Result<(Status, String)> {
    let room = LogRoom::ask(&watched.wire).await?;
    let status = match room.verdict() {
        Verdict::Room => Status::Ok,
        Verdict::FillingUp => Status::Warn,
        Verdict::Full => Status::Fail,
    };
    Ok((status, room.sentence()))
}

/// A log can be there, have room and take nothing all the same (its disk was full): the runs know.
async fn runs(watched: &Watched) -> Result<(Status, String)> {
    Ok(match ::runs::waiting_for_log(&watched.pool).await? {
        Some(waiting) => (Status::Warn, waiting.to_string()),
        None => (Status::Ok, "none waits for the log".to_owned()),
    })
}
