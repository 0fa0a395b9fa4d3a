//! The boot override in the running suite: asked for through Redfish, done by the simulated host, taken back whatever dies in between.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hal_sim::Control;
use hal_sim::wire::{Button, Fault};
use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Client, Console, Credential, Suite, bootable, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const SYSTEM: &str = "/redfish/v1/Systems/system";
/// Longer than a daemon takes to come back and to look.
const LONG: Duration = Duration::from_secs(180);

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
    let end = tokio::time::Instant::now() + LONG;
    while tokio::time::Instant::now() < end {
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

/// Serves one file by HTTP, to whoever asks for whatever.
async fn serve(listener: tokio::net::TcpListener, file: Vec<u8>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut asked = Vec::new();
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                break;
            }
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
        // A client that goes is no concern of the server.
        let _ = stream.write_all(&[head.as_bytes(), &file].concat()).await;
    }
}

/// Resets the host, again while a daemon is on its way back, and waits until it is so.
async fn reset_to(admin: &Client, kind: &str, wanted: &str) -> Result {
    let action = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    eventually(&format!("{kind} is taken"), LONG, || async {
        let reply = admin.post(&action, &json!({ "ResetType": kind })).await?;
        ensure!(reply.status < 300 || [409, 503, 504].contains(&reply.status), "{}", reply.text());
        Ok(reply.status < 300)
    })
    .await?;
    eventually(&format!("the host is {wanted}"), LONG, || async {
        Ok(admin.get(SYSTEM).await?.json()?["PowerState"] == wanted)
    })
    .await
}

/// Waits until these daemons, which had these processes, are back, and the host, which is off, is to boot from `target` once.
async fn until_back(suite: &Suite, died: &[(&str, u32)], target: &str) -> Result {
    let admin = suite.admin();
    eventually("all of it is back", LONG, || async {
        let is_new = |(name, old): &(&str, u32)| suite.pid_of(name).is_some_and(|pid| pid != *old);
        if !died.iter().all(is_new) || suite.twin().await.is_err() {
            return Ok(false);
        }
        let system = admin.get(SYSTEM).await?.json()?;
        let now = shown(&admin).await;
        Ok(system["PowerState"] == "Off"
            && now.is_ok_and(|now| now == (target.to_owned(), "Once".to_owned())))
    })
    .await
}

