//! Names the assets' version after their bytes, so that a browser asks anew exactly when one has changed.

use std::hash::{DefaultHasher, Hasher};

fn main() {
    println!("cargo:rerun-if-changed=assets");
    let mut hasher = DefaultHasher::new();
    for name in ["app.css", "app.js", "htmx.min.js", "icon.svg"] {
        hasher.write(&std::fs::read(format!("assets/{name}")).unwrap_or_else(|error| panic!("assets/{name}: {error}")));
    }
    println!("cargo:rustc-env=ASSETS_VERSION={:016x}", hasher.finish());
}
