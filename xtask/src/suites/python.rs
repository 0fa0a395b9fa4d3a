//! The tests of the Python clients, from those of their source distributions that still carry them, on the client of the same
//! release. Files that are not in them (certificates, keys, configurations) are missing to both servers alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Outcome, Suite, folder, ours};
use crate::sh;

/// The newest of each that has its tests.
const NATS_PY: &str = "nats_py-2.14.0";
const NATS_CORE: &str = "nats_core-0.1.0";
const NATS_JETSTREAM: &str = "nats_jetstream-0.1.0";
const NATS_KEY_VALUE: &str = "nats_key_value-0.1.0";

pub(super) struct Pytest {
    name: &'static str,
    python: PathBuf,
    directory: PathBuf,
    path: String,
    /// Ours are the fixtures, and their server has streams.
    fixtures: Option<bool>,
}

pub(super) fn prepare(venv: &Path) -> Result<Vec<Box<dyn Suite>>> {
    let python = venv.join("bin/python");
    let ours = ours().join("nats-py");
    for release in [NATS_PY, NATS_CORE, NATS_JETSTREAM, NATS_KEY_VALUE] {
        unpack(&python, release)?;
        std::fs::copy(ours.join("conftest.py"), folder().join(release).join("conftest.py"))?;
    }
    let tests = folder().join(NATS_PY).join("tests");
    std::fs::write(tests.join("__init__.py"), "")?;
    std::fs::copy(ours.join("tests/utils.py"), tests.join("utils.py"))?;
    // Read when the tests are collected, used by tests that need more than is there.
    let keys = folder().join(NATS_CORE).join("tests/jwts");
    std::fs::create_dir_all(&keys)?;
    for name in ["foo-user.jwt", "foo-user.nk", "foo-user.creds", "bad-user.creds"] {
        std::fs::write(keys.join(name), "none\n")?;
    }

    let source = |release: &str| folder().join(release).join("src").display().to_string();
    let suite = |name, release: &str, path: Vec<String>, fixtures| -> Box<dyn Suite> {
        let path = path.join(":");
        let directory = folder().join(release);
        Box::new(Pytest { name, python: python.clone(), directory, path, fixtures })
    };
    let server = ours.display().to_string();
    Ok(vec![
        suite("nats-py", NATS_PY, vec![source(NATS_PY)], None),
        suite("nats-core", NATS_CORE, vec![source(NATS_CORE), server.clone()], Some(false)),
        suite(
            "nats-jetstream",
            NATS_JETSTREAM,
            vec![source(NATS_JETSTREAM), source(NATS_CORE), server.clone()],
            Some(true),
        ),
        // It needs a newer nats-jetstream than the one with tests: the installed one.
        suite("nats-key-value", NATS_KEY_VALUE, vec![source(NATS_KEY_VALUE), server], Some(true)),
    ])
}

/// A source distribution, from the index of packages, once.
fn unpack(python: &Path, release: &str) -> Result<()> {
    if folder().join(release).join("tests").is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder())?;
    let (name, version) = release.rsplit_once('-').context("a release is a name and a version")?;
    let wanted = format!("{}=={version}", name.replace('_', "-"));
    sh::say(&format!("$ pip download {wanted}"));
    sh::run(
        sh::command(python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--no-binary", ":all:", "--dest"])
            .arg(folder())
            .arg(&wanted),
    )?;
    let archive = folder().join(format!("{release}.tar.gz"));
    sh::run(sh::command("tar").arg("-xzf").arg(archive).arg("-C").arg(folder()))
}

impl Pytest {
    fn pytest(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .current_dir(&self.directory)
            .args(["-m", "pytest", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--tb=short"])
            .args(["-o", "asyncio_default_fixture_loop_scope=function"])
            .env("PYTHONPATH", &self.path)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(streams) = self.fixtures {
            command.env("SUITE_FIXTURES", "1").env("SUITE_JETSTREAM", if streams { "1" } else { "0" });
        }
        command
    }
}

impl Suite for Pytest {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tests(&self) -> Result<Vec<String>> {
        let listed = sh::output(self.pytest().args(["--collect-only", "-q", "tests"]))?;
        Ok(listed.lines().filter(|line| line.contains("::")).map(str::to_owned).collect())
    }

    fn portion(&self) -> usize {
        16
    }

    fn command(&self, tests: &[String]) -> Command {
        let mut command = self.pytest();
        command.args(["-v", "--timeout", &self.patience().to_string()]).args(tests);
        command
    }

    fn outcomes(&self, tests: &[String], _: bool, output: &str) -> BTreeMap<String, Outcome> {
        // `<test> <OUTCOME> [ 50%]`; a test whose end fails after it passed is there twice.
        let mut outcomes = BTreeMap::new();
        for test in tests {
            let said = output.lines().filter_map(|line| line.strip_prefix(test.as_str())?.strip_prefix(' '));
            let said = said.filter_map(|rest| match rest.split_whitespace().next()? {
                "PASSED" | "XFAIL" => Some(Outcome::Passed),
                "SKIPPED" => Some(Outcome::Skipped),
                "FAILED" | "ERROR" => Some(Outcome::Failed),
                _ => None,
            });
            if let Some(worst) = said.max() {
                outcomes.insert(test.clone(), worst);
            }
        }
        outcomes
    }

    fn patience(&self) -> u32 {
        30
    }
}
