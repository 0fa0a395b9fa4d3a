//! `cargo xtask sim`: the whole suite on the simulated board.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{guest, need, sh, web};

/// How to run it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The board; its `hal` must be `sim` unless the hardware is really there.
    #[arg(long, default_value = "targets/sim/board.toml")]
    board: PathBuf,
    /// Address for HTTPS.
    #[arg(long, default_value = "127.0.0.1:8443")]
    https: String,
    /// Address for the redirect to HTTPS, or `off`.
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: String,
    /// Where state is kept between runs; `cargo xtask sim --fresh` starts anew.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Forget the state of earlier runs first.
    #[arg(long)]
    fresh: bool,
    /// The first administrator's password, read from this file; without it a random one is made and printed once.
    #[arg(long)]
    admin_password_file: Option<PathBuf>,
    /// Passed on to the operator: `key=value`, e.g. `sim.host=qemu`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Build and run the optimised binary.
    #[arg(long)]
    release: bool,
}

/// Builds what is needed and becomes the operator: Ctrl-C reaches it directly.
pub(crate) fn run(args: &Args) -> Result<()> {
    need::tools(&[need::CC])?;
    if args.set.iter().any(|pair| pair == "sim.host=qemu") {
        need::qemu_x86()?;
        if args.set.iter().any(|pair| pair == "sim.qemu.firmware=uefi") {
            need::tools(&[need::OVMF])?;
        }
        guest::build()?;
    }
    web::build_if_possible();
    let mut build = vec!["build", "--locked"];
    if args.release {
        build.push("--release");
    }
    sh::cargo(&build)?;
    let bin = sh::target_dir().join(if args.release { "release" } else { "debug" });
    let state = args.state_dir.clone().unwrap_or_else(|| sh::root().join(".cache/sim"));
    if args.fresh && state.exists() {
        std::fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    }
    std::fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    sh::say(&format!(
        "\n  URL      https://{}\n  client   {} --server https://{} --insecure …",
        args.https,
        bin.join("ubmcctl").display(),
        args.https
    ));
    sh::say("  user     admin (the password is printed below at the first start, and asked to be changed)\n");
    let mut operator = sh::command(bin.join("u-bmc"));
    operator
        .arg("operator")
        .arg("--board")
        .arg(&args.board)
        .arg("--state-dir")
        .arg(&state)
        .args(["--https", &args.https, "--http", &args.http])
        .arg("--ready-file")
        .arg(state.join("ready.json"));
    if let Some(file) = &args.admin_password_file {
        operator.arg("--admin-password-file").arg(file);
    }
    // The network of this computer is shown as the controller's, and left as it is.
    if !args.set.iter().any(|pair| pair.starts_with("netmgr.")) {
        operator.args(["--set", "netmgr.observe=true"]);
    }
    for pair in &args.set {
        operator.args(["--set", pair]);
    }
    Err(operator.exec()).context("the operator could not be started")
}
