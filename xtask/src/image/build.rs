//! The programs of an image, cross-compiled: static, for size, and the same bytes wherever the sources are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub(crate) use crate::crates::TARGET;
use crate::packages::Store;
use crate::{need, sh};

/// Where cargo looks for the standard library's sources, below the compiler's root.
const LIBRARY: &str = "lib/rustlib/src/rust/library";

/// The kind of processor. The floating-point unit of the AST2600's Cortex-A7 has sixteen registers and no NEON, which neither the name
/// of the core nor the target's prebuilt standard library knows: both use what is not there, so the library is built, too. Thumb
/// instructions are a quarter smaller, in flash and in memory.
const PROCESSOR: [&str; 4] = [
    "-Ctarget-cpu=cortex-a7",
    "-Ctarget-feature=+crt-static,-neon,-d32,+thumb-mode",
    // Linked for one address, as static programs for this target are: code that could run at any other one is larger.
    "-Crelocation-model=static",
    // Panics abort and no backtrace is printed: nobody reads the tables to unwind by.
    "-Cforce-unwind-tables=no",
];

/// How the standard library is built: for size, and without the printing of backtraces, which have no names where symbols are stripped.
/// A panic's message and place are told all the same.
const LIBRARY_FEATURES: &str = "-Zbuild-std-features=optimize_for_size";

/// Names the folder to compile in, for a second build that takes what the first one compiled.
pub(crate) const BUILD_DIR: &str = "UBMC_IMAGE_BUILD";

/// Where the programs are compiled: a folder of its own, because its flags are others and would throw out what the tests compiled.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os(BUILD_DIR).map_or_else(|| sh::target_dir().join("image-build"), PathBuf::from)
}

/// Where cargo keeps the sources of other crates.
fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// Whether a program has the path of a folder in it: most of what makes two builds differ, found without a second one. A path of one name could be
/// the end of another one.
fn names(program: &[u8], folder: &Path) -> bool {
    let text = format!("{}/", folder.display());
    folder.components().count() > 2 && program.windows(text.len()).any(|part| part == text.as_bytes())
}

/// A compiler that comes with the sources of its standard library.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The compiler.
    rustc: PathBuf,
    /// Where its own libraries are, and those it shares with others and a small system lacks, when the system does not look there.
    libraries: Option<OsString>,
    /// The first line of `rustc -vV`.
    pub(crate) version: String,
}

/// Installs the compiler's own tools.
pub(crate) fn needed() -> Result<()> {
    need::tools(&[need::CC, need::CC_ARM, need::STRIP_ARM, need::LIBC_ARM])
}

/// The suite with its symbols, as it was compiled last.
pub(crate) fn with_symbols() -> PathBuf {
    directory().join(TARGET).join("flash/u-bmc")
}

/// The programs.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The suite.
    pub(crate) u_bmc: PathBuf,
    /// The initial file system's only program.
    pub(crate) stage0: PathBuf,
}

impl Toolchain {
    /// The active toolchain if it can, else Debian's of the lock, used where it was unpacked.
    pub(crate) fn find(store: &mut Store) -> Result<Self> {
        let active = PathBuf::from(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let sysroot = sh::output(sh::command(&active).args(["--print", "sysroot"]))?;
        if Path::new(sysroot.trim()).join(LIBRARY).join("Cargo.lock").is_file() {
            return Self::of(active, None);
        }
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            bail!("the sources of the standard library are needed: rustup component add rust-src");
        }
        let tree = store.tree("rust")?;
        let trees = [&tree, &store.tree("rust-libraries")?].map(|tree| tree.join("usr/lib/x86_64-linux-gnu"));
        Self::of(tree.join("usr/bin/rustc"), Some(std::env::join_paths(trees)?))
    }

    fn of(rustc: PathBuf, libraries: Option<OsString>) -> Result<Self> {
        let mut command = sh::command(&rustc);
        command.arg("-vV");
        if let Some(libraries) = &libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let version = sh::output(&mut command)?.lines().next().unwrap_or_default().to_owned();
        Ok(Self { rustc, libraries, version })
    }

    fn sysroot(&self) -> Result<String> {
        let mut command = sh::command(&self.rustc);
        command.args(["--print", "sysroot"]);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        Ok(sh::output(&mut command)?.trim().to_owned())
    }

    /// Builds the programs.
    pub(crate) fn build(&self) -> Result<Programs> {
        // One after the other: together, each would get the features that the other asks of what they share.
        let out = self.cargo(&["--package", "u-bmc"])?;
        self.cargo(&["--package", "stage0"])?;
        let programs = Programs {
            u_bmc: sh::stripped(need::STRIP_ARM.program, &out, "u-bmc")?,
            stage0: sh::stripped(need::STRIP_ARM.program, &out, "stage0")?,
        };
        let places = [Some(sh::root()), Some(directory()), cargo_home()];
        for program in [&programs.u_bmc, &programs.stage0] {
            let bytes =
                std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
            if let Some(place) = places.iter().flatten().find(|place| names(&bytes, place)) {
                bail!("not reproducible: {} names {}", program.display(), place.display());
            }
        }
        Ok(programs)
    }

    /// Builds what `what` tells cargo to; returns the folder of the programs.
    pub(crate) fn cargo(&self, what: &[&str]) -> Result<PathBuf> {
        needed()?;
        let target = directory();
        let cargo_home = cargo_home().context("neither CARGO_HOME nor HOME is set")?;
        // Panics name source files. These must not depend on where things are. The workspace's own are named relative to it, so it is not
        // here: a flag that names it would have every clone build everything anew.
        let sysroot = self.sysroot()?;
        let mut names =
            vec![(cargo_home.display().to_string(), "/cargo"), (target.display().to_string(), "/build")];
        // What is below the workspace cargo names relative to it, so the standard library's sources have two names there.
        if let Ok(relative) = Path::new(&sysroot).strip_prefix(sh::root()) {
            names.push((relative.display().to_string(), "/rust"));
        }
        names.push((sysroot, "/rust"));
        let mut flags: Vec<String> = PROCESSOR.map(str::to_owned).to_vec();
        flags.extend(names.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
        let mut command = sh::cargo_command();
        command
            .args([
                "build",
                "--locked",
                "--profile",
                "flash",
                "--target",
                TARGET,
                "-Zbuild-std=std,panic_abort",
                LIBRARY_FEATURES,
            ])
            .args(what)
            // Building the standard library is a thing cargo does on request only.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER", need::CC_ARM.program)
            .env("RUSTC", &self.rustc)
            // Build scripts of C code look at it: one that changed with each commit would have them run each time.
            .env("SOURCE_DATE_EPOCH", "0")
            // Told by the image's own file: the programs are the same as long as their sources are.
            .env("UBMC_COMMIT", "");
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        sh::say(&format!(
            "$ cargo build --profile flash --target {TARGET} {} ({})",
            what.join(" "),
            self.version
        ));
        sh::run(&mut command)?;
        Ok(target.join(TARGET).join("flash"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_names_where_it_was_built_is_found() {
        let program = b"..panicked at /home/me/u-bmc/crates/ipc/src/lib.rs..";
        assert!(names(program, Path::new("/home/me/u-bmc")));
        assert!(!names(program, Path::new("/home/me/u-b")) && !names(program, Path::new("/home")));
        assert!(!names(b"", Path::new("/home/me")));
    }
}
