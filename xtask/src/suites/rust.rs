//! The tests that async-nats ships in its crate, as one program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Outcome, Suite, folder, ours};
use crate::sh;

/// Tests of what ours has not at all, or (`compatibility`) of a server that a test of theirs commands.
const LEFT_OUT: [&str; 5] = ["compatibility", "tls_tests", "websocket_test", "jwt_tests", "nkey_tests"];

pub(super) struct AsyncNats {
    program: PathBuf,
    directory: PathBuf,
}

impl AsyncNats {
    /// Writes the project below the target directory and builds it.
    pub(super) fn prepare() -> Result<Self> {
        let directory = folder().join("async-nats");
        std::fs::create_dir_all(directory.join("tests"))?;
        for name in ["Cargo.toml", "Cargo.lock", "nats_server.rs"] {
            write_changed(&directory.join(name), &std::fs::read(ours().join("async-nats").join(name))?)?;
        }
        // Cargo wants the file to be there before it says where the crate is.
        let suite = directory.join("tests/suite.rs");
        if !suite.exists() {
            std::fs::write(&suite, "")?;
        }
        let source = source(&directory)?;
        let configs = directory.join("tests/configs");
        if std::fs::read_link(&configs).ok().as_deref() != Some(&source.join("configs")) {
            std::fs::remove_file(&configs).ok();
            std::os::unix::fs::symlink(source.join("configs"), &configs)?;
        }
        write_changed(&suite, modules(&source)?.as_bytes())?;
        sh::say("$ cargo test --no-run (the tests of async-nats)");
        let built = sh::output(
            in_project(&directory, &["test", "--locked", "--no-run", "--message-format=json"])
                .stderr(std::process::Stdio::null()),
        )?;
        let program = built
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "suite")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .context("cargo built no program of the tests of async-nats")?;
        Ok(AsyncNats { program, directory })
    }
}

fn in_project(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = sh::cargo_command();
    command.current_dir(directory).args(arguments).env("CARGO_TARGET_DIR", sh::target_dir());
    command
}

/// Writes a file unless it has these bytes: cargo goes by the time of the last change.
fn write_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).ok().as_deref() != Some(bytes) {
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// The folder of the tests in the crate as cargo unpacked it.
fn source(directory: &Path) -> Result<PathBuf> {
    let metadata =
        sh::output(&mut in_project(directory, &["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "async-nats")
        .and_then(|package| package["manifest_path"].as_str())
        .context("cargo does not know where async-nats is")?;
    Ok(Path::new(manifest).parent().unwrap_or(Path::new("/")).join("tests"))
}

/// One module for each file of tests.
fn modules(source: &Path) -> Result<String> {
    let mut text = "#![allow(warnings)]\n\
        extern crate nats_server as jsonschema;\nextern crate nats_server as reqwest;\n\
        use async_nats::jetstream;\n"
        .to_owned();
    let mut files: Vec<PathBuf> = std::fs::read_dir(source)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if file.extension().is_some_and(|ext| ext == "rs") && !LEFT_OUT.contains(&name.as_str()) {
            let _ = writeln!(text, "#[path = {:?}]\nmod {name};", file.display().to_string());
        }
    }
    Ok(text)
}

impl Suite for AsyncNats {
    fn name(&self) -> &'static str {
        "async-nats"
    }

    fn tests(&self) -> Result<Vec<String>> {
        let listed = sh::output(Command::new(&self.program).arg("--list").current_dir(&self.directory))?;
        Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    fn portion(&self) -> usize {
        1
    }

    fn command(&self, tests: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.directory).args(["--exact", "--nocapture"]).args(tests);
        command
    }

    fn outcomes(&self, tests: &[String], success: bool, _: &str) -> BTreeMap<String, Outcome> {
        let outcome = if success { Outcome::Passed } else { Outcome::Failed };
        tests.iter().map(|test| (test.clone(), outcome)).collect()
    }

    fn patience(&self) -> u32 {
        40
    }
}
