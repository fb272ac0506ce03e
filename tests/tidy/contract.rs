//! Every event type has a schema and a sample for ever, and nothing else lies beside them.

use crate::tree::{self, text_files_in};
use crate::{Findings, nothing_in};

const SCHEMAS: &str = "nats/events/schemas";
const SAMPLES: &str = "nats/events/tests/samples";

/// The string literals in `source` that are event types: `adledger.….vN`.
fn event_types(source: &str) -> Vec<&str> {
    let literals = source.split('"').skip(1).step_by(2);
    literals.filter(|literal| literal.starts_with("adledger.") && version(literal).is_some()).collect()
}

fn version(event_type: &str) -> Option<u32> {
    event_type.rsplit_once(".v")?.1.parse().ok()
}

fn check(types: &[&str], schemas: &[&str], samples: &[&str]) -> Findings {
    let mut findings = Findings::new();
    if types.is_empty() {
        findings.push("nats/events/src/lib.rs declares no event type: is this test reading the right file?".to_owned());
    }
    let schema = "generate it: cargo run -p events --example write_schemas";
    let sample = "commit an event of it that travelled; it is kept for ever";
    for (folder, files, missing) in [(SCHEMAS, schemas, schema), (SAMPLES, samples, sample)] {
        let is_of = |file: &str, event_type: &str| file.strip_suffix(".json") == Some(event_type);
        for event_type in types {
            if !files.iter().any(|file| is_of(file, event_type)) {
                findings.push(format!("{folder}/{event_type}.json is missing: {missing}"));
            }
        }
        for file in files {
            if !types.iter().any(|event_type| is_of(file, event_type)) {
                findings.push(format!("{folder}/{file} is of no event type that nats/events/src/lib.rs declares"));
            }
        }
    }
    findings
}

#[test]
fn every_event_type_has_a_schema_and_a_sample() -> anyhow::Result<()> {
    let source = tree::read("nats/events/src/lib.rs")?;
    let (schemas, samples) = (text_files_in(SCHEMAS)?, text_files_in(SAMPLES)?);
    let schemas: Vec<_> = schemas.iter().map(|file| file.name()).collect();
    let samples: Vec<_> = samples.iter().map(|file| file.name()).collect();
    nothing_in(check(&event_types(&source), &schemas, &samples))
}

mod violations {
    use super::*;

    #[test]
    fn types_are_found_in_the_source() {
        let source = r#"
            /// `adledger.a.v1` in a comment is none.
            pub const A: &str = "adledger.a.b.v1"; const B: &str = "adledger.a.b.v12";
            const NOT: [&str; 3] = ["adledger.a.b", "adledger.a.vx", "other.a.v1"];
        "#;
        assert_eq!(event_types(source), ["adledger.a.b.v1", "adledger.a.b.v12"]);
    }

    #[test]
    fn a_missing_and_an_orphaned_file_are_found() {
        let (one, two) = ("adledger.a.v1", "adledger.a.v2");
        let file = "adledger.a.v1.json";
        assert_eq!(check(&[one], &[file], &[file]), Findings::new());
        assert_eq!(check(&[one, two], &[file], &[file]).len(), 2);
        assert_eq!(check(&[one], &[file], &[]).len(), 1);
        assert_eq!(check(&[one], &[file, "adledger.old.v1.json"], &[file, "notes.txt"]).len(), 2);
        assert_eq!(check(&[], &[], &[]).len(), 1);
    }
}
