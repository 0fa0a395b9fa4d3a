//! Running other programs, and saying what runs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Prints one line of progress or of a result.
#[expect(clippy::print_stdout, reason = "a task's output is its user interface")]
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    println!("{line}");
    // A closed pipe (`| head`) is not worth failing a task for.
    std::io::stdout().flush().ok();
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command that starts in the root of the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that started us.
pub(crate) fn cargo_command() -> Command {
    without_package(command(cargo_program()))
}

/// The cargo that started us, and what it starts, less urgent by `steps` (nice(1)) than anything else.
pub(crate) fn nice_cargo_command(steps: u8) -> Command {
    let mut nice = command("nice");
    nice.args(["-n", &steps.to_string()]).arg(cargo_program());
    without_package(nice)
}

fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Set by the cargo that runs us; its presence would make the inner one rebuild what only differs by it.
fn without_package(mut command: Command) -> Command {
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    command
}

/// Runs cargo with `args` and fails when it does.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    say(&format!("$ cargo {}", args.join(" ")));
    run(cargo_command().args(args))
}

/// Runs a prepared command and fails, naming it, when it does not end with success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{name}` could not be started; is it installed?"))?;
    if !status.success() {
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        bail!("`{name} {}` failed ({status})", args.join(" "));
    }
    Ok(())
}

/// Runs a prepared command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{name}` could not be started; is it installed?"))?;
    if !out.status.success() {
        bail!("`{name}` failed ({})", out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("`{name}` printed something that is not text"))
}

/// Makes a copy of the program `folder/name` without its symbols, by the strip(1) that is named; returns where it is.
pub(crate) fn stripped(strip: &str, folder: &Path, name: &str) -> Result<PathBuf> {
    let to = folder.join("stripped");
    std::fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let to = to.join(name);
    run(command(strip).arg("--strip-all").arg("-o").arg(&to).arg(folder.join(name)))?;
    Ok(to)
}

/// Where `program` is: on the PATH, among the administrator's programs, which are not on everyone's, or where it says itself.
pub(crate) fn located(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Whether `program` can be run, or is there where it is given by its whole path.
pub(crate) fn on_path(program: &str) -> bool {
    located(program).is_some()
}
