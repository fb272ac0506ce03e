//! The commands, one file each: they assemble parts and print; no business rule lives here.

pub mod account;
pub mod as_of;
pub mod audit;
pub mod backfill;
pub mod connect;
pub mod dead_letters;
pub mod demo;
pub mod disconnect;
pub mod doctor;
mod findings;
pub mod keys;
pub mod log;
mod log_source;
pub mod migrate;
mod names;
pub mod password;
pub mod purchase_rule;
pub mod rebuild;
pub mod reconcile;
pub mod replay;
pub mod replays;
pub mod runs;
pub mod serve;
pub mod settlement;
pub mod status;
pub mod streams;
pub mod sync;
pub mod token;
pub mod verify;

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use insights::plan::RangeError;
use sqlx::PgPool;
use uuid::Uuid;

use crate::exit::usage;

/// Refuses a range that ends before it begins.
fn in_order(since: NaiveDate, until: NaiveDate) -> Result<()> {
    if since > until { Err(usage(RangeError::Backwards { since, until })) } else { Ok(()) }
}

/// The one ad account of that name (Meta's id, or ours), of a tenant's or of all.
async fn ad_account_named(pool: &PgPool, name: &str, account_id: Option<Uuid>) -> Result<Uuid> {
    let found = accounts::named_ad_accounts(pool, name, account_id).await;
    match found.context("the ad account cannot be looked up")?.as_slice() {
        [id] => Ok(*id),
        [] => bail!("ad account {name:?} is not connected: `adledger status` lists those that are"),
        _ => bail!("ad account {name} belongs to several tenants: say which with --account"),
    }
}
