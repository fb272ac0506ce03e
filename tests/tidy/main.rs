//! The house rules that a reader would otherwise check by eye: who imports whom, how things are named and documented,
//! which licences come in. No server, no network: it asks cargo for the workspace and reads files.
//!
//! Each rule is a pure function from what was read to a list of what is wrong. One test feeds it the tree, another
//! feeds it a violation. The arrows stand in `docs/ARCHITECTURE.md`; why a rule is there, its file says.

mod cargo;
mod contract;
mod dependencies;
mod durables;
mod imports;
mod licences;
mod links;
mod manifests;
mod migrations;
mod permissions;
mod scope;
mod spdx;
mod text;
mod tree;

/// A sentence a violation: the file or crate, what is wrong, what to do.
type Findings = Vec<String>;

/// Fails with everything that was found, not only with the first of it.
fn nothing_in(findings: Findings) -> anyhow::Result<()> {
    anyhow::ensure!(findings.is_empty(), "{} found:\n  {}", findings.len(), findings.join("\n  "));
    Ok(())
}
