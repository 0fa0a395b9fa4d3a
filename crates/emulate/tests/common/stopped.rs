//! A BMC whose operator stops, which the SoC's watchdog has to notice; and, as its image has a shell, what the kernel's drivers make of the
//! devices on the board.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use emulate::{BOOT_LIMIT, Bmc, Qmp, READY_LINE};
use testkit::eventually;

use super::{FOLLOW, becomes, describe, host, step};

/// The whole scenario, on the storage that the kernel's command line names: two boots.
pub(crate) async fn scenario(folder: &Path, board: &str, storage: &str) -> Result<()> {
    let bmc = Bmc::builder(folder, board).append(storage).running().start().await?;
    let admin = bmc.first_login().await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    describe(&admin, "kept in flash").await?;
    bmc.console()?.send("\n").await?;
    sensors(&bmc).await?;
    light(&bmc).await?;
    let from = bite(&bmc).await?;

    bmc.console()?.wait_for(READY_LINE, from, BOOT_LIMIT).await?;
    let admin = bmc.ready().await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(host(&admin).await?["description"] == "kept in flash");
    ensure!(bmc.server().is_on("system")?);
    ensure!(bmc.server().trace(0).is_empty(), "I-2: a pin moved: {:?}", bmc.server().trace(0));
    Ok(())
}

async fn sensors(bmc: &Bmc) -> Result<()> {
    step("temperatures set from outside are the kernel's");
    let (qmp, console) = (bmc.qmp()?, bmc.console()?);
    for (name, device) in [("tmp105", qmp.devices("tmp105").await?), ("tmp421", qmp.devices("tmp421").await?)]
    {
        let device = device.first().with_context(|| format!("the board has no {name}"))?;
        let property = if name == "tmp421" { "temperature0" } else { "temperature" };
        qmp.set(device, property, 56_000).await?;
    }
    eventually("both sensors show 56 degrees", FOLLOW, || async {
        let shown = console
            .shell("for d in /sys/class/hwmon/*; do echo $(cat $d/name) $(cat $d/temp1_input); done")
            .await?;
        step(&shown.replace('\n', ", "));
        // A sensor shows multiples of its own step, up to 0.125 degrees.
        let hot = |name: &str| {
            let shown =
                shown.lines().filter_map(|line| line.trim().strip_prefix(name)?.trim().parse::<i32>().ok());
            shown.into_iter().any(|shown| (55_875..=56_000).contains(&shown))
        };
        Ok((hot("lm75") || hot("tmp105")) && hot("tmp421"))
    })
    .await
}

async fn light(bmc: &Bmc) -> Result<()> {
    let (qmp, console) = (bmc.qmp()?, bmc.console()?);
    step("a LED lit by the kernel's driver is lit");
    let leds = qmp.devices("pca9552").await?;
    let leds = leds.first().context("the board has no LED controller")?;
    ensure!(qmp.get(leds, "led2").await? == "off");
    // Its driver may be loaded after the sensors'.
    eventually("the LED is lit", FOLLOW, || async {
        let light =
            "for led in /sys/class/leds/*identify; do cat $led/max_brightness > $led/brightness; done";
        console.shell(light).await?;
        Ok(qmp.get(leds, "led2").await? == "on")
    })
    .await
}

/// Stops the operator until the watchdog bites. Returns where on the console that began.
async fn bite(bmc: &Bmc) -> Result<usize> {
    let (qmp, console) = (bmc.qmp()?, bmc.console()?);
    step("the operator is stopped, as a fault in the kernel or in itself would");
    let mut events = qmp.events();
    let from = console.mark();
    let group = "/sys/fs/cgroup/stopped";
    console.shell("mount | grep -q ' /sys/fs/cgroup ' || mount -t cgroup2 none /sys/fs/cgroup").await?;
    console.shell(&format!("mkdir {group}; echo 1 > {group}/cgroup.procs")).await?;
    // The shell may be stopped with it, so nothing more is heard from here.
    console.send(&format!("echo 1 > {group}/cgroup.freeze\n")).await?;
    let stopped = hal_sim::monotonic();
    let bitten = Qmp::event(&mut events, "RESET", BOOT_LIMIT).await?;
    let after = bitten.at.saturating_sub(stopped);
    step(&format!("bitten after {after:?}"));
    let watchdog = bmc.board().management_controller.watchdog.as_ref().context("a watchdog")?;
    // Counted by the clock of the BMC, which a busy machine emulates more slowly; and from when the shell is told, not from when it does it.
    ensure!(after <= watchdog.timeout + Duration::from_secs(60), "{after:?}");
    Ok(from)
}
