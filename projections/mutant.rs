//! Faults that a test plants: a law that no fault can break proves nothing.

/// A deliberate fault in the fold. The law test plants one at a time and must notice; elsewhere none is ever planted,
/// and without the feature `mutants` none can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// An older snapshot is dropped whole once a newer one is known.
    WholeSnapshotNewestWins,
    /// A tenant's day is summed without its row being locked first.
    NoSummaryLock,
    /// A message is acknowledged before its transaction commits.
    AckBeforeCommit,
}
