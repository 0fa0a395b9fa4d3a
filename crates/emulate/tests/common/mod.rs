//! What the tests of images share: where images are, and how a host is asked and told.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod cuts;
pub(crate) mod stopped;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use emulate::{Bmc, Edge, Qmp};
use serde_json::{Value, json};
use testkit::{Client, eventually};
use twin::Role;

/// Longest wait for the API to show what is so: under emulation, on a machine that does other things.
pub(crate) const FOLLOW: Duration = Duration::from_secs(180);

/// The image that `variable` names, or a skip.
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
pub(crate) fn image(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        println!("SKIP: {variable} names no image (cargo xtask test emulated builds it)");
    }
    folder
}

/// Whether each scenario may boot as often as it likes (`UBMC_TEST_EVERY_BOOT`). Without it the tests leave out resets that another of them has, so
/// that all of them together boot eight times.
pub(crate) fn every_boot() -> bool {
    std::env::var_os("UBMC_TEST_EVERY_BOOT").is_some()
}

/// Says where a scenario is, with the time: a boot takes a while, and a failure is easier to place.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
pub(crate) fn step(what: &str) {
    println!("{:9.3} {what}", hal_sim::monotonic().as_secs_f64());
}

pub(crate) async fn host(client: &Client) -> Result<Value> {
    let reply = client.get("/api/v1alpha1/hosts/system").await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(reply.json()?["host"].take())
}

pub(crate) async fn becomes(client: &Client, wanted: &str) -> Result<()> {
    eventually(&format!("the host becomes {wanted}"), FOLLOW, || async {
        Ok(host(client).await?["status"] == wanted)
    })
    .await
}

pub(crate) async fn act(client: &Client, action: &str) -> Result<()> {
    let reply = client.post("/api/v1alpha1/hosts/system/state", &json!({ "action": action })).await?;
    ensure!(reply.status == 200, "{action}: {}: {}", reply.status, reply.text());
    Ok(())
}

pub(crate) async fn describe(client: &Client, text: &str) -> Result<()> {
    let headers = [("content-type", "application/json")];
    let body = json!({ "host": { "description": text }, "fieldMask": "description" });
    let path = "/api/v1alpha1/hosts/system";
    let reply = client.send("PATCH".parse()?, path, &headers, body.to_string().into()).await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(())
}

/// Resets the BMC through its own API and waits until it is back.
pub(crate) async fn reset_bmc(bmc: &Bmc, admin: &Client) -> Result<Client> {
    restart(bmc, admin, "MANAGEMENT_CONTROLLER_ACTION_COLD_RESET").await?;
    bmc.ready().await
}

/// Has the BMC restart itself by an action of its own API and waits until its daemons are ready. Returns where on the console that began.
pub(crate) async fn restart(bmc: &Bmc, admin: &Client, action: &str) -> Result<usize> {
    let mut events = bmc.qmp()?.events();
    let from = bmc.console()?.mark();
    let path = "/api/v1alpha1/management-controllers/bmc/state";
    let reply = admin.post(path, &json!({ "action": action })).await?;
    ensure!(reply.status == 200, "{action}: {}: {}", reply.status, reply.text());
    Qmp::event(&mut events, "RESET", FOLLOW).await?;
    bmc.console()?.wait_for(emulate::READY_LINE, from, emulate::BOOT_LIMIT).await?;
    Ok(from)
}

/// How long a pulse was.
pub(crate) fn width((begin, end): &(Edge, Edge)) -> Duration {
    end.at.saturating_sub(begin.at)
}

/// Waits for a pulse and holds its width to what is asked. Emulation may stretch it and never shorten it; what is subtracted is the
/// time between two looks at the pins.
pub(crate) async fn pulse(
    bmc: &Bmc,
    role: Role,
    after: u64,
    least: Duration,
    most: Duration,
) -> Result<(Edge, Edge)> {
    let pulse = bmc.server().pulse(role, after, FOLLOW).await?;
    let width = width(&pulse);
    step(&format!("{role:?} was active for {width:?}"));
    ensure!(width + Duration::from_millis(20) >= least, "{role:?}: {width:?} is short of {least:?}");
    ensure!(width <= most, "{role:?}: {width:?} is more than {most:?}");
    Ok(pulse)
}
