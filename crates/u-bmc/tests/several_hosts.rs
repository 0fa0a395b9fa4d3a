//! A chassis of several hosts (`targets/sim/hosts.toml`) through Redfish: each is a system of its own, and what is done to one is done to no other.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use testkit::{Client, ImageServer, Suite, bootable, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// The hosts of the board, each with its drive.
const HOSTS: [(&str, &str); 4] = [("system", "cd"), ("host1", "cd1"), ("host2", "cd2"), ("host3", "cd3")];
/// Longer than a host takes to come up and hand over its tables.
const LONG: Duration = Duration::from_secs(90);

type Result<T = ()> = anyhow::Result<T>;

/// A resource of the service, which has to be there.
async fn get(admin: &Client, path: &str) -> Result<Value> {
    let reply = admin.get(&format!("/redfish/v1/{path}")).await?;
    ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
    reply.json()
}

async fn system(admin: &Client, host: &str) -> Result<Value> {
    get(admin, &format!("Systems/{host}")).await
}

/// The last segments of the members of a collection, sorted.
async fn members(admin: &Client, path: &str) -> Result<Vec<String>> {
    let collection = get(admin, path).await?;
    let members = collection["Members"].as_array().context("no members")?;
    let uris = members.iter().filter_map(|member| member["@odata.id"].as_str());
    let mut names: Vec<String> = uris.filter_map(|uri| uri.rsplit('/').next()).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

async fn reset(admin: &Client, host: &str, kind: &str) -> Result {
    let path = format!("/redfish/v1/Systems/{host}/Actions/ComputerSystem.Reset");
    let reply = admin.post(&path, &json!({ "ResetType": kind })).await?;
    ensure!(reply.status < 300, "{host} {kind}: {} {}", reply.status, reply.text());
    Ok(())
}

async fn until_power(admin: &Client, host: &str, wanted: &str) -> Result {
    eventually(&format!("{host} is {wanted}"), LONG, || async {
        Ok(system(admin, host).await?["PowerState"] == wanted)
    })
    .await
}

/// Which of the hosts have power, as the machine itself says.
async fn powered(suite: &Suite) -> Result<Vec<&'static str>> {
    let mut twin = suite.twin().await?;
    let mut on = Vec::new();
    for (host, _) in HOSTS {
        if twin.status(host).await?.power_good {
            on.push(host);
        }
    }
    Ok(on)
}

/// What its firmware has said it is; it says so each time it is switched on.
async fn identity(admin: &Client, host: &str) -> Result<(String, String)> {
    eventually(&format!("{host} has said what it is"), LONG, || async {
        Ok(system(admin, host).await?["UUID"].is_string())
    })
    .await?;
    let shown = system(admin, host).await?;
    let text = |name: &str| shown[name].as_str().map(str::to_owned).context("no text");
    Ok((text("UUID")?, text("SerialNumber")?))
}

