//! A person asks for a run.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use runs::JobType;
use serde::Deserialize;

use crate::access::posted::Posted;
use crate::access::session::Chosen;
use crate::asked::Id;
use crate::asking::{ask, check_jobs};
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
    check_jobs(&web)?;
    let job = match posted.form.job_type.parse() {
        Ok(job @ (JobType::Fresh | JobType::SevenDayFill)) => job,
        _ => return Err(Problem::bad_request("from here a run is meta_fresh or meta_7d_fill")),
    };
    let mut tx = chosen.session.scope().begin(&web.pool).await?;
    let enqueued = ask(&web, &mut tx, id, job, TRIGGER).await?;
    tx.commit().await?;
    let became = if enqueued.already { "already" } else { "asked" };
    Ok(Redirect::to(&format!("/integrations/{id}?sync={became}#runs")).into_response())
}
