//! The call that whoever keeps the time makes: every integration that is out of its cooldown gets its fresh days.

use std::time::Duration;

use accounts::{Integration, Status};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use runs::FreshRequest;
use secrecy::SecretString;
use serde::Serialize;
use sqlx::PgConnection;
use subtle::ConstantTimeEq;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::caller::bearer;
use crate::access::tenant::Scope;
use crate::asking::{check_jobs, is_answered_for, refused};
use crate::problem::Problem;
use crate::web::Web;

/// How long a call goes on: less than an answer may take.
const WITHIN: Duration = Duration::from_secs(45);

/// What became of a call.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Scheduled {
    /// Runs that were made.
    enqueued: Vec<Enqueued>,
    /// Integrations that got none, and why.
    skipped: Vec<Skipped>,
    /// Tenants that could not be asked about; the next call tries again.
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enqueued {
    integration_id: Uuid,
    sync_run_id: Uuid,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Skipped {
    integration_id: Uuid,
    reason: Reason,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Failed {
    account_id: Uuid,
    detail: String,
}

/// Why an integration got no run.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// A run was asked for within `META_FRESH_SCHED_MINUTES`.
    Cooldown,
    /// A run waits or works.
    AlreadyRunning,
    /// Its token is no longer accepted.
    NeedsReconnect,
    /// Its data would be wrong in this tenant.
    Blocked,
    Disconnected,
    /// It is Meta's, and the service runs in stub mode, where nobody answers for it.
    StubMode,
}

/// Ask for the fresh days of every connected integration
///
/// For a clock outside, such as cron: once every some minutes. An integration within its cooldown
/// (`META_FRESH_SCHED_MINUTES`) gets no second run, however often and from wherever this is called.
#[utoipa::path(
    post, path = "/api/scheduler/meta", operation_id = "schedule", tag = "syncs",
    security(("cron_secret" = []), ("cron_secret_header" = [])),
    responses(
        (status = 202, description = "What was enqueued, what was not, and why", body = Scheduled, example = json!({
            "enqueued": [{"integration_id": "0192f0c1-5a5e-7d3a-9c1d-0a4f5d1c2b3a", "sync_run_id": "0192f0c2-77aa-7c11-8e0f-3b2a1c0d9e8f"}],
            "skipped": [{"integration_id": "0192f0c1-9b1f-7aa2-b6a4-1f2e3d4c5b6a", "reason": "cooldown"}],
            "failed": [],
        })),
        (status = 401, description = "No secret, or a wrong one"),
        (status = 404, description = "Meta's jobs are off (`META_JOBS_ENABLED`)"),
        (status = 429, description = "More than 60 calls a minute from one address"),
        (status = 503, description = "No secret is configured, or PostgreSQL does not answer"),
    ),
)]
pub(crate) async fn scheduler(
    State(web): State<Web>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Scheduled>), Problem> {
    check(&web, &headers)?;
    let tenants = {
        let mut tx = Scope::default().begin(&web.pool).await?;
        let ids = sqlx::query_scalar!(r#"select id as "id!" from web_tenants()"#).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        ids
    };
    let deadline = Instant::now() + WITHIN;
    let mut scheduled = Scheduled::default();
    for account_id in tenants {
        let asked = timeout_at(deadline, tenant(&web, account_id, &mut scheduled)).await;
        let late = || Problem::new(StatusCode::GATEWAY_TIMEOUT, "its turn did not come in time: the next call goes on");
        // The others do not wait for whatever is wrong here, and what was enqueued stays.
        if let Err(problem) = asked.unwrap_or_else(|_| Err(late())) {
            tracing::warn!(%account_id, detail = problem.detail, "the scheduler's call left a tenant out");
            scheduled.failed.push(Failed { account_id, detail: problem.detail });
        }
    }
    Ok((StatusCode::ACCEPTED, Json(scheduled)))
}

/// Who may call. Where the jobs are off, nothing else is said to anybody: neither whether there is a secret, nor
/// whether this one is it. Then whether there is one at all, which a guess cannot be right about; only then is it
/// compared.
fn check(web: &Web, headers: &HeaderMap) -> Result<(), Problem> {
    check_jobs(web)?;
    let Some(secret) = &web.settings.cron_secret else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no secret is configured, so that nobody may call this: set META_CRON_SECRET",
        ));
    };
    // Hashes, so that both sides have one length and the comparison tells nothing about either.
    let secret = accounts::secret_sha256(secret);
    let is_secret = |brought: SecretString| bool::from(accounts::secret_sha256(&brought).ct_eq(&secret));
    let header = headers.get("x-cron-secret").and_then(|value| value.to_str().ok());
    let brought = [bearer(headers), header.map(|value| value.trim().to_owned().into())];
    // Folded, not searched: both are compared, whichever is right.
    if brought.into_iter().flatten().fold(false, |found, brought| is_secret(brought) | found) {
        return Ok(());
    }
    Err(Problem::unauthorized("send the scheduler's secret: `Authorization: Bearer …`, or the header x-cron-secret"))
}

/// The integrations of a tenant, each in a transaction of its own that sees no other tenant.
async fn tenant(web: &Web, account_id: Uuid, scheduled: &mut Scheduled) -> Result<(), Problem> {
    let scope = Scope { account_id: Some(account_id), session_sha256: None };
    let mut tx = scope.begin(&web.pool).await?;
    let integrations = accounts::integrations(&mut *tx).await?;
    drop(tx);
    for integration in integrations {
        let integration_id = integration.id;
        let mut tx = scope.begin(&web.pool).await?;
        let asked = integration_of(web, &mut tx, integration).await?;
        tx.commit().await?;
        match asked {
            Ok(sync_run_id) => scheduled.enqueued.push(Enqueued { integration_id, sync_run_id }),
            Err(reason) => scheduled.skipped.push(Skipped { integration_id, reason }),
        }
    }
    Ok(())
}

/// The run that was made, or why none was.
async fn integration_of(
    web: &Web,
    conn: &mut PgConnection,
    integration: Integration,
) -> Result<Result<Uuid, Reason>, Problem> {
    if !is_answered_for(web, integration.origin) {
        return Ok(Err(Reason::StubMode));
    }
    let (account_id, id) = (integration.account_id, integration.id);
    let asked = runs::enqueue_fresh(&mut *conn, account_id, id, "scheduler", web.settings.fresh_cooldown).await;
    Ok(match asked.map_err(refused)? {
        FreshRequest::Enqueued { run_id } => Ok(run_id),
        FreshRequest::Unfinished { .. } => Err(Reason::AlreadyRunning),
        FreshRequest::CoolingDown { .. } => Err(Reason::Cooldown),
        FreshRequest::NotConnected => {
            // It may have changed since the list was read.
            let now = accounts::integration(&mut *conn, id).await?.map_or(integration.status, |now| now.status);
            Err(match now {
                Status::NeedsReconnect => Reason::NeedsReconnect,
                Status::Blocked => Reason::Blocked,
                // Connected: since a moment ago, when it was not.
                Status::Disconnected | Status::Connected => Reason::Disconnected,
            })
        }
    })
}
