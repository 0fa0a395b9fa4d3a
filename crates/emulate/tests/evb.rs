//! The AST2600 evaluation board's image, end to end: a server with buttons.

mod common;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::cuts::{Ledger, console, nothing_is_made_anew, rot};
use common::{FOLLOW, act, becomes, every_boot, image, pulse, reset_bmc, step};
use emulate::Bmc;
use serde_json::Value;
use testkit::{Client, eventually};
use twin::{Button, Fault, Os, Role};
use units::Millis;

const BOARD: &str = "aspeed/ast2600-evb";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A press of the power button that is none that cuts the power, which takes 4 s.
const SHORT: Duration = ms(3_900);
/// One that ends with power-good, and not only after the 15 s for which the button is held at most.
const HELD: Duration = ms(14_000);
/// Any other, which a busy machine may stretch.
const STRETCHED: Duration = ms(10_000);

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
    let mut bmc = Bmc::builder(&folder, BOARD).running().start().await?;
    let answered = bmc.answers().await?;
    step(&format!("the API answers {:?} after the first instruction", answered.saturating_sub(begun)));
    let admin = bmc.first_login().await?;
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
    let commit = manifest["commit"].as_str().and_then(|commit| commit.get(..12)).context("a commit")?;
    let info = admin.get("/api/v1alpha1/system/info").await?.text();
    ensure!(info.contains(&format!("(commit {commit}")), "not the commit of the image, {commit}: {info}");
    // Each limit is read back before this is said.
    ensure!(info.contains("cgroups: memory and tasks"), "limits of the daemons are not in force: {info}");
    // A new image has the same system in both slots.
    eventually("both slots are told", FOLLOW, || async {
        let info = admin.get("/api/v1alpha1/system/info").await?.json()?;
        let slots = &info["systemInfo"]["firmwareSlots"];
        let backup = admin.get("/redfish/v1/UpdateService/FirmwareInventory/bmc-backup").await?.json()?;
        Ok(slots[0]["name"] == "a"
            && slots[1]["name"] == "b"
            && slots[1]["version"] == slots[0]["version"]
            && slots[1]["version"].is_string()
            && backup["Version"] == slots[1]["version"])
    })
    .await?;
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(bmc.server().trace(0).is_empty(), "I-2: the boot moved a pin: {:?}", bmc.server().trace(0));

    let admin = if every_boot() {
        step("a reset of the BMC leaves it alone");
        let admin = reset_bmc(&bmc, &admin).await?;
        becomes(&admin, "HOST_STATUS_ON").await?;
        ensure!(bmc.server().trace(0).is_empty(), "I-2: the reset moved a pin: {:?}", bmc.server().trace(0));
        admin
    } else {
        admin
    };

    let done = async {
        power_by_api(&bmc, &admin).await.context("power by API")?;
        power_from_outside(&bmc, &admin).await.context("power from outside")
    };
    done.await.with_context(|| console(&bmc))?;
    power_goes(&mut bmc, &admin).await.context("a power cut")
}

/// One cut of the BMC's power while it stores, and the slot that ran rots: the other one has everything.
async fn power_goes(bmc: &mut Bmc, admin: &Client) -> Result<()> {
    bmc.confirmed().await?;
    let mut ledger = Ledger::default();
    tokio::select! {
        written = ledger.write(admin, 0) => written.context("before the power went")?,
        () = tokio::time::sleep(ms(1_500)) => {}
    }
    step(&format!("the power goes after {} changes", ledger.acknowledged));
    rot(bmc, &mut ledger).await?;
    nothing_is_made_anew(bmc)
}

async fn power_by_api(bmc: &Bmc, admin: &Client) -> Result<()> {
    let server = bmc.server();
    let count = |ask: fn(&twin::Host) -> u32| server.ask("system", ask);

    step("force off of a system that hangs: held until power-good falls");
    // One that lives takes the press for the wish to shut down, and may be off before it was held for long.
    server.fault("system", Fault::OsHang(true)).await?;
    let mark = server.mark();
    act(admin, "HOST_ACTION_FORCE_OFF").await?;
    pulse(bmc, Role::PowerButton, mark, ms(4_000), HELD).await?;
    becomes(admin, "HOST_STATUS_OFF").await?;
    server.fault("system", Fault::OsHang(false)).await?;
    ensure!(count(twin::Host::hard_offs)? == 1);

    step("on: a short press");
    let mark = server.mark();
    act(admin, "HOST_ACTION_ON").await?;
    pulse(bmc, Role::PowerButton, mark, ms(200), SHORT).await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    os_up(bmc).await?;

    step("graceful off: a short press, and the operating system does the rest");
    let mark = server.mark();
    let presses = count(twin::Host::acpi_events)?;
    act(admin, "HOST_ACTION_OFF").await?;
    pulse(bmc, Role::PowerButton, mark, ms(200), SHORT).await?;
    becomes(admin, "HOST_STATUS_OFF").await?;
    ensure!(count(twin::Host::acpi_events)? == presses + 1 && count(twin::Host::hard_offs)? == 1);

    act(admin, "HOST_ACTION_ON").await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    step("reset: the reset button");
    let mark = server.mark();
    act(admin, "HOST_ACTION_FORCE_RESTART").await?;
    pulse(bmc, Role::Reset, mark, ms(500), STRETCHED).await?;
    becomes(admin, "HOST_STATUS_ON").await?;
    ensure!(count(twin::Host::resets)? == 1);
    os_up(bmc).await?;

    step("cycle: off by a long press, five seconds without power, on by a short one");
    server.fault("system", Fault::OsHang(true)).await?;
    let mark = server.mark();
    act(admin, "HOST_ACTION_POWER_CYCLE").await?;
    let (_, up) = pulse(bmc, Role::PowerButton, mark, ms(4_000), HELD).await?;
    let dark = server.edge(Role::PowerGood, false, mark, FOLLOW).await?;
    pulse(bmc, Role::PowerButton, up.seq, ms(200), SHORT).await?;
    let lit = server.edge(Role::PowerGood, true, dark.seq, FOLLOW).await?;
    server.fault("system", Fault::OsHang(false)).await?;
    ensure!(lit.at.saturating_sub(dark.at) >= ms(5_000), "{dark:?} to {lit:?}");
    becomes(admin, "HOST_STATUS_ON").await?;

    step("diagnostic interrupt");
    let mark = server.mark();
    act(admin, "HOST_ACTION_NMI").await?;
    pulse(bmc, Role::Nmi, mark, ms(200), STRETCHED).await?;
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
    let told = async || Ok::<_, anyhow::Error>(events(admin, "state").await?.len() - before);
    eventually("each change is told", FOLLOW, || async { Ok(told().await? >= 2) }).await?;
    let told = told().await?;
    ensure!(told <= 6, "each bounce is not: {told}");
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

/// From NOR, which the other tests do not boot from.
#[tokio::test]
async fn a_stopped_operator_is_bitten_and_the_server_stays_on() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_EVB_DEBUG") else { return Ok(()) };
    common::stopped::scenario(&folder, BOARD, "ubmc.storage=nor").await
}
