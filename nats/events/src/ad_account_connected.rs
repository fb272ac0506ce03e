use chrono::{DateTime, Utc};
use cloudevents::{AttributesReader, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::announcement::{Announcement, AnnouncementError};
use crate::subject::Connection;
use crate::upcast::EventError;
use crate::{AD_ACCOUNT_CONNECTED_V1, AD_ACCOUNT_RECONNECTED_V1, AdAccount};

/// The data of `adledger.meta.ad_account.connected.v1` and of `adledger.meta.ad_account.reconnected.v1`: an ad account's
/// numbers belong to a tenant from now on, or do so again.
///
/// Who only wants to know that it happened needs the type and the subject; this is what it was at that moment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AdAccountConnected<'a> {
    /// The tenant.
    pub account_id: Uuid,
    pub integration_id: Uuid,
    #[serde(borrow)]
    pub ad_account: AdAccount<'a>,
    pub connected_at: DateTime<Utc>,
}

impl AdAccountConnected<'_> {
    pub fn announce(&self, event_id: Uuid, reconnected: bool) -> Result<Announcement, AnnouncementError> {
        let event_type = if reconnected { AD_ACCOUNT_RECONNECTED_V1 } else { AD_ACCOUNT_CONNECTED_V1 };
        let connection = Connection { account_id: self.account_id, integration_id: self.integration_id };
        let subject = connection.subject();
        Announcement::new(event_type, event_id, self.connected_at, "urn:adledger:accounts", subject, self)
    }
}

/// What happened to a connection, and the event that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    pub connection: Connection,
    /// CloudEvents names an event by its source and its id together.
    pub source: String,
    pub event_id: String,
    pub kind: ConnectionEventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEventKind {
    Connected,
    Reconnected,
}

/// Reads an event of META_CONNECT, whoever published it: type and subject say all that is needed, so the data may be any.
pub fn open_connection(attributes: &Event, subject: &str) -> Result<ConnectionEvent, EventError> {
    let kind = match attributes.ty() {
        AD_ACCOUNT_CONNECTED_V1 => ConnectionEventKind::Connected,
        AD_ACCOUNT_RECONNECTED_V1 => ConnectionEventKind::Reconnected,
        other => return Err(EventError::Type { found: other.to_owned(), expected: "adledger.meta.ad_account.*.v1" }),
    };
    Ok(ConnectionEvent {
        connection: Connection::parse(subject)?,
        source: attributes.source().to_string(),
        event_id: attributes.id().to_owned(),
        kind,
    })
}

/// The JSON Schema of the data.
pub(crate) fn schema(event_type: &str) -> serde_json::Value {
    let mut schema = schemars::schema_for!(AdAccountConnected<'static>);
    schema.insert("$id".into(), event_type.into());
    schema.to_value()
}
