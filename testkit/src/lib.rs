//! Tests only: real servers ([`database`], [`nats`]), random histories ([`history`]), a second fold written apart from
//! the first ([`oracle`]), a fake Graph API ([`graph`]), a real browser ([`browser`]), a collector of traces
//! ([`Collector`]), and two trials of the whole product: under misfortunes ([`faults`]), and of its manners towards Meta
//! ([`manners`]).
//!
//! The oracle never calls `projections`: it is slow, plain, and made from the invariants alone. What must not live here:
//! anything that the binary needs.

pub mod browser;
mod collector;
pub mod faults;
pub mod graph;
pub mod history;
pub mod manners;
pub mod oracle;
mod product;
mod record;
mod roles;
mod servers;
mod tenants;
pub mod wait;

pub use collector::Collector;
pub use product::build_adledger;
pub use record::record;
pub use roles::{nats_with_roles, permission_files};
pub use servers::{Database, LIMITS, Nats, database, nats, nats_by_default, nats_without_streams, options};
pub use tenants::Tenant;
