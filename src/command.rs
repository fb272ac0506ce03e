//! The commands, one file each: they assemble parts and print; no business rule lives here.

pub mod account;
pub mod audit;
pub mod backfill;
pub mod connect;
pub mod dead_letters;
pub mod demo;
pub mod disconnect;
pub mod doctor;
pub mod keys;
pub mod migrate;
pub mod password;
pub mod replay;
pub mod runs;
pub mod serve;
pub mod status;
pub mod streams;
pub mod sync;
pub mod token;

use anyhow::Result;
use chrono::NaiveDate;
use insights::plan::RangeError;

use crate::exit::usage;

/// Refuses a range that ends before it begins.
fn in_order(since: NaiveDate, until: NaiveDate) -> Result<()> {
    if since > until { Err(usage(RangeError::Backwards { since, until })) } else { Ok(()) }
}
