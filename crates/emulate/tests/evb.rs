//! The AST2600 evaluation board's image, end to end: a server with buttons.

mod common;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::{FOLLOW, act, becomes, image, pulse, reset_bmc, step};
use emulate::{BOOT_LIMIT, Bmc, Qmp, READY_LINE};
use serde_json::{Value, json};
use testkit::{Client, eventually};
use twin::{Button, Fault, Os, Role};
use units::Millis;

const BOARD: &str = "aspeed/ast2600-evb";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Waits until the host's operating system listens to its power button.
async fn os_up(bmc: &Bmc) -> Result<()> {
    eventually("the host's operating system is up", FOLLOW, || async {
        bmc.server().ask("system", |host| host.os() == Os::Running)
    })
    .await
}

/// The events kept about the host, newest first.
async fn events(admin: &Client, what: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1alpha1/events?domain=host&what={what}&pageSize=1000");
    let reply = admin.get(&path).await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(reply.json()?["events"].as_array().cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_server_is_seen_and_controlled_through_its_pins() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB") else { return Ok(()) };
    step("the host runs when the BMC gets power");
    let begun = hal_sim::monotonic();
    let bmc = Bmc::builder(&folder, BOARD).running().start().await?;
    let answered = bmc.answers().await?;
    step(&format!("the API answers {:?} after the first instruction", answered.saturating_sub(begun)));
    let admin = bmc.first_login().await?;
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
    let commit = manifest["commit"].as_str().and_then(|commit| commit.get(..12)).context("a commit")?;
    let info = admin.get("/api/v1alpha1/system/info").await?.text();
    ensure!(info.contains(&format!("(commit {commit}")), "not the commit of the image, {commit}: {info}");
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(bmc.server().trace(0).is_empty(), "I-2: the boot moved a pin: {:?}", bmc.server().trace(0));

    step("a reset of the BMC leaves it alone");
    let admin = reset_bmc(&bmc, &admin).await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(bmc.server().trace(0).is_empty(), "I-2: the reset moved a pin: {:?}", bmc.server().trace(0));

    let done = async {
        power_by_api(&bmc, &admin).await.context("power by API")?;
        power_from_outside(&bmc, &admin).await.context("power from outside")
    };
    done.await.with_context(|| bmc.console().map(emulate::Console::tail).unwrap_or_default())
}

async fn power_by_api(bmc: &Bmc, admin: &Client) -> Result<()> {
    let server = bmc.server();
    let count = |ask: fn(&twin::Host) -> u32| server.ask("system", ask);

    step("force off of a system that hangs: held until power-good falls");
    // One that lives takes the press for the wish to shut down, and may be off before it was held for long.
    server.fault("system", Fault::OsHang(true)).await?;
    let mark = server.mark();
    act(admin, "HOST_ACTION_FORCE_OFF").await?;
    pulse(bmc, Role::PowerButton, mark, ms(4_000), ms(8_000)).await?;
    becomes(admin, "HOST_STATUS_OFF").await?;
    server.fault("system", Fault::OsHang(false)).await?;
    ensure!(count(twin::Host::hard_offs)? == 1);

    step("on: a short press");
    let mark = server.mark();
    act(admin, "HOST_ACTION_ON").await?;
    pulse(bmc, Role::PowerButton, mark, ms(200), ms(2_000)).await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    os_up(bmc).await?;

    step("graceful off: a short press, and the operating system does the rest");
    let mark = server.mark();
    let presses = count(twin::Host::acpi_events)?;
    act(admin, "HOST_ACTION_OFF").await?;
    pulse(bmc, Role::PowerButton, mark, ms(200), ms(2_000)).await?;
    becomes(admin, "HOST_STATUS_OFF").await?;
    ensure!(count(twin::Host::acpi_events)? == presses + 1 && count(twin::Host::hard_offs)? == 1);

    act(admin, "HOST_ACTION_ON").await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    step("reset: the reset button");
    let mark = server.mark();
    act(admin, "HOST_ACTION_FORCE_RESTART").await?;
    pulse(bmc, Role::Reset, mark, ms(500), ms(2_500)).await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    ensure!(count(twin::Host::resets)? == 1);
    os_up(bmc).await?;

    step("cycle: off by a long press, five seconds without power, on by a short one");
    server.fault("system", Fault::OsHang(true)).await?;
    let mark = server.mark();
    act(admin, "HOST_ACTION_POWER_CYCLE").await?;
    let (_, up) = pulse(bmc, Role::PowerButton, mark, ms(4_000), ms(8_000)).await?;
    let dark = server.edge(Role::PowerGood, false, mark, FOLLOW).await?;
    pulse(bmc, Role::PowerButton, up.seq, ms(200), ms(2_000)).await?;
    let lit = server.edge(Role::PowerGood, true, dark.seq, FOLLOW).await?;
    server.fault("system", Fault::OsHang(false)).await?;
    ensure!(lit.at.saturating_sub(dark.at) >= ms(5_000), "{dark:?} to {lit:?}");
    becomes(admin, "HOST_STATUS_ON").await?;

    step("diagnostic interrupt");
    let mark = server.mark();
    act(admin, "HOST_ACTION_NMI").await?;
    pulse(bmc, Role::Nmi, mark, ms(200), ms(2_000)).await?;
    ensure!(count(twin::Host::nmis)? == 1);
    os_up(bmc).await
}

async fn power_from_outside(bmc: &Bmc, admin: &Client) -> Result<()> {
    let server = bmc.server();
    step("power-good bounces on its way down and up");
    let mark = server.mark();
    let before = events(admin, "state").await?.len();
    let bounce = Fault::PowerGoodBounce { toggles: 6, every: Millis::new(5) };
    server.fault("system", bounce).await?;
    server.fault("system", Fault::PowerLoss).await?;
    becomes(admin, "HOST_STATUS_OFF").await?;
    server.fault("system", Fault::Wake).await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    let edges = server.trace(mark);
    ensure!(edges.iter().filter(|edge| edge.role == Role::PowerGood).count() >= 14, "{edges:?}");
    let told = events(admin, "state").await?.len() - before;
    ensure!((2..=6).contains(&told), "each change is told, each bounce is not: {told}");
    server.fault("system", Fault::PowerGoodBounce { toggles: 0, every: Millis::new(0) }).await?;
    os_up(bmc).await?;

    step("a glitch of power-good is no loss of power");
    server.fault("system", Fault::Glitch(Millis::new(100))).await?;
    let fallen =
        server.edge(Role::PowerGood, false, edges.last().map_or(mark, |edge| edge.seq), FOLLOW).await?;
    server.edge(Role::PowerGood, true, fallen.seq, FOLLOW).await?;
    // Longer than a loss may be and still count as a warm reset, so a wrong conclusion would have been drawn by now.
    tokio::time::sleep(ms(1_500)).await;
    ensure!(common::host(admin).await?["status"] == "HOST_STATUS_ON");

    step("a person presses the front panel's button");
    server.finger("system", Button::Power, true).await?;
    tokio::time::sleep(ms(200)).await;
    server.finger("system", Button::Power, false).await?;
    becomes(admin, "HOST_STATUS_OFF").await?;
    eventually("the press is told", FOLLOW, || async { Ok(!events(admin, "button").await?.is_empty()) })
        .await?;

    ensure!(server.driven(mark).is_empty(), "the BMC pressed something: {:?}", server.driven(mark));
    Ok(())
}

#[tokio::test]
async fn a_stopped_operator_is_bitten_and_the_server_stays_on() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB_DEBUG") else { return Ok(()) };
    let bmc = Bmc::builder(&folder, BOARD).running().start().await?;
    let admin = bmc.first_login().await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    let console = bmc.console()?;
    console.send("\n").await?;

    step("temperatures set from outside are the kernel's");
    let qmp = bmc.qmp()?;
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
    .await?;

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
    .await?;

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
    ensure!(after <= watchdog.timeout + ms(15_000), "{after:?}");

    console.wait_for(READY_LINE, from, BOOT_LIMIT).await?;
    let admin = bmc.ready().await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(bmc.server().is_on("system")?);
    ensure!(bmc.server().trace(0).is_empty(), "I-2: a pin moved: {:?}", bmc.server().trace(0));
    Ok(())
}

#[tokio::test]
async fn an_image_on_nor_boots_and_answers() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB") else { return Ok(()) };
    let bmc = Bmc::builder(&folder, BOARD).append("ubmc.storage=nor").start().await?;
    let admin = bmc.first_login().await?;
    becomes(&admin, "HOST_STATUS_OFF").await?;
    step("what is stored on NOR is there after a reset");
    let body = json!({ "host": { "description": "kept in flash" }, "fieldMask": "description" });
    let reply = patch(&admin, &body).await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    let admin = reset_bmc(&bmc, &admin).await?;
    ensure!(common::host(&admin).await?["description"] == "kept in flash");
    Ok(())
}

async fn patch(admin: &Client, body: &Value) -> Result<testkit::Reply> {
    let headers = [("content-type", "application/json")];
    let path = "/api/v1alpha1/hosts/system";
    admin.send("PATCH".parse()?, path, &headers, body.to_string().into()).await
}
