//! Real servers in real processes: what becomes of them when their parent stops, is killed, or finds another's
//! leftovers.

mod folder;
mod leftovers;
mod missing;
mod orphans;
mod parent;
mod refusals;
mod root;
