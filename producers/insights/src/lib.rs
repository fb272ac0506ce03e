//! From a run to events: plan (pure), fetch, translate (pure), publish.
//!
//! Read [`plan`] for which days a job asks for, [`source`] for who is asked (Meta, or the stub in `stub`), `translate`
//! for how an answer becomes the data of one event, and [`Fetcher`] for the order in which all of it happens. What must
//! not live here: SQL (that is `accounts` and `runs`), HTTP (`meta-api`), or what a number means.
//!
//! **What a crash costs.** The day's event is published first and the day is written down second. A worker that dies in
//! between leaves a day that is still due, and the next holder of the run fetches it again: a second event with a newer
//! version, which the fold is made for. Nothing is lost, and nothing counts twice.

mod clock;
mod day;
mod fetcher;
pub mod plan;
pub mod source;
mod stub;
mod translate;

pub use clock::Clock;
pub use fetcher::{Fetcher, Step};
pub use source::Sources;
