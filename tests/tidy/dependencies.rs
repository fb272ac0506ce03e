//! Every crate from outside has its reason beside its version, in the root `Cargo.toml`.

use crate::{Findings, nothing_in, tree};

/// What every Rust reader knows.
const OBVIOUS: [&str; 4] = ["serde", "thiserror", "tracing", "uuid"];

/// A line of `[workspace.dependencies]` has its reason in the comment right above it, or in one that names it before
/// its colon, as in `# chrono, chrono-tz: days of an ad account's zone.`
fn check(manifest: &str) -> Findings {
    let mut findings = Findings::new();
    let (mut inside, mut named, mut above) = (false, Vec::new(), false);
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if let Some(comment) = line.strip_prefix('#') {
            let names = comment.split_once(':').map_or("", |(names, _)| names);
            named = names.split(',').map(str::trim).collect();
            above = true;
            continue;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside) {
            let name = name.trim();
            let is_ours = value.contains("path =");
            if !is_ours && !above && !named.contains(&name) && !OBVIOUS.contains(&name) {
                findings.push(format!("Cargo.toml: {name} has no reason; write a comment above it: # {name}: why"));
            }
        }
        above = false;
    }
    findings
}

#[test]
fn crates_from_outside_have_a_reason() -> anyhow::Result<()> {
    nothing_in(check(&tree::read("Cargo.toml")?))
}

#[test]
fn a_crate_without_a_reason_is_found() {
    let dependencies = |lines: &str| {
        format!("[workspace]\nresolver = '3'\n[workspace.dependencies]\n{lines}\n[profile.dev]\ndebug = 1")
    };
    for (lines, expected) in [
        ("# The house.\nevents = { path = \"nats/events\" }\nraw = { path = \"consumers/raw\" }", 0),
        ("# bytes: buffers.\nbytes = \"1\"\nserde = \"1\"", 0),
        ("# chrono, chrono-tz: days.\nchrono = \"1\"\nchrono-tz = \"1\"", 0),
        ("# bytes: buffers.\nbytes = \"1\"\nnom = \"8\"", 1),
        ("# bytes: buffers.\n\nbytes = \"1\"\nnom = \"8\"", 1),
        ("nom = { version = \"8\", features = [] }\nlogos = \"1\"", 2),
    ] {
        let said = check(&dependencies(lines));
        assert_eq!(said.len(), expected, "{lines}: {said:?}");
    }
}
