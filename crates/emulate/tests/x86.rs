//! Video and USB functions with the kernel's own drivers, in a machine whose first process is the test (`hal-linux`, example `drivers_guest`).

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// Longest time for all of it, on a machine that is slow and busy: it was seen to take over 200 s there.
const LIMIT: Duration = Duration::from_secs(600);
/// All that the accelerator can do but for a register that says which of its faults a processor does not have: KVM in a virtual machine may offer it and then
/// not let it be set, and QEMU ends by that.
const CPU: &str = "max,arch-capabilities=off";
/// What is kept of the console, to be shown when it goes wrong.
const TAIL: usize = 60;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn video_and_usb_functions_keep_their_contract_with_the_kernels_drivers() -> Result<()> {
    let Some(folder) = std::env::var_os("UBMC_TEST_DRIVERS").map(PathBuf::from) else {
        println!("SKIP: no machine with drivers; `cargo xtask test --long --part images` makes and runs one");
        return Ok(());
    };
    let mut machine = Command::new("qemu-system-x86_64")
        // Translated where this machine cannot do it in hardware.
        .args(["-machine", "q35", "-accel", "kvm", "-accel", "tcg", "-cpu", CPU, "-m", "512", "-smp", "1"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(folder.join("vmlinuz"))
        .arg("-initrd")
        .arg(folder.join("initrd"))
        .args(["-append", "console=ttyS0 rdinit=/init loglevel=4 panic=-1 oops=panic"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start QEMU")?;
    let console = machine.stdout.take().context("no console")?;
    let mut lines = BufReader::new(console).lines();
    let mut said = Vec::new();
    let watch = async {
        while let Some(line) = lines.next_line().await? {
            let line = line.trim_end().to_owned();
            if line.starts_with("contract:") {
                println!("{line}");
            }
            said.push(line);
        }
        Ok::<_, std::io::Error>(())
    };
    let ended = tokio::time::timeout(LIMIT, watch).await;
    let tail = said[said.len().saturating_sub(TAIL)..].join("\n");
    if ended.is_err() {
        bail!("not in {LIMIT:?}:\n{tail}");
    }
    ensure!(said.iter().any(|line| line == "contract: done"), "it did not go well:\n{tail}");
    Ok(())
}
