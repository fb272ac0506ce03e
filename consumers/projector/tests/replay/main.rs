//! The replay: what it compares, what it writes, and where it goes on.

mod damage;
mod house;
mod narrow;
mod pace;
mod record;
mod strange;
mod trust;
