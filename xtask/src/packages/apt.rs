//! What a suite carries today, by its signed index. The apt that asks has a state of its own: this machine's is left alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::lock::{Locked, Suite};
use crate::sh;

/// Whose signature an index must have.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package as an index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
    pub(crate) path: String,
    depends: String,
}

/// What the suite carries in place of a locked package: the locked version if it has that, else its newest.
pub(crate) fn current(state: &Path, suite: &Suite, locked: &Locked) -> Result<Offered> {
    // One state a suite and architecture: an index that fails to load harms no other.
    let state = state.join(format!("{}-{}", suite.suite, locked.architecture));
    update(&state, suite, &locked.architecture)?;
    let mut offers = offers(&state, &locked.name, &locked.architecture)?;
    if let Some(same) = offers.iter().find(|o| o.version == locked.version) {
        return Ok(same.clone());
    }
    if offers.is_empty()
        && let Some(metapackage) = &locked.follows
        && let Some(name) = self::offers(&state, metapackage, &locked.architecture)?
            .first()
            .and_then(Offered::first_dependency)
    {
        offers = self::offers(&state, &name, &locked.architecture)?;
    }
    offers.into_iter().next().with_context(|| {
        format!("{} ({}) is not in {} in any version", locked.name, locked.architecture, suite.suite)
    })
}

impl Offered {
    fn first_dependency(&self) -> Option<String> {
        self.depends.split([',', '|']).next()?.split_whitespace().next().map(str::to_owned)
    }
}

/// apt, with everything of its own below `state`.
fn apt(state: &Path, architecture: &str, program: &str) -> Command {
    let mut command = sh::command(program);
    for (key, value) in [
        ("Dir::State", state.join("state")),
        ("Dir::State::status", state.join("status")),
        ("Dir::Cache", state.join("cache")),
        ("Dir::Etc::SourceList", state.join("sources.list")),
    ] {
        command.arg("-o").arg(format!("{key}={}", value.display()));
    }
    command
        .args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Dir::Etc::Preferences=/dev/null"])
        .args(["-o", "Dir::Etc::PreferencesParts=/dev/null", "-o", "APT::Sandbox::User=root"])
        .arg("-o")
        .arg(format!("APT::Architecture={architecture}"))
        .arg("-o")
        .arg(format!("APT::Architectures={architecture}"))
        .stdin(Stdio::null());
    command
}

fn update(state: &Path, suite: &Suite, architecture: &str) -> Result<()> {
    if !Path::new(KEYRING).is_file() {
        bail!("{KEYRING} is needed to verify an index of Debian (package debian-archive-keyring)");
    }
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(folder))?;
    }
    fs::write(state.join("status"), "")?;
    let source = format!(
        "deb [signed-by={KEYRING} arch={architecture} target=Packages lang=none] {} {} main\n",
        suite.uri, suite.suite
    );
    fs::write(state.join("sources.list"), source)?;
    sh::say(&format!("$ apt-get update (private, {} {architecture})", suite.suite));
    let out = apt(state, architecture, "apt-get")
        .args(["update", "-q", "--error-on=any"])
        .output()
        .context("apt-get could not be started")?;
    if !out.status.success() {
        bail!("the index of {} cannot be had: {}", suite.suite, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

/// Every version of a package in the index, the newest first.
fn offers(state: &Path, name: &str, architecture: &str) -> Result<Vec<Offered>> {
    let out = apt(state, architecture, "apt-cache")
        .args(["show", name])
        .output()
        .context("apt-cache could not be started")?;
    // Not to know a package is an answer.
    Ok(String::from_utf8_lossy(&out.stdout)
        .split("\n\n")
        .filter_map(parse)
        .filter(|o| o.name == name)
        .collect())
}

fn parse(stanza: &str) -> Option<Offered> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    Some(Offered {
        name: field("Package")?,
        version: field("Version")?,
        sha256: field("SHA256")?,
        path: field("Filename")?,
        depends: field("Depends").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_of_an_index_is_understood() {
        let stanza = "Package: linux-image-armmp\nVersion: 6.12.117-1\nDepends: linux-image-6.12.117+deb13-armmp (= 6.12.117-1), other\nFilename: pool/main/l/x.deb\nDescription: a kernel\n Depends: not this\nSHA256: 73ab";
        let offered = parse(stanza).unwrap();
        assert_eq!(offered.version, "6.12.117-1");
        assert_eq!(offered.sha256, "73ab");
        assert_eq!(offered.first_dependency().as_deref(), Some("linux-image-6.12.117+deb13-armmp"));
        assert_eq!(parse("Package: half\nVersion: 1"), None);
    }
}
