//! An event of a log, decoded for the folds by the rule of its ad account.

use logs::Logged;
use projections::{AdAccounts, Snapshot, Unfoldable};

/// Decodes an event for the folds, by the rule of its ad account.
pub fn decode(logged: &Logged, ad_accounts: &AdAccounts, max_event_bytes: u64) -> Result<Snapshot, Unfoldable> {
    let Logged { day, circumstances, stored_at, payload } = logged;
    Snapshot::decode(circumstances, *day, *stored_at, payload, ad_accounts.rule(day), max_event_bytes)
}

/// The same of an event that may be folded, or why it must not: said before it can take a row from an older snapshot.
pub(crate) fn admit(logged: &Logged, ad_accounts: &AdAccounts, max_event_bytes: u64) -> Result<Snapshot, String> {
    let snapshot = decode(logged, ad_accounts, max_event_bytes).map_err(|reason| reason.to_string())?;
    ad_accounts.refusal(&snapshot).map_or(Ok(snapshot), |refusal| Err(refusal.to_string()))
}
