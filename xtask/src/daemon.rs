//! The throw-away daemon of docs/porting-a-daemon.md: that it can be added by these steps, and that it works then.

use anyhow::{Context as _, Result, ensure};

use crate::sh;

/// What a person writes.
const PATCH: &str = "tests/daemon/tally.patch";
/// What tools write beside.
#[cfg(test)]
const WRITTEN: [&str; 2] = ["Cargo.lock", "docs/reference.md"];
/// What a daemon may cost at most, files and lines.
const FILES_MAX: usize = 10;
const LINES_MAX: usize = 250;

/// Adds it to a copy of the tree, and builds and tests it there.
pub(crate) fn run() -> Result<()> {
    let target = sh::target_dir().join("daemon");
    let tree = &target.join("tree");
    match std::fs::remove_dir_all(tree) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listed = sh::output(sh::command("git").args(["ls-files", "-z"]))?;
    for file in listed.split('\0').filter(|file| sh::root().join(file).is_file()) {
        let to = tree.join(file);
        std::fs::create_dir_all(to.parent().unwrap_or(tree.as_path()))?;
        std::fs::copy(sh::root().join(file), &to).with_context(|| format!("cannot copy {file}"))?;
    }
    let git = |args: &[&str]| sh::output(sh::command("git").args(args).current_dir(tree));
    git(&["init", "-q"])?;
    git(&["add", "-A"])?;
    git(&["apply", PATCH])?;
    let cargo = |args: &[&str]| -> Result<()> {
        sh::say(&format!("$ cargo {}", args.join(" ")));
        sh::run(
            sh::cargo_command()
                .args(args)
                .current_dir(tree)
                .env("CARGO_TARGET_DIR", &target)
                .env("UPDATE_DOCS", "1"),
        )
    };
    cargo(&["test", "--offline", "--package", "roster", "--package", "schema", "--lib", "--test", "docs"])?;
    git(&["add", "-A", "-N"])?;
    let changed = git(&["diff", "--numstat"])?;
    let (files, lines) = cost(&changed);
    sh::say(&format!("a daemon costs {files} files, {lines} lines:\n{changed}"));
    ensure!(
        files <= FILES_MAX && lines <= LINES_MAX,
        "at most {FILES_MAX} files and {LINES_MAX} lines are allowed"
    );
    // Whoever lists daemons: nothing but the files above may have to know of a new one. That the patch still fits was just seen, and it does
    // not fit twice.
    let applied = ["--lib", "--bins", "--", "--skip", "the_throw_away_daemon_still_fits_the_tree"];
    let listing =
        ["tally", "roster", "ubmcctl", "operator", "xtask"].iter().flat_map(|name| ["--package", name]);
    let test = ["test", "--offline"];
    cargo(&test.into_iter().chain(listing).chain(applied).collect::<Vec<_>>())?;
    // All daemons have to be ready for the suites of these, the new one among them.
    let suites = ["suite", "dead_backend", "privileges"].iter().flat_map(|name| ["--test", name]);
    let test = ["test", "--offline", "--package", "u-bmc", "--bins"];
    cargo(&test.into_iter().chain(suites).collect::<Vec<_>>())
}

/// Files and added lines in what `git diff --numstat` prints.
fn cost(numstat: &str) -> (usize, usize) {
    let added = |line: &str| line.split_whitespace().next().and_then(|number| number.parse::<usize>().ok());
    let added: Vec<usize> = numstat.lines().filter_map(added).collect();
    (added.len(), added.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copy that builds it takes minutes; that its steps still fit the tree is known at once.
    #[test]
    fn the_throw_away_daemon_still_fits_the_tree() {
        let apply = |args: &[&str]| sh::output(sh::command("git").arg("apply").args(args).arg(PATCH));
        assert!(
            apply(&["--check"]).is_ok(),
            "{PATCH} does not apply any more: `git apply --3way {PATCH}`, mend it, and write `git diff HEAD` without {WRITTEN:?} there"
        );
        let (files, lines) = cost(&apply(&["--numstat"]).unwrap());
        assert!(files + WRITTEN.len() <= FILES_MAX && lines <= LINES_MAX, "{files} files, {lines} lines");
        let page = std::fs::read_to_string(sh::root().join("docs/porting-a-daemon.md")).unwrap();
        let is_step = |line: &&str| {
            line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let steps = page.lines().filter(is_step);
        assert_eq!(steps.count(), files + WRITTEN.len(), "the steps are the files");
    }
}
