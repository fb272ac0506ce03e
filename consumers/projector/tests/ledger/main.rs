//! What a ledger is kept for: the past at any instant, and everything folded once more beside the live tables.

mod laws;
mod past;
mod rebuild;
mod stage;
