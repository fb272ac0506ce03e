//! The commands, one file each: they assemble parts and print; no business rule lives here.

pub mod account;
pub mod audit;
pub mod backfill;
pub mod connect;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod migrate;
pub mod replay;
pub mod runs;
pub mod serve;
pub mod status;
pub mod streams;
pub mod sync;
