//! What cargo knows about the workspace: `cargo metadata`, and `Cargo.lock`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use crate::tree;

#[derive(Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub license: Option<String>,
    pub manifest_path: PathBuf,
    /// The registries it may be published to: none of them is an empty list, any is `None`.
    pub publish: Option<Vec<String>>,
    pub dependencies: Vec<Dependency>,
    pub targets: Vec<Target>,
}

#[derive(Clone, Default, Deserialize)]
pub struct Dependency {
    pub name: String,
    pub kind: Option<String>,
}

impl Dependency {
    /// Whether the crate itself needs it, and not only its tests, examples and benchmarks.
    pub fn is_for_tests_only(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

#[derive(Clone, Default, Deserialize)]
pub struct Target {
    pub kind: Vec<String>,
    pub src_path: PathBuf,
}

#[derive(Deserialize)]
pub struct Lock {
    pub package: Vec<Locked>,
}

/// A package as `Cargo.lock` pins it. Those of the workspace, and any other by path, have no source.
#[derive(Clone, Deserialize)]
pub struct Locked {
    pub name: String,
    pub source: Option<String>,
}

impl Metadata {
    /// The workspace and what it is built from on this platform; those are the packages that are surely here, so that
    /// cargo needs no network.
    pub fn read() -> anyhow::Result<Self> {
        let platform = host()?;
        let text =
            run(&["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform])?;
        serde_json::from_str(&text).context("cargo metadata is not what was expected")
    }

    /// The crates of this workspace.
    pub fn members(self) -> Vec<Package> {
        self.packages.into_iter().filter(|package| self.workspace_members.contains(&package.id)).collect()
    }
}

impl Lock {
    /// Everything that the workspace can be built from, on any platform.
    pub fn read() -> anyhow::Result<Self> {
        toml::from_str(&tree::read("Cargo.lock")?).context("Cargo.lock is not what was expected")
    }
}

fn host() -> anyhow::Result<String> {
    let version = run(&["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("cargo does not say which platform it is for")?.to_owned())
}

fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(tree::root()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "cargo {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}
