//! `cargo run -p events --example write_schemas`: writes the JSON Schema of every event type into
//! `nats/events/schemas`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    std::fs::create_dir_all(&folder)?;
    for (event_type, schema) in events::schemas() {
        let file = folder.join(event_type).with_added_extension("json");
        std::fs::write(&file, format!("{schema:#}\n"))?;
        println!("{}", file.display());
    }
    Ok(())
}
