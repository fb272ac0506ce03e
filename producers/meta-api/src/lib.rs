//! What Meta's Graph API says about ad accounts and their days, over HTTP, and how a person grants access to them.
//!
//! Here live the client ([`MetaApi`]), paging by cursor, reports, the reading of usage headers, the classes of Meta's
//! errors ([`classify`]), the waits that follow from them, OAuth up to a long-lived token, and the rule that neither a
//! token nor any other secret is in a text that leaves this crate. What must not live here: anything of ours (events,
//! NATS, SQL), a clock, the environment, or what a number means. Rows leave this crate as the JSON slices that Meta
//! sent.
//!
//! Reading order: `insights.rs` (a window of days of one ad account), `client.rs` (one question, asked until it is
//! answered), `classify.rs` (what an error means), `gate.rs` (who lets requests out), `patience.rs` (how long to wait
//! where nobody does). For the connect flow: `oauth.rs`, `token.rs`, `proof.rs` (what goes along with a token of our
//! own app), `ad_accounts.rs`.

mod account;
mod ad_accounts;
mod authorization;
mod classify;
mod client;
mod config;
mod errors;
mod gate;
mod insights;
mod json;
mod list;
mod oauth;
mod paging;
mod patience;
mod proof;
mod report;
mod rows;
mod secrets;
mod token;
mod transport;
mod usage;

pub use account::AdAccount;
pub use classify::{Class, Meaning, Said, classify};
pub use client::{MetaApi, check_ad_account_id};
pub use config::{ClientConfig, ConfigError};
pub use errors::{Error, Refusal};
pub use gate::{Closed, Gate, Passing, Quota, Throttle};
pub use insights::{Access, ControlTotal, DayAnswer, InsightsQuery, Shape, Totals, Way};
pub use oauth::{App, GrantedToken, dialog_refusal};
#[doc(hidden)]
pub use paging::decode_page;
pub use patience::{Observer, Progress};
pub use proof::AccessToken;
pub use rows::Rows;
pub use token::{TokenFacts, ToldBy};
