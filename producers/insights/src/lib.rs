//! From a run to events: plan (pure), fetch, translate (pure), publish.
//!
//! Read [`plan`] for which days a job asks for, `ladder` for how many of them one question asks for, and how, `gate`
//! for when it may leave, [`source`] for who is asked (Meta, or the stub in `stub`), `translate` for how an answer
//! becomes the data of one event, [`Fetcher`] for who takes which run, `work` for the order in which one is done,
//! [`Scheduler`] for the runs that nobody has to ask for, and [`TokenWatch`] for the tokens that are asked about. What
//! must not live here: SQL (that is `accounts` and `runs`), HTTP (`meta-api`), or what a number means.
//!
//! **What a crash costs.** A day's event is published first and the day is written down second. A worker that dies in
//! between leaves days that are still due, and the next holder of the run fetches them again: second events with newer
//! versions, which the fold is made for. Nothing is lost, and nothing counts twice.

mod clock;
mod day;
mod fetcher;
mod gate;
mod ladder;
pub mod plan;
mod schedule;
pub mod source;
mod stub;
mod token_watch;
mod translate;
mod work;

pub use clock::Clock;
pub use fetcher::{DURABLE, FetchError, Fetcher, Shared, Step};
pub use schedule::Scheduler;
pub use source::Sources;
pub use token_watch::TokenWatch;