#[tokio::test]
async fn each_host_is_a_system_of_its_own() -> Result {
    let suite = Suite::builder(U_BMC)
        .board("targets/sim/hosts.toml")
        .set("sim.scripted.override_hold_ms=1500")
        .start()
        .await?;
    let admin = suite.admin();
    ensure!(members(&admin, "Systems").await? == ["host1", "host2", "host3", "system"]);
    for (host, drive) in HOSTS {
        until_power(&admin, host, "Off").await?;
        let shown = system(&admin, host).await?;
        // Nobody has told of it yet, and what the board file says is of all of them.
        ensure!(shown["UUID"].is_null() && shown["SerialNumber"].is_null(), "{shown}");
        let uri = shown["SerialConsole"]["WebSocket"]["ConsoleURI"].as_str().unwrap_or_default();
        ensure!(uri.contains(&format!("/consoles/{host}/")), "{shown}");
        ensure!(members(&admin, &format!("Systems/{host}/VirtualMedia")).await? == [drive]);
    }
    ensure!(members(&admin, "Managers/bmc/VirtualMedia").await? == HOSTS.map(|(_, drive)| drive));

    // By its buttons, and by a held line. What the others are is unchanged.
    let mut seen: Vec<(String, String)> = Vec::new();
    for (nth, host) in ["host1", "host3"].into_iter().enumerate() {
        reset(&admin, host, "On").await?;
        until_power(&admin, host, "On").await?;
        let now = identity(&admin, host).await?;
        ensure!(seen.iter().all(|other| other.0 != now.0 && other.1 != now.1), "{seen:?} {now:?}");
        seen.push(now);
        let wanted = &["host1", "host3"][..=nth];
        ensure!(powered(&suite).await? == wanted, "{wanted:?} are on");
    }
    for host in ["system", "host2"] {
        let shown = system(&admin, host).await?;
        ensure!(shown["PowerState"] == "Off" && shown["UUID"].is_null(), "{shown}");
        ensure!(shown["ProcessorSummary"]["Count"].is_null(), "{shown}");
    }
    eventually("the processors of host1 are known", LONG, || async {
        Ok(!members(&admin, "Systems/host1/Processors").await?.is_empty())
    })
    .await?;
    ensure!(members(&admin, "Systems/host2/Processors").await?.is_empty());
    reset(&admin, "host1", "ForceOff").await?;
    until_power(&admin, "host1", "Off").await?;
    ensure!(powered(&suite).await? == ["host3"]);

    // What one is to boot from.
    let once = json!({ "Boot": { "BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once" } });
    let headers = [("content-type", "application/json")];
    let path = "/redfish/v1/Systems/host2";
    let reply = admin.send(http::Method::PATCH, path, &headers, once.to_string().into()).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    for (host, _) in HOSTS {
        let wanted = if host == "host2" { "Once" } else { "Disabled" };
        let boot = system(&admin, host).await?["Boot"].take();
        ensure!(boot["BootSourceOverrideEnabled"] == wanted, "{host}: {boot}");
    }
    reset(&admin, "host2", "On").await?;
    until_power(&admin, "host2", "On").await?;
    let mut twin = suite.twin().await?;
    let order = twin.status("host2").await?.boot_order.map(|order| order.target.to_string());
    ensure!(order.as_deref() == Some("pxe"), "{order:?}");
    ensure!(twin.status("host3").await?.boot_order.is_none());
    suite.stop().await
}

#[tokio::test]
async fn a_disc_is_in_the_drive_of_one_host_alone() -> Result {
    let suite = Suite::builder(U_BMC)
        .board("targets/sim/hosts.toml")
        .set("mediasrv.allow_http=true")
        .set("mediasrv.allow_local=true")
        .start()
        .await?;
    let admin = suite.admin();
    let server = ImageServer::start(bootable::cd("BLADE"), None).await?;
    let insert = |host: &str, drive: &str| {
        format!("/redfish/v1/Systems/{host}/VirtualMedia/{drive}/Actions/VirtualMedia.InsertMedia")
    };
    let image = json!({ "Image": server.url("http", "blade.iso") });
    // A drive is below its own machine and below no other.
    for host in ["system", "host2", "host3"] {
        let reply = admin.post(&insert(host, "cd1"), &image).await?;
        ensure!(reply.status == 404, "{host}: {} {}", reply.status, reply.text());
    }
    let reply = admin.post(&insert("host1", "cd1"), &image).await?;
    ensure!(reply.status == 204, "{} {}", reply.status, reply.text());
    let mut twin = suite.twin().await?;
    for (host, drive) in HOSTS {
        let shown = get(&admin, &format!("Systems/{host}/VirtualMedia/{drive}")).await?;
        ensure!(shown["Inserted"] == (host == "host1"), "{shown}");
        let read = twin.read_drive(drive, 32_769, 5).await?;
        match host {
            "host1" => ensure!(read.as_deref() == Ok(&b"CD001"[..]), "{read:?}"),
            _ => ensure!(read.as_ref().is_err_and(|why| why == "no medium"), "{host}: {read:?}"),
        }
    }
    suite.stop().await
}
