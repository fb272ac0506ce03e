//! The committed JSON Schemas are those of the types: whoever reads our events from another language can rely on them.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (event_type, schema) in events::schemas() {
        let file = folder.join(event_type).with_added_extension("json");
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == format!("{schema:#}\n"),
            "schemas/{event_type}.json is not the schema of the type. If the type changed in a way that old events still \
             fit, run `cargo run -p events --example write_schemas` and commit the file; else give the event a new version"
        );
    }
}

#[test]
fn every_committed_schema_has_a_type() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the schemas are committed")
        .map(|entry| entry.expect("can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    let types: BTreeSet<String> =
        events::schemas().into_iter().map(|(event_type, _)| format!("{event_type}.json")).collect();
    assert_eq!(files, types);
}

#[test]
fn a_schema_names_its_type_and_leaves_meta_s_rows_open() {
    for (event_type, schema) in events::schemas() {
        assert_eq!(schema["$id"], event_type);
    }
    let (_, schema) = events::schemas().remove(0);
    let row = &schema["properties"]["rows"]["items"];
    assert_eq!((&row["type"], &row["additionalProperties"]), (&"object".into(), &true.into()));
}
