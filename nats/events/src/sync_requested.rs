use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::SYNC_REQUESTED_V1;
use crate::announcement::{Announcement, AnnouncementError};
use crate::subject::{Priority, sync_request};

/// The data of `adledger.meta.sync.requested.v1`: a doorbell. The work is the run's row in PostgreSQL; a bell that is
/// lost costs some seconds, and one that rings twice nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SyncRequested {
    /// The tenant.
    pub account_id: Uuid,
    pub integration_id: Uuid,
    pub run_id: Uuid,
    /// As in `sync_runs`: `meta_7d_fill`, `meta_fresh`, `meta_settle` or `meta_backfill`.
    pub job_type: String,
}

impl SyncRequested {
    pub fn announce(
        &self,
        event_id: Uuid,
        at: DateTime<Utc>,
        priority: Priority,
    ) -> Result<Announcement, AnnouncementError> {
        let subject = sync_request(priority, self.integration_id);
        Announcement::new(SYNC_REQUESTED_V1, event_id, at, "urn:adledger:runs", subject, self)
    }
}

/// The JSON Schema of the data.
pub(crate) fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(SyncRequested);
    schema.insert("$id".into(), SYNC_REQUESTED_V1.into());
    schema.to_value()
}
