//! What cargo knows of the workspace.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::sh;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) targets: Vec<Target>,
}

/// Something that cargo builds of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    kind: Vec<String>,
}

impl Package {
    /// The names of the programs in its folder `tests`.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(|target| target.kind == ["test"]).map(|target| target.name.as_str())
    }
}

/// The crates of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let metadata = sh::output(sh::cargo_command().args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    Ok(metadata.packages)
}
