//! The second board's image: a server whose power follows a held line.

mod common;

use anyhow::{Result, ensure};
use common::{FOLLOW, act, becomes, every_boot, image, reset_bmc, restart, step};
use emulate::Bmc;
use serde_json::json;
use testkit::{Client, eventually};
use twin::Role;

/// The names of all accounts.
async fn users(admin: &Client) -> Result<Vec<String>> {
    let reply = admin.get("/api/v1alpha1/users").await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    let users = reply.json()?;
    let users = users["users"].as_array().into_iter().flatten();
    Ok(users.filter_map(|user| user["username"].as_str().map(str::to_owned)).collect())
}

/// What the sensor of a supply's line says.
async fn said(admin: &Client, supply: &str) -> Result<String> {
    let reply = admin.get(&format!("/api/v1alpha1/sensors/{supply}")).await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(reply.json()?["sensor"]["discreteReading"]["state"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_server_powered_by_a_held_line_goes_on_and_off_and_stays_on_over_a_reset() -> Result<()> {
    let Some(folder) = image("UBMC_TEST_IMAGE_RAINIER") else { return Ok(()) };
    let bmc = Bmc::builder(&folder, "ibm/rainier").start().await?;
    let server = bmc.server();
    let admin = bmc.first_login().await?;
    becomes(&admin, "HOST_STATUS_OFF").await?;
    ensure!(server.trace(0).is_empty(), "I-2: the boot moved a pin: {:?}", server.trace(0));

    step("on: the line is held");
    act(&admin, "HOST_ACTION_ON").await?;
    let held = server.edge(Role::Control, true, 0, FOLLOW).await?;
    server.edge(Role::PowerGood, true, held.seq, FOLLOW).await?;
    becomes(&admin, "HOST_STATUS_ON").await?;

    step("a power supply is pulled and put back");
    for is_there in [true, false, true] {
        server.plug("psu1_present", is_there)?;
        eventually("the supply's line is followed", FOLLOW, || async {
            Ok(said(&admin, "psu1_present").await? == if is_there { "present" } else { "absent" })
        })
        .await?;
    }

    let mark = server.mark();
    let admin = if every_boot() {
        step("a reset of the BMC does not let go");
        let admin = reset_bmc(&bmc, &admin).await?;
        becomes(&admin, "HOST_STATUS_ON").await?;
        ensure!(server.trace(mark).is_empty(), "I-2: the reset moved a pin: {:?}", server.trace(mark));
        admin
    } else {
        admin
    };
    ensure!(server.is_on("system")?);

    step("a factory reset leaves nothing of what was stored, and the host alone");
    let user = json!({ "username": "somebody", "role": "ReadOnly", "enabled": true });
    let body = json!({ "user": user, "password": "a-Passphrase-0f-somebody" });
    let reply = admin.post("/api/v1alpha1/users", &body).await?;
    ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    ensure!(users(&admin).await?.len() == 2);
    let from = restart(&bmc, &admin, "MANAGEMENT_CONTROLLER_ACTION_FACTORY_RESET").await?;
    let admin = bmc.first_login_after(from).await?;
    let info = admin.get("/api/v1alpha1/system/info").await?.text();
    ensure!(info.contains("\"factory-reset\""), "{info}");
    ensure!(users(&admin).await? == ["admin"]);
    becomes(&admin, "HOST_STATUS_ON").await?;
    ensure!(server.trace(mark).is_empty(), "I-2: the factory reset moved a pin: {:?}", server.trace(mark));

    step("force off: the line is let go");
    act(&admin, "HOST_ACTION_FORCE_OFF").await?;
    server.edge(Role::Control, false, mark, FOLLOW).await?;
    becomes(&admin, "HOST_STATUS_OFF").await?;
    ensure!(server.driven(mark).len() == 1, "{:?}", server.driven(mark));
    Ok(())
}
