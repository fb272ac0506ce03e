use chrono::{DateTime, Utc};
use cloudevents::{AttributesReader, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::announcement::{Announcement, AnnouncementError};
use crate::subject::Connection;
use crate::upcast::EventError;
use crate::{
    AD_ACCOUNT_CONNECTED_V1, AD_ACCOUNT_DISCONNECTED_V1, AD_ACCOUNT_RECONNECTED_V1, AdAccount, TOKEN_EXPIRING_V1,
};

/// The data of `adledger.meta.ad_account.connected.v1` and of `adledger.meta.ad_account.reconnected.v1`: an ad
/// account's numbers belong to a tenant from now on, or do so again.
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

/// The data of `adledger.meta.ad_account.disconnected.v1`: an ad account's numbers stop coming. Those that came stay.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AdAccountDisconnected<'a> {
    /// The tenant.
    pub account_id: Uuid,
    pub integration_id: Uuid,
    #[serde(borrow)]
    pub ad_account: AdAccount<'a>,
    pub disconnected_at: DateTime<Utc>,
}

impl AdAccountDisconnected<'_> {
    pub fn announce(&self, event_id: Uuid) -> Result<Announcement, AnnouncementError> {
        let connection = Connection { account_id: self.account_id, integration_id: self.integration_id };
        let (at, subject) = (self.disconnected_at, connection.subject());
        Announcement::new(AD_ACCOUNT_DISCONNECTED_V1, event_id, at, "urn:adledger:accounts", subject, self)
    }
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It was made.
    Connected,
    /// It was renewed.
    Reconnected,
    /// It was ended: nothing is to be fetched.
    Disconnected,
    /// Its token comes to its end; until then nothing changes.
    TokenExpiring,
}

/// What happened to a connection, and the event that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    pub connection: Connection,
    pub happened: Happened,
    /// CloudEvents names an event by its source and its id together.
    pub source: String,
    pub event_id: String,
}

/// Reads an event of META_CONNECT, whoever published it: type and subject say all that is needed, so the data may be
/// any.
pub fn open_connection(attributes: &Event, subject: &str) -> Result<ConnectionEvent, EventError> {
    let happened = match attributes.ty() {
        AD_ACCOUNT_CONNECTED_V1 => Happened::Connected,
        AD_ACCOUNT_RECONNECTED_V1 => Happened::Reconnected,
        AD_ACCOUNT_DISCONNECTED_V1 => Happened::Disconnected,
        TOKEN_EXPIRING_V1 => Happened::TokenExpiring,
        other => {
            let expected = "adledger.meta.ad_account.*.v1 or adledger.meta.token.expiring.v1";
            return Err(EventError::Type { found: other.to_owned(), expected });
        }
    };
    Ok(ConnectionEvent {
        connection: Connection::parse(subject)?,
        happened,
        source: attributes.source().to_string(),
        event_id: attributes.id().to_owned(),
    })
}

/// The JSON Schema of the data of a connection that is made or renewed.
pub(crate) fn schema(event_type: &str) -> serde_json::Value {
    let mut schema = schemars::schema_for!(AdAccountConnected<'static>);
    schema.insert("$id".into(), event_type.into());
    schema.to_value()
}

/// That of one that is ended.
pub(crate) fn schema_of_end() -> serde_json::Value {
    let mut schema = schemars::schema_for!(AdAccountDisconnected<'static>);
    schema.insert("$id".into(), AD_ACCOUNT_DISCONNECTED_V1.into());
    schema.to_value()
}
