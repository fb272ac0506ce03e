//! The folds: what the tables say, given the events.
//!
//! One folder a table, read in the order in which a transaction writes them: `observations` (one row an event),
//! `fact_meta_daily` (the newest row of each ad), [`daily_meta_metrics`] (an ad account's day, and its head),
//! `daily_summary` (a tenant's day). `decode` makes of an event what they need, `timeline` says which of a day's
//! snapshots counts for what, `fold` writes what new ones bring, and `mend` what is not what all of them say.
//! [`purchases`] is the rule by which purchases are read, and [`AdAccounts`] holds the newest one of each ad account.
//!
//! **Why any order ends in the same tables.** Which row an ad has, since when it is absent, and whether it is proven
//! gone are functions of the *set* of a day's observations; they are worked out anew from that set whenever an
//! observation is added, and the tables of sums anew from the rows. A duplicate adds nothing to a set. Two transactions
//! that touch one day take turns at its head; two that touch one tenant's day take turns at its summary.
//!
//! **Why a changed rule is safe beside all that.** A fold holds the rules from the beginning of its transaction, and
//! folds only snapshots that were read by the newest; who adds a rule waits for those that began before. So every
//! observation that is folded after a rule was added names that rule, those that name an older one are the days still
//! to be folded again, and there are never more of them.
//!
//! What must not live here: NATS, HTTP, a clock, a setting, a random number. A fold that reads one of them cannot be
//! repeated.

mod ad_accounts;
pub mod daily_meta_metrics;
mod daily_summary;
mod decode;
mod fact_meta_daily;
mod fold;
mod keys;
mod mend;
mod mutant;
mod observations;
pub mod purchases;
mod shapes;
mod timeline;

pub use ad_accounts::{AdAccounts, Refusal};
pub use daily_summary::SummaryChange;
pub use decode::content_sha256;
pub use decode::snapshot::{self, Snapshot, Unfoldable};
pub use fold::{Folded, Folds, begin};
pub use keys::{Days, SummaryKey};
pub use mend::{Differences, Mended, summary_keys};
pub use mutant::Mutant;
pub use shapes::{TABLES, Table, recreate_tables, shadow_for_session};

/// Version of the fold, written on each row it makes. Raise it when equal events would give other rows: heads with an
/// older version then show which days a replay still has to fold again.
pub const PROJECTION_VERSION: i32 = 1;
