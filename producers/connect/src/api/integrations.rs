//! What is connected, for programs that need the ids.

use accounts::Integration;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::problem::Problem;
use crate::web::Web;

/// A connection of one ad account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    id: Uuid,
    account_id: Uuid,
    /// Meta's id of the ad account.
    #[schema(example = "act_1234567890")]
    ad_account: String,
    ad_account_name: String,
    /// ISO 4217.
    currency: String,
    /// IANA name; days are days of this zone.
    timezone_name: String,
    /// `connected`, `needs_reconnect`, `blocked` or `disconnected`.
    status: String,
    /// In words, while it is not connected.
    status_reason: Option<String>,
    connected_at: DateTime<Utc>,
}

impl From<Integration> for Connection {
    fn from(i: Integration) -> Connection {
        Connection {
            id: i.id,
            account_id: i.account_id,
            ad_account: i.external_id,
            ad_account_name: i.ad_account_name,
            currency: i.currency,
            timezone_name: i.timezone_name,
            status: i.status.as_str().to_owned(),
            status_reason: i.status_reason,
            connected_at: i.connected_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Integrations {
    integrations: Vec<Connection>,
}

/// List the integrations of the tenant
#[utoipa::path(
    get, path = "/api/integrations", operation_id = "list_integrations", tag = "syncs",
    security(("api_token" = []), ("session" = [])),
    responses(
        (status = 200, description = "All of them", body = Integrations),
        (status = 409, description = "A session that has chosen no tenant"),
    ),
)]
pub(crate) async fn list(State(web): State<Web>, caller: Caller) -> Result<Json<Integrations>, Problem> {
    let mut tx = caller.scope.begin(&web.pool).await?;
    let integrations = accounts::integrations(&mut *tx).await?;
    tx.commit().await?;
    Ok(Json(Integrations { integrations: integrations.into_iter().map(Connection::from).collect() }))
}
