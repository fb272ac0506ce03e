//! Sync runs: the list, and one.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use runs::Run;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::asked::{Id, Query};
use crate::asking::no_integration;
use crate::problem::Problem;
use crate::web::Web;

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 200;

/// A run, as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncRun {
    id: Uuid,
    account_id: Uuid,
    integration_id: Uuid,
    /// `meta_7d_fill`, `meta_fresh`, `meta_settle` or `meta_backfill`.
    job_type: String,
    /// Who asked: `connect`, `api`, `manual`, `scheduler`, `schedule`.
    trigger: String,
    /// `queued`, `running`, `waiting`, `succeeded`, `partial` or `failed`.
    status: String,
    /// The first and the last day; null until the run is planned.
    window_since: Option<NaiveDate>,
    window_until: Option<NaiveDate>,
    days_total: i32,
    /// Days whose event is in the log.
    days_done: i32,
    rows_fetched: i64,
    /// Whether Meta throttled the run.
    rate_limited: bool,
    throttle_count: i32,
    throttle_wait_ms: i64,
    /// Until when the newest throttle lasts, or lasted.
    throttled_until: Option<DateTime<Utc>>,
    /// What it waits for: `throttled`, `log_full`, `log_unreachable`, `meta_unreachable`.
    wait_reason: Option<String>,
    not_before: Option<DateTime<Utc>>,
    attempts: i32,
    error_code: Option<String>,
    error_message: Option<String>,
    requested_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Run> for SyncRun {
    fn from(run: Run) -> SyncRun {
        SyncRun {
            id: run.id,
            account_id: run.account_id,
            integration_id: run.integration_id,
            job_type: run.job_type,
            trigger: run.trigger,
            status: run.status,
            window_since: run.window_since,
            window_until: run.window_until,
            days_total: run.days_total,
            days_done: run.days_done,
            rows_fetched: run.rows_fetched,
            rate_limited: run.rate_limited,
            throttle_count: run.throttle_count,
            throttle_wait_ms: run.throttle_wait_ms,
            throttled_until: run.throttled_until,
            wait_reason: run.wait_reason,
            not_before: run.not_before,
            attempts: run.attempts,
            error_code: run.error_code,
            error_message: run.error_message,
            requested_at: run.requested_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncRuns {
    sync_runs: Vec<SyncRun>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Runs of this integration only; without it, of all the tenant's.
    integration_id: Option<Uuid>,
    /// How many, newest first.
    #[param(minimum = 1, maximum = 200, default = 20)]
    limit: Option<u32>,
}

/// List sync runs, newest first
#[utoipa::path(
    get, path = "/api/sync-runs", operation_id = "list_sync_runs", tag = "syncs", params(Which),
    security(("api_token" = []), ("session" = [])),
    responses(
        (status = 200, description = "The runs", body = SyncRuns),
        (status = 400, description = "The query cannot be read"),
        (status = 404, description = "The tenant has no such integration"),
        (status = 409, description = "A session that has chosen no tenant"),
    ),
)]
pub(crate) async fn list(
    State(web): State<Web>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<SyncRuns>, Problem> {
    let limit = which.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is {limit}: write a number from 1 to {MAX_LIMIT}")));
    }
    let mut tx = caller.scope.begin(&web.pool).await?;
    let runs = match which.integration_id {
        Some(id) => {
            accounts::integration(&mut *tx, id).await?.ok_or_else(no_integration)?;
            runs::runs_of(&mut *tx, id, limit).await?
        }
        None => runs::runs(&mut *tx, limit).await?,
    };
    tx.commit().await?;
    Ok(Json(SyncRuns { sync_runs: runs.into_iter().map(SyncRun::from).collect() }))
}

/// Show one sync run
#[utoipa::path(
    get, path = "/api/sync-runs/{id}", operation_id = "get_sync_run", tag = "syncs",
    params(("id" = Uuid, Path, description = "The run")),
    security(("api_token" = []), ("session" = [])),
    responses(
        (status = 200, description = "The run", body = SyncRun, example = json!({
            "id": "0192f0c2-77aa-7c11-8e0f-3b2a1c0d9e8f",
            "account_id": "0192f0c0-1111-7abc-8def-0123456789ab",
            "integration_id": "0192f0c1-5a5e-7d3a-9c1d-0a4f5d1c2b3a",
            "job_type": "meta_fresh", "trigger": "api", "status": "succeeded",
            "window_since": "2026-11-04", "window_until": "2026-11-09", "days_total": 6, "days_done": 6,
            "rows_fetched": 132, "rate_limited": false, "throttle_count": 0, "throttle_wait_ms": 0, "throttled_until": null,
            "wait_reason": null, "not_before": null, "attempts": 1, "error_code": null, "error_message": null,
            "requested_at": "2026-11-10T08:00:00Z", "started_at": "2026-11-10T08:00:01Z",
            "finished_at": "2026-11-10T08:00:09Z",
        })),
        (status = 400, description = "The id is no UUID"),
        (status = 404, description = "The tenant has no such run"),
        (status = 409, description = "A session that has chosen no tenant"),
    ),
)]
pub(crate) async fn one(State(web): State<Web>, caller: Caller, Id(id): Id) -> Result<Json<SyncRun>, Problem> {
    let mut tx = caller.scope.begin(&web.pool).await?;
    let run = runs::run(&mut *tx, id).await?.ok_or_else(no_run)?;
    tx.commit().await?;
    Ok(Json(run.into()))
}

pub(super) fn no_run() -> Problem {
    Problem::not_found("this tenant has no such sync run: GET /api/sync-runs lists those there are")
}
