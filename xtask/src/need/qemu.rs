//! QEMU: the board is modelled well enough from version 9 on, which Debian 12 has only in its backports.
//!
//! The emulators of all architectures share packages of one version, so both come from the same place together.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{apt_install, apt_update, is_root_on_debian};
use crate::sh;

const ARM: &str = "qemu-system-arm";
const X86: &str = "qemu-system-x86_64";
/// The Debian packages of both.
const PACKAGES: [&str; 2] = ["qemu-system-arm", "qemu-system-x86"];
/// The first version whose AST2600 is good enough.
const OLDEST: u32 = 9;

/// Where Debian 12 has a newer one, and what that builds on.
const BACKPORTS: &str = "\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-updates main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
";

/// Makes sure of the emulator of BMCs.
pub(crate) fn qemu_arm() -> Result<()> {
    if version_of(ARM).is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    install()?;
    match version_of(ARM) {
        Some(version) if version >= OLDEST => Ok(()),
        found => bail!("{ARM} is of version {found:?}, at least {OLDEST} is needed"),
    }
}

/// Makes sure of the emulator of hosts.
pub(crate) fn qemu_x86() -> Result<()> {
    if sh::on_path(X86) { Ok(()) } else { install() }
}

/// The first number of what `--version` says.
fn version_of(program: &str) -> Option<u32> {
    if !sh::on_path(program) {
        return None;
    }
    let out = sh::command(program).arg("--version").output().ok()?;
    parse(&String::from_utf8_lossy(&out.stdout))
}

fn parse(text: &str) -> Option<u32> {
    text.split("version ").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn install() -> Result<()> {
    if !is_root_on_debian() {
        bail!(
            "{} of version {OLDEST} or later are needed (on Debian 12: sudo apt-get install -t bookworm-backports {})",
            PACKAGES.join(" and "),
            PACKAGES.join(" ")
        );
    }
    if candidate()?.is_some_and(|version| version >= OLDEST) {
        return apt_install(&PACKAGES);
    }
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !os.lines().any(|line| line == "VERSION_CODENAME=bookworm") {
        bail!("{} of version {OLDEST} or later are needed; this system's are older", PACKAGES.join(" and "));
    }
    // A source list and package lists of our own: this machine's configuration stays as it is.
    let state = sh::target_dir().join("packages/apt/bookworm-backports");
    fs::create_dir_all(state.join("lists/partial"))
        .with_context(|| format!("cannot make {}", state.display()))?;
    fs::write(state.join("sources.list"), BACKPORTS)?;
    sh::say(&format!("$ apt-get install -t bookworm-backports {}", PACKAGES.join(" ")));
    sh::run(apt(&state).args(["update", "-q"]))?;
    sh::run(
        apt(&state)
            .args(["install", "-y", "-q", "--no-install-recommends", "-t", "bookworm-backports"])
            .args(PACKAGES)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn apt(state: &Path) -> Command {
    let mut command = sh::command("apt-get");
    command
        .arg("-o")
        .arg(format!("Dir::State::lists={}", state.join("lists").display()))
        .arg("-o")
        .arg(format!("Dir::Etc::SourceList={}", state.join("sources.list").display()))
        .args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Dir::Etc::Preferences=/dev/null"])
        .args(["-o", "Dir::Etc::PreferencesParts=/dev/null", "-o", "APT::Sandbox::User=root"])
        // What apt remembers of the usual lists would be thrown away with them.
        .args(["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="])
        .stdout(Stdio::null());
    command
}

/// The version this system's own sources would install.
fn candidate() -> Result<Option<u32>> {
    let ask = || -> Result<Option<u32>> {
        let answer = sh::output(sh::command("apt-cache").args(["policy", ARM]))?;
        Ok(parse_policy(&answer))
    };
    if let Some(version) = ask()? {
        return Ok(Some(version));
    }
    // The lists of a fresh machine are empty.
    apt_update()?;
    ask()
}

/// The number after the epoch in `  Candidate: 1:7.2+dfsg-7`.
fn parse_policy(text: &str) -> Option<u32> {
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        assert_eq!(parse("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"), Some(10));
        assert_eq!(parse("something else"), None);
        assert_eq!(
            parse_policy("qemu-system-arm:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg-7\n"),
            Some(7)
        );
        assert_eq!(parse_policy("qemu-system-arm:\n  Candidate: (none)\n"), None);
        assert_eq!(parse_policy(""), None);
    }
}
