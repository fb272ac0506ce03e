//! The pure contract of the wire: which events travel, under which subjects, in which bytes.
//!
//! Here live the CloudEvents attributes and their headers ([`headers`]), the subjects ([`subject`]), the event types
//! ([`InsightsFetched`], [`AdAccountConnected`], [`TokenExpiring`], [`SyncRequested`], [`DailySummaryChanged`]), the
//! payload codec ([`payload`]), the claim check of a payload that travels beside its event ([`Claim`]), and the version
//! that orders snapshots ([`Version`]). What must not live here: a NATS client, SQL, a clock, or anything that knows what
//! the numbers mean.
//!
//! The JSON Schemas in `schemas/` and the [`documents`] are generated from these types and from the [`catalogue`], and
//! `tests/samples/` keeps one event of each type and version for ever: a change that no longer reads them is refused by
//! the tests.

mod ad_account_connected;
mod announcement;
pub mod catalogue;
mod claim;
mod daily_summary_changed;
pub mod documents;
pub mod headers;
mod insights_fetched;
mod parts;
pub mod payload;
pub mod subject;
mod sync_requested;
mod token_expiring;
mod upcast;
mod version;

pub use ad_account_connected::{AdAccountConnected, AdAccountDisconnected, ConnectionEvent, Happened, open_connection};
pub use announcement::{Announcement, AnnouncementError};
pub use claim::{BUCKET, Claim};
pub use daily_summary_changed::{Cause, DailySummaryChanged, DailySummaryValues};
pub use insights_fetched::{
    AdAccount, Circumstances, ControlTotal, InsightsData, InsightsFetched, Request, schema as insights_fetched_schema,
};
pub use parts::{Parts, PartsError};
pub use sync_requested::SyncRequested;
pub use token_expiring::{TokenEnd, TokenExpiring};
#[cfg(feature = "made-up-versions")]
pub use upcast::made_up;
pub use upcast::{EventError, Upcaster, open_insights};
pub use version::Version;

/// Type of the event that carries one ad account's day, as CloudEvents names it.
pub const INSIGHTS_FETCHED_V1: &str = "adledger.meta.insights.fetched.v1";
/// Type of the event that an ad account was connected to a tenant for the first time.
pub const AD_ACCOUNT_CONNECTED_V1: &str = "adledger.meta.ad_account.connected.v1";
/// Type of the event that a connection was renewed.
pub const AD_ACCOUNT_RECONNECTED_V1: &str = "adledger.meta.ad_account.reconnected.v1";
/// Type of the event that a connection was ended.
pub const AD_ACCOUNT_DISCONNECTED_V1: &str = "adledger.meta.ad_account.disconnected.v1";
/// Type of the event that a connection's token comes to its end.
pub const TOKEN_EXPIRING_V1: &str = "adledger.meta.token.expiring.v1";
/// Type of the event that rings for a sync run.
pub const SYNC_REQUESTED_V1: &str = "adledger.meta.sync.requested.v1";
/// Type of the event that a tenant's day says something else than before.
pub const DAILY_SUMMARY_CHANGED_V1: &str = "adledger.warehouse.daily_summary.changed.v1";

/// Every event type of the wire with the JSON Schema of its data, in the order of the documentation.
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    vec![
        (INSIGHTS_FETCHED_V1, insights_fetched_schema()),
        (AD_ACCOUNT_CONNECTED_V1, ad_account_connected::schema(AD_ACCOUNT_CONNECTED_V1)),
        (AD_ACCOUNT_RECONNECTED_V1, ad_account_connected::schema(AD_ACCOUNT_RECONNECTED_V1)),
        (AD_ACCOUNT_DISCONNECTED_V1, ad_account_connected::schema_of_end()),
        (TOKEN_EXPIRING_V1, token_expiring::schema()),
        (SYNC_REQUESTED_V1, sync_requested::schema()),
        (DAILY_SUMMARY_CHANGED_V1, daily_summary_changed::schema()),
    ]
}
