//! The web side: people connect ad accounts and look how their data is, programs ask for syncs and read summaries.
//!
//! Here live: who asks, and what they may see ([`access`]: sessions, API tokens, one tenant a transaction, the limits);
//! the connect flow (`flow`, and what it asks before a connection: [`Examination`], the command line's too), the API
//! (`api`), the pages (`pages`). Whoever assembles the process merges [`router`] into what it serves. What must not
//! live here: the fold (its tables are read through SQL), NATS (what is to be announced goes through the outbox), the
//! environment, or what a run fetches.
//!
//! **Why nobody sees what is not theirs.** A request's tenant comes from its credential. All SQL of the request runs in
//! a transaction as the role `adledger_web` with that tenant set, and PostgreSQL shows that role no other tenant's
//! rows: a query that forgets its condition finds nothing foreign.
//!
//! Reading order: `web.rs` (every route, and the layers around it), `access/tenant.rs`, then a handler.

pub mod access;
mod api;
mod asked;
mod asking;
mod assets;
mod checks;
mod directory;
mod flow;
mod pages;
mod past;
mod problem;
mod settings;
mod web;

pub use access::password;
pub use access::rate::network;
pub use checks::{
    Check, CheckName, CheckState, Examination, Examined, Known, MAX_TOKEN_BYTES, day_to_ask_of, is_token_text,
};
pub use directory::{Directory, Listing, TokenFacts, ToldBy};
pub use flow::disconnect;
pub use past::{Past, PastDay, PastError};
pub use problem::Problem;
pub use settings::{Settings, SettingsError};
pub use web::{Connect, router};
