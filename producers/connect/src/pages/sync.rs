//! A person asks for a run.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use runs::{EnqueueError, JobType};
use serde::Deserialize;

use crate::access::posted::Posted;
use crate::access::session::Chosen;
use crate::asked::Id;
use crate::problem::Problem;
use crate::web::Web;

/// What a run says of who asked for it.
const TRIGGER: &str = "manual";

#[derive(Deserialize)]
pub(crate) struct Wanted {
    job_type: String,
}

pub(crate) async fn sync(
    State(web): State<Web>,
    chosen: Chosen,
    Id(id): Id,
    posted: Posted<Wanted>,
) -> Result<Response, Problem> {
    if !web.settings.jobs_enabled {
        return Err(Problem::not_found("jobs are switched off here (META_JOBS_ENABLED): no run can be asked for"));
    }
    let job = match posted.form.job_type.parse() {
        Ok(job @ (JobType::Fresh | JobType::SevenDayFill)) => job,
        _ => return Err(Problem::bad_request("from here a run is meta_fresh or meta_7d_fill")),
    };
    let mut tx = chosen.session.scope().begin(&web.pool).await?;
    let found = accounts::integration(&mut *tx, id).await?;
    let integration = found.ok_or_else(|| Problem::not_found("this tenant has no such integration"))?;
    if integration.status != accounts::Status::Connected {
        let status = integration.status.as_str().replace('_', " ");
        return Err(Problem::conflict(format!(
            "{} is not connected ({status}), so that nothing can be fetched: reconnect it first, at /integrations/{id}",
            integration.ad_account_name,
        )));
    }
    let enqueued = runs::enqueue(&mut *tx, id, job, TRIGGER, None).await.map_err(|error| match error {
        EnqueueError::Database(error) => error.into(),
        EnqueueError::NoIntegration { .. } | EnqueueError::NotOfTenant { .. } => {
            Problem::not_found("this tenant has no such integration")
        }
        error => Problem::conflict(error.to_string()),
    })?;
    tx.commit().await?;
    let became = if enqueued.already { "already" } else { "asked" };
    Ok(Redirect::to(&format!("/integrations/{id}?sync={became}#runs")).into_response())
}
