//! `cargo xtask emulate`, and what else needs images that run: the tier `emulated`, `bench boot`, `size --board`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{image, need, sh};

/// The board that has everything.
const EVB: &str = "aspeed/ast2600-evb";
/// The board that shows that another one is data.
const RAINIER: &str = "ibm/rainier";

/// How to run it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The board, for example `aspeed/ast2600-evb`.
    board: String,
    /// The image with a shell on the console.
    #[arg(long)]
    debug: bool,
    /// Boot from SPI NOR instead of eMMC.
    #[arg(long)]
    nor: bool,
    /// The server is on when the BMC gets power.
    #[arg(long)]
    running: bool,
    /// Port for HTTPS on 127.0.0.1.
    #[arg(long, default_value_t = 8443)]
    https: u16,
    /// Take the image as it was built last.
    #[arg(long)]
    no_build: bool,
}

/// Builds what is needed and becomes the emulation: keys and Ctrl-C reach it directly.
pub(crate) fn run(args: &Args) -> Result<()> {
    need::qemu_arm()?;
    let folder = image::directory(&args.board, args.debug);
    if !args.no_build || !folder.join("qemu.args").is_file() {
        build(&args.board, args.debug)?;
    }
    let mut program = program("run", &args.board, args.debug)?;
    program.args(["--https", &args.https.to_string()]);
    if args.nor {
        program.args(["--append", "ubmc.storage=nor"]);
    }
    if args.running {
        program.arg("--running");
    }
    Err(program.exec()).context("the emulation could not be started")
}

/// Builds an image, as `cargo xtask image` does.
fn build(board: &str, debug: bool) -> Result<PathBuf> {
    let mut command = Command::new(std::env::current_exe()?);
    command.current_dir(sh::root()).args(["image", board]);
    if debug {
        command.arg("--debug");
    }
    sh::run(&mut command)?;
    Ok(image::directory(board, debug))
}

/// The program that runs an image, built, with the words that every command of it begins with.
fn program(command: &str, board: &str, debug: bool) -> Result<Command> {
    sh::cargo(&["build", "--locked", "--package", "emulate"])?;
    let mut program = sh::command(sh::target_dir().join("debug/emulate"));
    program.args([command, "--board", board, "--image"]).arg(image::directory(board, debug));
    Ok(program)
}

/// Builds what the tier `emulated` runs, and says where it is.
pub(crate) fn images() -> Result<Vec<(&'static str, String)>> {
    need::qemu_arm()?;
    let modules = ["gpio-aspeed", "i2c-aspeed", "lm75"];
    let folders = [
        ("UBMC_TEST_IMAGE_EVB", build(EVB, false)?),
        ("UBMC_TEST_IMAGE_EVB_DEBUG", build(EVB, true)?),
        ("UBMC_TEST_IMAGE_RAINIER", build(RAINIER, false)?),
        ("UBMC_TEST_CONTRACT", image::probe::make(EVB, image::CONTRACT.0, image::CONTRACT.1, &modules)?),
    ];
    // An emulated BMC takes a core and more: one after the other.
    let one = [("RUST_TEST_THREADS", "1".to_owned())];
    Ok(folders.into_iter().map(|(name, folder)| (name, folder.display().to_string())).chain(one).collect())
}

/// Builds the image of the board that has everything twice, from two folders, and compares.
pub(crate) fn reproducible() -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    sh::run(command.current_dir(sh::root()).args(["image", EVB, "--check-reproducible"]))
}

/// `cargo xtask bench boot`: both kinds of storage.
pub(crate) fn bench(rest: &[String]) -> Result<()> {
    need::qemu_arm()?;
    build(EVB, false)?;
    for storage in ["emmc", "nor"] {
        sh::say(&format!("\n=== boot from {storage} ==="));
        let append = format!("ubmc.storage={storage}");
        sh::run(program("boot", EVB, false)?.args(["--append", &append]).args(rest))?;
    }
    Ok(())
}

/// `cargo xtask size --board`: the parts of the image, and memory on the emulated board.
pub(crate) fn size(board: &str, json: bool) -> Result<()> {
    need::qemu_arm()?;
    let folder = build(board, false)?;
    let sizes = folder.join("sizes.json");
    let sizes =
        std::fs::read_to_string(&sizes).with_context(|| format!("cannot read {}", sizes.display()))?;
    let sizes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&sizes)?;
    let code = crate::size::code(&image::with_symbols())?;
    let mut program = program("memory", board, false)?;
    if json {
        let memory: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&sh::output(program.arg("--json"))?)?;
        let code: serde_json::Map<_, _> =
            code.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let all = serde_json::json!({ "image": sizes, "code": code, "memory": memory });
        sh::say(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let code = code.into_iter().map(|(name, bytes)| (name, bytes.into()));
    for (name, bytes) in sizes.into_iter().chain(code) {
        match bytes.as_f64() {
            Some(bytes) => sh::say(&format!("{name:28} {:10.1} KiB", bytes / 1024.0)),
            None => sh::say(&format!("{name:28} {bytes}")),
        }
    }
    sh::run(&mut program)
}
