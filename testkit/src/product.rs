use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds the product's binary as the program that asks was built, and says where it is.
#[expect(clippy::disallowed_methods, reason = "cargo says in the environment which cargo it is")]
pub fn build_adledger() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let this = std::env::current_exe()?;
    let folder = this.parent().context("a program is in a folder")?;
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["build", "--quiet", "--bin", "adledger"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "adledger cannot be built");
    Ok(folder.join("adledger"))
}
