//! Asking for a run of one integration.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use runs::JobType;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::asked::{self, Id};
use crate::asking::{ask, check_jobs};
use crate::problem::Problem;
use crate::web::Web;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyncAsked {
    job_type: Job,
}

/// The jobs that may be asked for here.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
enum Job {
    /// The attribution window up to yesterday, and every day still owed.
    #[serde(rename = "meta_fresh")]
    Fresh,
    /// The last 7 complete days.
    #[serde(rename = "meta_7d_fill")]
    SevenDayFill,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SyncAnswered {
    /// What happened, for people.
    message: &'static str,
    /// The run that was made, or the one that was there.
    sync_run_id: Uuid,
}

/// Ask for a sync of an integration
///
/// At most one run of an integration and job is unfinished at any time: whoever asks while there is one gets that one's
/// id.
#[utoipa::path(
    post, path = "/api/integrations/{id}/sync", operation_id = "sync", tag = "syncs",
    params(("id" = Uuid, Path, description = "The integration")),
    request_body(content = SyncAsked, example = json!({"job_type": "meta_fresh"})),
    security(("api_token" = []), ("session" = [], "csrf" = [])),
    responses(
        (status = 202, description = "A run was made", body = SyncAnswered, example = json!({
            "message": "Meta sync enqueued", "sync_run_id": "0192f0c2-77aa-7c11-8e0f-3b2a1c0d9e8f",
        })),
        (status = 200, description = "A run waits or works already", body = SyncAnswered, example = json!({
            "message": "Meta sync already running", "sync_run_id": "0192f0c2-77aa-7c11-8e0f-3b2a1c0d9e8f",
        })),
        (status = 400, description = "The id is no UUID, or the body no JSON"),
        (status = 404, description = "The tenant has no such integration, or Meta's jobs are off (`META_JOBS_ENABLED`)"),
        (status = 409, description = "The integration is not connected, and the detail says why; or a session has chosen no tenant"),
        (status = 413, description = "The body is too large"),
        (status = 415, description = "The body is not sent as JSON"),
        (status = 422, description = "The job cannot be asked for here"),
    ),
)]
pub(crate) async fn sync(
    State(web): State<Web>,
    caller: Caller,
    Id(id): Id,
    asked: Result<asked::Json<SyncAsked>, Problem>,
) -> Result<(StatusCode, Json<SyncAnswered>), Problem> {
    check_jobs(&web)?;
    let job = match asked?.0.job_type {
        Job::Fresh => JobType::Fresh,
        Job::SevenDayFill => JobType::SevenDayFill,
    };
    let mut tx = caller.scope.begin(&web.pool).await?;
    let enqueued = ask(&web, &mut tx, id, job, "api").await?;
    tx.commit().await?;
    let (status, message) = match enqueued.already {
        true => (StatusCode::OK, "Meta sync already running"),
        false => (StatusCode::ACCEPTED, "Meta sync enqueued"),
    };
    Ok((status, Json(SyncAnswered { message, sync_run_id: enqueued.run_id })))
}
