//! `cargo xtask web`: the Web UI, from its sources to the packed files that websrv is built with.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::count::Count;
use crate::need::{self, Node};
use crate::{guest, licences, sh};

/// What to do with it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Check types and words.
    Check,
    /// Serve the pages with hot reload, before a suite that runs: `cargo xtask sim` in another terminal.
    Dev {
        /// Where the suite serves.
        #[arg(long, default_value = "https://127.0.0.1:8443")]
        bmc: String,
        /// Where to serve.
        #[arg(long, default_value_t = 5173)]
        port: u16,
    },
}

/// Builds it, or does what is asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        None => build(),
        Some(What::Check) => check(),
        Some(What::Dev { bmc, port }) => {
            let node = ready()?;
            sh::say(&format!("\n  URL      http://127.0.0.1:{port}\n  BMC      {bmc}\n"));
            sh::run(
                script(&node, "node_modules/vite/bin/vite.js")
                    .args(["--host", "127.0.0.1", "--strictPort", "--port", &port.to_string()])
                    .env("UBMC_WEB_PROXY", bmc),
            )
        }
    }
}

fn folder() -> PathBuf {
    sh::root().join("web")
}

/// What `websrv` takes in.
fn packed() -> PathBuf {
    folder().join("packed")
}

/// A script of the folder's, run there.
fn script(node: &Node, name: &str) -> std::process::Command {
    let mut command = sh::command(&node.node);
    command.arg(name).current_dir(folder());
    command
}

/// Makes the packed files, unless they are those of the present sources.
pub(crate) fn build() -> Result<()> {
    let stamp = packed().join(".stamp");
    let sources = sources()?;
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == sources) {
        return Ok(());
    }
    sh::say("$ cargo xtask web");
    let node = ready()?;
    sh::run(script(&node, "node_modules/vite/bin/vite.js").args(["build", "--logLevel", "warn"]))?;
    let crates = folder().join("dist/crates.json");
    std::fs::write(&crates, licences::document()?)
        .with_context(|| format!("cannot write {}", crates.display()))?;
    sh::run(&mut script(&node, "scripts/pack.mjs"))?;
    std::fs::write(&stamp, sources).with_context(|| format!("cannot write {}", stamp.display()))
}

/// As [`build`], for who needs the pages less than what else is built. Without them the program says how they are made.
pub(crate) fn build_if_possible() {
    if let Err(error) = build() {
        sh::say(&format!("without the Web UI: {error:#}"));
    }
}

/// Types, words and languages.
pub(crate) fn check() -> Result<()> {
    let node = ready()?;
    sh::run(script(&node, "node_modules/svelte-check/bin/svelte-check").args([
        "--tsconfig",
        "tsconfig.json",
        "--fail-on-warnings",
    ]))?;
    sh::run(&mut script(&node, "scripts/messages.mjs"))
}

/// What its first load and its answers take, in the optimised program, which must be there.
pub(crate) fn bench() -> Result<()> {
    sh::say("\n=== Pages ===");
    need::tools(&[need::CHROMIUM])?;
    let node = ready()?;
    sh::run(
        script(&node, "tests/bench.mjs")
            .env("UBMC_TEST_BIN", sh::target_dir().join("release"))
            .env("UBMC_TEST_ARTEFACTS", sh::target_dir().join("web"))
            .env("UBMC_TEST_CHROMIUM", sh::located(need::CHROMIUM.program).unwrap_or_default()),
    )
}

/// As [`test`], the live sensors alone and for `minutes`.
pub(crate) fn live(minutes: u32, count: &mut Count) -> Result<()> {
    run_tests(&["--test-name-pattern=300 sensors"], "tests/pages.test.mjs", Some(minutes), count)
}

/// Its tests: a browser before the whole suite. The debug build of `u-bmc` and `ubmcctl` must be there.
pub(crate) fn test(count: &mut Count) -> Result<()> {
    check()?;
    count.passed += 1;
    run_tests(&[], "tests/*.test.mjs", None, count)
}

/// Longest that one test may take.
const LONGEST_TEST: Duration = Duration::from_mins(15);

/// Longest that all of them may take.
const LONGEST_RUN: Duration = Duration::from_mins(40);