/// The console of the host, once its daemon has the port of the machine that runs now.
async fn console(suite: &Suite) -> Result<Console> {
    let admin = suite.admin();
    eventually("the port is open", LONG, || async {
        let console = admin.get("/api/v1alpha1/consoles/system").await?.json()?;
        Ok(console["console"]["connected"] == true)
    })
    .await?;
    let credential = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = credential.header().context("no header")?;
    let headers = [("authorization", authorization.as_str())];
    let opened = Console::open(suite.https(), "/api/v1alpha1/consoles/system/socket", &headers).await?;
    opened.map_err(|status| anyhow::anyhow!("the console is refused with {status}"))
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn a_real_machine_boots_once_from_what_was_asked_for_before_daemons_and_machine_died() -> Result {
    let has = |path: &str| Path::new(path).exists();
    if !has("/usr/bin/qemu-system-x86_64") || !has("/usr/lib/ipxe/qemu/pxe-virtio.rom") {
        println!("SKIP: no QEMU with firmware for its network card; install qemu-system-x86 and ipxe-qemu");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (disk, tftp) = (dir.path().join("disk.img"), dir.path().join("tftp"));
    std::fs::write(&disk, bootable::disk("disk"))?;
    std::fs::create_dir(&tftp)?;
    std::fs::write(tftp.join("loader"), bootable::program("pxe"))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    // By which a guest reaches this machine.
    let uri = format!("http://10.0.2.2:{}/loader", listener.local_addr()?.port());
    let server = tokio::spawn(serve(listener, bootable::program("http")));
    let suite = Suite::builder(U_BMC)
        .set("sim.host=qemu")
        .set(format!("sim.qemu.disk={}", disk.display()))
        .set(format!("sim.qemu.tftp={}", tftp.display()))
        .set("sim.qemu.boot_file=loader")
        .set("sim.scripted.override_hold_ms=1500")
        .start()
        .await?;
    let admin = suite.admin();

    // Its firmware is a PC's: another mode would have no effect, and is refused.
    let boot = admin.get(SYSTEM).await?.json()?["Boot"].take();
    assert_eq!(boot["BootSourceOverrideMode@Redfish.AllowableValues"], json!(["Legacy"]));
    let uefi = json!({
        "BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI"
    });
    assert_eq!(patch(&admin, uefi).await?, 400);
    assert_eq!(shown(&admin).await?, ("None".to_owned(), "Disabled".to_owned()));

    let pxe = json!({
        "BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "Legacy"
    });
    // With the same mode, which stays: what is UEFI's by name is done by the network card.
    let http = json!({
        "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once", "HttpBootUri": uri
    });
    for (boot, target, says) in [(pxe, "Pxe", "booted from pxe."), (http, "UefiHttp", "booted from http.")] {
        assert_eq!(patch(&admin, boot).await?, 200, "{target}");
        let died = [("statemgr", suite.kill_daemon("statemgr")?), ("twin", suite.kill_daemon("twin")?)];
        until_back(&suite, &died, target).await?;
        let mut console = console(&suite).await?;
        reset_to(&admin, "On", "On").await?;
        console.says(says).await?;
        until_taken_back(&admin).await?;
        reset_to(&admin, "ForceRestart", "On").await?;
        console.says("booted from disk.").await.context("once is for one boot")?;
        reset_to(&admin, "ForceOff", "Off").await?;
    }
    server.abort();
    suite.stop().await
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn a_real_machine_with_uefi_shows_its_set_up_once_whatever_died_before() -> Result {
    let has = |path: &str| Path::new(path).exists();
    let is_there =
        ["OVMF_CODE_4M.fd", "OVMF_CODE.fd"].iter().any(|file| has(&format!("/usr/share/OVMF/{file}")));
    if !has("/usr/bin/qemu-system-x86_64") || !has("/usr/lib/ipxe/qemu/efi-virtio.rom") || !is_there {
        println!("SKIP: no QEMU with UEFI firmware; install qemu-system-x86, ipxe-qemu and ovmf");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (disk, tftp) = (dir.path().join("disk.img"), dir.path().join("tftp"));
    std::fs::write(&disk, bootable::efi_disk("disk"))?;
    std::fs::create_dir(&tftp)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://10.0.2.2:{}/loader.efi", listener.local_addr()?.port());
    let server = tokio::spawn(serve(listener, bootable::efi_program("http")));
    let suite = Suite::builder(U_BMC)
        .set("sim.host=qemu")
        .set("sim.qemu.firmware=uefi")
        .set(format!("sim.qemu.disk={}", disk.display()))
        .set(format!("sim.qemu.tftp={}", tftp.display()))
        .set("sim.scripted.override_hold_ms=1500")
        .start()
        .await?;
    let admin = suite.admin();

    let boot = admin.get(SYSTEM).await?.json()?["Boot"].take();
    assert_eq!(boot["BootSourceOverrideMode@Redfish.AllowableValues"], json!(["UEFI"]));
    let targets = boot["BootSourceOverrideTarget@Redfish.AllowableValues"].as_array().context("no list")?;
    assert!(targets.contains(&json!("BiosSetup")) && targets.contains(&json!("UefiHttp")), "{targets:?}");
    let legacy = json!({
        "BootSourceOverrideTarget": "BiosSetup", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "Legacy"
    });
    assert_eq!(patch(&admin, legacy).await?, 400);
    assert_eq!(shown(&admin).await?, ("None".to_owned(), "Disabled".to_owned()));

    let setup = json!({
        "BootSourceOverrideTarget": "BiosSetup", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI"
    });
    assert_eq!(patch(&admin, setup).await?, 200);
    let died = [("statemgr", suite.kill_daemon("statemgr")?), ("twin", suite.kill_daemon("twin")?)];
    until_back(&suite, &died, "BiosSetup").await?;
    let mut console = console(&suite).await?;
    reset_to(&admin, "On", "On").await?;
    // An entry of the first screen of its set-up, which nothing else shows.
    console.says("Boot Maintenance Manager").await?;
    until_taken_back(&admin).await?;
    reset_to(&admin, "ForceRestart", "On").await?;
    console.says("booted from disk.").await.context("once is for one boot")?;

    let http = json!({
        "BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once", "HttpBootUri": uri
    });
    assert_eq!(patch(&admin, http).await?, 200);
    reset_to(&admin, "ForceRestart", "On").await?;
    console.says("booted from http.").await?;
    until_taken_back(&admin).await?;

    // The power is cut as the firmware begins: it was a boot, and the next one is another.
    let setup = json!({"BootSourceOverrideTarget": "BiosSetup", "BootSourceOverrideEnabled": "Once"});
    assert_eq!(patch(&admin, setup).await?, 200);
    reset_to(&admin, "ForceRestart", "On").await?;
    until_taken_back(&admin).await?;
    reset_to(&admin, "ForceOff", "Off").await?;
    reset_to(&admin, "On", "On").await?;
    console.says("booted from disk.").await.context("a boot that was cut off was the one")?;
    server.abort();
    suite.stop().await
}
