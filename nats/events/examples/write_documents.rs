//! `cargo run -p events --example write_documents`: writes `docs/EVENTS.md` and `docs/asyncapi.json` from the types.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::write(folder.join("EVENTS.md"), events::documents::page()?)?;
    std::fs::write(folder.join("asyncapi.json"), format!("{:#}\n", events::documents::asyncapi()))?;
    println!("{}", folder.display());
    Ok(())
}