/// Runs tests by node's own runner.
fn run_tests(args: &[&str], files: &str, live_minutes: Option<u32>, count: &mut Count) -> Result<()> {
    need::tools(&[need::CHROMIUM, need::OPENSSL, need::IP, need::SOCAT])?;
    need::qemu_x86()?;
    guest::build_login()?;
    let node = need::node()?;
    let artefacts = sh::target_dir().join("web");
    let limit = LONGEST_TEST + Duration::from_mins(live_minutes.unwrap_or(0).into());
    // What is before and after tests has no limit of its own with node.
    let mut command = sh::command("timeout");
    command
        .arg("--foreground")
        .arg(LONGEST_RUN.max(2 * limit).as_secs().to_string())
        .arg(&node.node)
        // What a failed test leaves open must not keep the run from its end.
        .args(["--test", "--test-reporter=tap", "--test-concurrency=1", "--test-force-exit"])
        .arg(format!("--test-timeout={}", limit.as_millis()))
        .args(args)
        .arg(files)
        .current_dir(folder())
        .env("UBMC_TEST_BIN", sh::target_dir().join("debug"))
        .env("UBMC_TEST_ARTEFACTS", &artefacts)
        .env("UBMC_TEST_GUEST", guest::login_directory())
        .env("UBMC_TEST_CHROMIUM", sh::located(need::CHROMIUM.program).unwrap_or_default())
        .envs(live_minutes.map(|minutes| ("UBMC_TEST_LIVE_MINUTES", minutes.to_string())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("node could not be started")?;
    let mut failed = false;
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.context("cannot read what node reports")?;
        let line = line.trim_start();
        let of = |what: &str| line.strip_prefix(what).and_then(|rest| rest.trim().parse::<u64>().ok());
        if let Some(passed) = of("# pass ") {
            count.passed += passed;
        } else if let Some(number) = of("# fail ").or_else(|| of("# cancelled ")) {
            count.failed += number;
        } else if let Some(at) = line.find("SKIP: ") {
            count.skip(line.get(at..).unwrap_or(line));
        }
        // What passed says nothing but its name and how long it took.
        if line.starts_with("not ok") {
            failed = true;
        }
        if line.starts_with("ok ") || line.starts_with("not ok ") || line.starts_with("# ") || failed {
            sh::say(line);
        }
    }
    sh::say(&format!("screenshots: {}", artefacts.display()));
    let status = child.wait()?;
    if status.code() == Some(124) {
        anyhow::bail!(
            "the tests of the Web UI had not ended after {} s",
            LONGEST_RUN.max(2 * limit).as_secs()
        );
    }
    if !status.success() {
        anyhow::bail!("the tests of the Web UI failed ({status})");
    }
    Ok(())
}

/// Node.js with the packages of the lock and the types of the schema.
fn ready() -> Result<Node> {
    let node = need::node()?;
    let lock =
        std::fs::read(folder().join("package-lock.json")).context("cannot read web/package-lock.json")?;
    let wanted = HEXLOWER.encode(&Sha256::digest(&lock));
    let stamp = folder().join("node_modules/.stamp");
    if !std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        sh::say("$ npm ci (web)");
        sh::run(&mut node.npm(&folder(), &["ci"]))?;
        std::fs::write(&stamp, wanted)?;
    }
    sh::run(&mut script(&node, "scripts/generate.mjs"))?;
    Ok(node)
}

/// What the pages are made of, in one number.
fn sources() -> Result<String> {
    let mut files = BTreeSet::new();
    let root = sh::root();
    for part in ["web", "schema/v1alpha1", "schema/third_party"] {
        collect(&root.join(part), &mut files)?;
    }
    files.extend([root.join("Cargo.toml"), root.join("Cargo.lock")]);
    let mut sum = Sha256::new();
    for file in files {
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        sum.update(format!("{name} {}\n", bytes.len()));
        sum.update(bytes);
    }
    Ok(HEXLOWER.encode(&sum.finalize()))
}

/// Every file below `folder` that somebody wrote.
fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    const MADE: [&str; 6] = ["node_modules", "dist", "packed", "gen", ".proto", "tests"];
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.insert(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pages_are_made_of_is_their_sources_and_the_schema_and_nothing_that_is_made() {
        let mut files = BTreeSet::new();
        collect(&folder(), &mut files).unwrap();
        collect(&sh::root().join("schema/v1alpha1"), &mut files).unwrap();
        let has = |name: &str| files.contains(&sh::root().join(name));
        assert!(has("web/src/main.ts") && has("web/package-lock.json") && has("schema/v1alpha1/host.proto"));
        assert!(files.iter().all(|file| !file.components().any(|part| part.as_os_str() == "node_modules")));
        assert_eq!(sources().unwrap(), sources().unwrap());
    }
}
