//! Work that is to be done: sync runs, the days they owe, how far the fetch has come, and who holds the lease.
//!
//! Here live: asking for a run ([`enqueue`], once a day [`enqueue_daily`], with a cooldown [`enqueue_fresh`]), taking
//! one ([`claim`]), everything that its holder writes ([`Lease`]), who asks for the daily ones ([`lead`]), who may not
//! ask now ([`throttle`]) and how much at once ([`FetchShape`]), and how the work stands ([`runs`], [`figures`]). What
//! must not live here: what a run fetches, HTTP, NATS. A message rings the bell, and is written to the outbox with the
//! row; the work is these rows.
//!
//! **Why two workers never do one run.** A claim raises the run's `lease_epoch`, and every write of its holder names
//! the epoch. A worker that slept past its lease finds its epoch gone, changes nothing, and learns it
//! ([`LeaseError::Lost`]).

mod claim;
mod daily;
mod days;
mod ended;
mod enqueue;
mod figures;
mod fresh;
mod job;
mod leader;
mod lease;
mod listing;
mod shape;
pub mod throttle;

pub use claim::claim;
pub use daily::enqueue_daily;
pub use days::{Cursor, DaysFolded, day_parked, days_folded, days_owed, sync_cursor, unfolded_days};
pub use ended::end_unfinished;
pub use enqueue::{EnqueueError, Enqueued, FillEvent, enqueue, enqueue_fill};
pub use figures::{DURATION_BOUNDS_SECONDS, Durations, Figures, figures};
pub use fresh::{FreshRequest, enqueue_fresh};
pub use job::{JobType, Window};
pub use leader::{lead, resign};
pub use lease::{Ending, Lease, LeaseError, PublishedDay, Throttled, WaitReason};
pub use listing::{Run, WaitingForLog, failed_days, newest, run, runs, runs_of, waiting, waiting_for_log};
pub use shape::{FetchShape, Learned, fetch_shape, remember_shape};
pub use throttle::{Block, ThrottleKey, ThrottleScope};
