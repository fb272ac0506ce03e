//! Asking for a run of one integration: the rule is one, whether a program asks or a person at a page.

use accounts::{Integration, Origin, Status};
use axum::http::StatusCode;
use runs::{EnqueueError, Enqueued, JobType};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::problem::Problem;
use crate::web::Web;

/// Refuses where Meta's jobs are off: then nothing of them is here.
pub(crate) fn check_jobs(web: &Web) -> Result<(), Problem> {
    if web.settings.jobs_enabled {
        return Ok(());
    }
    Err(Problem::not_found("Meta's jobs are off here: META_JOBS_ENABLED turns them on"))
}

/// Whether somebody here would answer for the integration: in stub mode nobody does for one of Meta's.
pub(crate) fn is_answered_for(web: &Web, origin: Origin) -> bool {
    web.meta.is_some() || origin == Origin::Stub
}

/// Asks for a run in the caller's transaction, which sees one tenant.
pub(crate) async fn ask(
    web: &Web,
    conn: &mut PgConnection,
    id: Uuid,
    job: JobType,
    trigger: &str,
) -> Result<Enqueued, Problem> {
    check_jobs(web)?;
    let integration = accounts::integration(&mut *conn, id).await?.ok_or_else(no_integration)?;
    check(web, &integration)?;
    runs::enqueue(&mut *conn, id, job, trigger, None).await.map_err(refused)
}

fn check(web: &Web, integration: &Integration) -> Result<(), Problem> {
    if !is_answered_for(web, integration.origin) {
        return Err(Problem::conflict(
            "the integration is Meta's, and the service runs in stub mode, where nobody answers for it: unset META_STUB_MODE",
        ));
    }
    if integration.status != Status::Connected {
        let reason = integration.status_reason.as_deref().unwrap_or("connect it again");
        return Err(Problem::conflict(format!("the integration is {}: {reason}", integration.status)));
    }
    Ok(())
}

/// Why no run was made, as an answer. The sentences of [`EnqueueError`] are for a shell.
pub(crate) fn refused(error: EnqueueError) -> Problem {
    match error {
        EnqueueError::Database(error) => error.into(),
        EnqueueError::NoIntegration { .. } | EnqueueError::NotOfTenant { .. } => no_integration(),
        error @ EnqueueError::OtherWindow { .. } => Problem::conflict(error.to_string()),
        error @ EnqueueError::Busy { .. } => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// The same for one that is somebody else's and one that never was.
pub(crate) fn no_integration() -> Problem {
    Problem::not_found("this tenant has no such integration: GET /api/integrations lists those there are")
}
