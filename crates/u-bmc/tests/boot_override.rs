//! The boot override in the running suite: asked for through Redfish, done by the simulated host, taken back whatever dies in between.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hal_sim::Control;
use hal_sim::wire::{Button, Fault};
use serde_json::{Value, json};
use testkit::{Client, Suite, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const SYSTEM: &str = "/redfish/v1/Systems/system";
/// Longer than a daemon takes to come back and to look.
const LONG: Duration = Duration::from_secs(30);

type Result<T = ()> = anyhow::Result<T>;

/// Target and state of the override.
async fn shown(admin: &Client) -> Result<(String, String)> {
    let boot = admin.get(SYSTEM).await?.json()?["Boot"].take();
    let text = |name: &str| boot[name].as_str().map(str::to_owned).context("no text");
    Ok((text("BootSourceOverrideTarget")?, text("BootSourceOverrideEnabled")?))
}

/// PATCHes `Boot`, again while a daemon is on its way back; the status of the answer that counts.
async fn patch(admin: &Client, boot: Value) -> Result<u16> {
    let body = json!({ "Boot": boot }).to_string();
    for _ in 0..100 {
        let headers = [("content-type", "application/json")];
        let reply = admin.send(http::Method::PATCH, SYSTEM, &headers, body.clone().into()).await?;
        if ![409, 503, 504].contains(&reply.status) {
            return Ok(reply.status);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the override cannot be set")
}

/// What the boot that runs was begun by.
async fn booted_by(twin: &mut Control) -> Result<Option<String>> {
    Ok(twin.status("system").await?.boot_order.map(|order| order.target.to_string()))
}

/// Somebody presses the reset button of the machine: a boot that no daemon has asked for.
async fn reset(twin: &mut Control) -> Result<Option<String>> {
    let before = twin.status("system").await?.resets;
    twin.finger("system", Button::Reset, true).await?;
    twin.finger("system", Button::Reset, false).await?;
    ensure!(twin.status("system").await?.resets == before + 1, "one boot");
    booted_by(twin).await
}

async fn until_taken_back(admin: &Client) -> Result {
    eventually("the override is taken back", LONG, || async {
        let now = shown(admin).await;
        Ok(now.is_ok_and(|now| now == ("None".to_owned(), "Disabled".to_owned())))
    })
    .await
}

#[tokio::test]
async fn once_is_for_one_boot_whatever_dies_in_between() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    let mut twin = suite.twin().await?;
    let once =
        |target: &str| json!({"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": "Once"});

    // As the tools claim a host: told what to boot from, then switched on at once.
    assert_eq!(patch(&admin, once("Pxe")).await?, 200);
    assert_eq!(shown(&admin).await?, ("Pxe".to_owned(), "Once".to_owned()));
    let reply =
        admin.post(&format!("{SYSTEM}/Actions/ComputerSystem.Reset"), &json!({"ResetType": "On"})).await?;
    ensure!(reply.status < 300, "{}: {}", reply.status, reply.text());
    eventually("the host is on", LONG, || async {
        Ok(admin.get(SYSTEM).await?.json()?["PowerState"] == "On")
    })
    .await?;
    assert_eq!(booted_by(&mut twin).await?.as_deref(), Some("pxe"));
    until_taken_back(&admin).await?;
    assert_eq!(reset(&mut twin).await?, None);

    // Nothing of what is refused is there.
    assert_eq!(patch(&admin, json!({"BootSourceOverrideTarget": "Floppy"})).await?, 400);
    assert_eq!(patch(&admin, json!({"HttpBootUri": "ftp://a"})).await?, 400);
    assert_eq!(reset(&mut twin).await?, None);

    // The one that stores it, the one that sees the boot.
    for daemon in ["statemgr", "powermgr"] {
        assert_eq!(patch(&admin, once("Cd")).await?, 200);
        suite.kill_daemon(daemon)?;
        assert_eq!(reset(&mut twin).await?.as_deref(), Some("cd"), "{daemon} is dead");
        assert_eq!(reset(&mut twin).await?, None, "{daemon} has not seen the boot before");
        until_taken_back(&admin).await.context(daemon)?;
        assert_eq!(reset(&mut twin).await?, None, "{daemon} is back");
    }

    // The machine itself: what it was told is still there, and so is that it was used.
    assert_eq!(patch(&admin, once("UefiHttp")).await?, 200);
    let dead = suite.kill_daemon("twin")?;
    eventually("the machine is back", LONG, || async {
        Ok(suite.pid_of("twin").is_some_and(|pid| pid != dead) && suite.twin().await.is_ok())
    })
    .await?;
    let mut twin = suite.twin().await?;
    assert_eq!(shown(&admin).await?.1, "Once", "nothing has booted");
    twin.fault("system", Fault::Wake).await?;
    testkit::eventually("the host boots", LONG, || async {
        Ok(suite.twin().await?.status("system").await?.power_good)
    })
    .await?;
    assert_eq!(booted_by(&mut twin).await?.as_deref(), Some("uefi-http"));
    until_taken_back(&admin).await?;
    assert_eq!(reset(&mut twin).await?, None);

    // One that is for all boots.
    let continuous = json!({"BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous"});
    assert_eq!(patch(&admin, continuous).await?, 200);
    for _ in 0..2 {
        assert_eq!(reset(&mut twin).await?.as_deref(), Some("hdd"));
    }
    assert_eq!(patch(&admin, json!({"BootSourceOverrideEnabled": "Disabled"})).await?, 200);
    assert_eq!(reset(&mut twin).await?, None);
    suite.stop().await
}

#[tokio::test]
async fn once_is_for_one_boot_although_the_whole_controller_is_gone_meanwhile() -> Result {
    let dir = tempfile::tempdir()?;
    testkit::open_to_all(dir.path())?;
    let run_dir = dir.path().join("run");
    std::fs::create_dir(&run_dir)?;
    let board = testkit::root().join("targets/sim/board.toml");
    // The machine goes on without its controller, as a real one does.
    let _machine = testkit::Machine::start(U_BMC.as_ref(), &board, &run_dir).await?;
    let start = || {
        let run_dir = run_dir.display().to_string();
        Suite::builder(U_BMC).state_dir(dir.path().join("state")).arg("--run-dir").arg(run_dir).start()
    };
    let suite = start().await?;
    let mut twin = suite.twin().await?;
    let once = json!({"BootSourceOverrideTarget": "Usb", "BootSourceOverrideEnabled": "Once"});
    assert_eq!(patch(&suite.admin(), once).await?, 200);
    suite.crash().await?;

    twin.fault("system", Fault::Wake).await?;
    let wakes = async {
        while !twin.status("system").await?.power_good {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LONG, wakes).await??;
    assert_eq!(booted_by(&mut twin).await?.as_deref(), Some("usb"));
    assert_eq!(reset(&mut twin).await?, None);

    let suite = start().await?;
    until_taken_back(&suite.admin()).await?;
    assert_eq!(reset(&mut twin).await?, None);
    suite.stop().await
}
