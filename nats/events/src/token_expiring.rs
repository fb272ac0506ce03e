use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::announcement::{Announcement, AnnouncementError};
use crate::subject::Connection;
use crate::{AdAccount, TOKEN_EXPIRING_V1};

/// The data of `adledger.meta.token.expiring.v1`: an ad account's numbers stop coming soon, unless somebody connects it
/// again.
///
/// One is written for each threshold and token. A token that takes its place begins afresh.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenExpiring<'a> {
    /// The tenant.
    pub account_id: Uuid,
    pub integration_id: Uuid,
    #[serde(borrow)]
    pub ad_account: AdAccount<'a>,
    /// What ends: the token itself, or its access to data, 90 days after its user was last there.
    pub ends: TokenEnd,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Days until then when this was written, begun ones as whole ones; 0 when it was over.
    pub days_left: i64,
    /// Which warning it is: that of 14 days before, of 7, or of 1. Of several that were passed unseen only the nearest
    /// is written.
    pub threshold: i32,
}

/// What ends of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenEnd {
    Token,
    DataAccess,
}

impl TokenExpiring<'_> {
    pub fn announce(&self, event_id: Uuid, at: DateTime<Utc>) -> Result<Announcement, AnnouncementError> {
        let connection = Connection { account_id: self.account_id, integration_id: self.integration_id };
        Announcement::new(TOKEN_EXPIRING_V1, event_id, at, "urn:adledger:accounts", connection.subject(), self)
    }
}

/// The JSON Schema of the data.
pub(crate) fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(TokenExpiring<'static>);
    schema.insert("$id".into(), TOKEN_EXPIRING_V1.into());
    schema.to_value()
}
