//! A real QEMU guest as the host: what the buttons do to it, and what it does to power-good.
//!
//! Needs `UBMC_TEST_GUEST`, the directory that `cargo xtask guest` makes; `cargo xtask test` sets it.

mod common;

use std::path::Path;

use common::{Twin, console, in_time, load, said};
use hal::{Gpio, Initial, Line, OutputLine, next_edge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the guest says once it heeds its power button.
const READY: &str = "u-bmc guest: ready";

/// The guest's directory; without one the test says that it was skipped.
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
fn guest() -> Option<String> {
    let guest = std::env::var("UBMC_TEST_GUEST").ok();
    if guest.is_none() {
        println!("SKIP: no QEMU guest; `cargo xtask guest` makes one, `cargo xtask test` uses it");
    }
    guest
}

async fn button(gpio: &impl Gpio, name: &str, active_low: bool) -> Box<dyn OutputLine> {
    gpio.output(&Line { active_low, ..Line::named(name) }, Initial::AsIs, "test").await.unwrap()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_guest_lives_from_button_to_button() {
    let Some(guest) = guest() else { return };
    let dir = tempfile::tempdir().unwrap();
    let board = load("sim", &[("sim.host", "qemu"), ("sim.qemu.guest", &guest)]);
    let twin = Twin::start(board, dir.path()).await;
    let mut console = console(dir.path());
    let gpio = twin.gpio("test");
    let mut good = gpio.input(&Line::named("power-chassis-good"), "test").await.unwrap();
    let power = button(&gpio, "power-button-out", true).await;
    let mut control = twin.control().await;

    // On: the guest boots, and the terminal by which a person talks to it works both ways.
    power.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    said(&mut console, &[READY, "# "]).await;
    let first = control.status("system").await.unwrap();
    assert_eq!(first.os, "guest");
    let first = first.guest_pid.expect("a process");
    let mut keyboard =
        tokio::fs::File::options().write(true).open(dir.path().join("console-system")).await.unwrap();
    keyboard.write_all(b"echo $((6*7))-is-it\n").await.unwrap();
    keyboard.flush().await.unwrap();
    said(&mut console, &["42-is-it"]).await;

    // Its screen is there for who asks.
    let mut screen = tokio::net::UnixStream::connect(dir.path().join("guest-system.vnc")).await.unwrap();
    let mut version = [0; 12];
    in_time(screen.read_exact(&mut version)).await.unwrap();
    assert_eq!(&version, b"RFB 003.008\n");

    // NMI and reset reach it; power stays.
    let nmi = button(&gpio, "nmi-out", false).await;
    nmi.set(true).await.unwrap();
    said(&mut console, &["NMI received"]).await;
    nmi.set(false).await.unwrap();
    let reset = button(&gpio, "reset-button-out", true).await;
    reset.set(true).await.unwrap();
    reset.set(false).await.unwrap();
    said(&mut console, &[READY]).await;
    assert_eq!(control.status("system").await.unwrap().guest_pid, Some(first), "reset is no power cycle");
    assert!(good.get().await.unwrap());

    // A short press asks the operating system, which shuts down; power goes with it.
    power.set(true).await.unwrap();
    said(&mut console, &["u-bmc guest: power button"]).await;
    power.set(false).await.unwrap();
    assert!(!in_time(next_edge(good.as_mut())).await.unwrap().active);
    assert_eq!(control.status("system").await.unwrap().guest_pid, None);
    assert!(!is_alive(first));

    // On again, on the same terminal. A long press cuts power whatever the guest thinks of it.
    power.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    said(&mut console, &[READY]).await;
    let second = control.status("system").await.unwrap().guest_pid.expect("a process");
    keyboard.write_all(b"killall acpid && echo gone-$((40+2))\n").await.unwrap();
    keyboard.flush().await.unwrap();
    said(&mut console, &["gone-42"]).await;
    power.set(true).await.unwrap();
    assert!(!in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    assert_eq!(control.status("system").await.unwrap().hard_offs, 1);

    // A guest that dies by itself takes power with it.
    power.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    assert!(!is_alive(second), "the killed guest is gone before the next starts");
    said(&mut console, &[READY]).await;
    let third = control.status("system").await.unwrap().guest_pid.expect("a process");
    let pid = rustix::process::Pid::from_raw(third.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(!in_time(next_edge(good.as_mut())).await.unwrap().active);
    twin.end().await;
}

#[tokio::test]
async fn what_is_missing_for_a_guest_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let missing = |key, value| load("sim", &[("sim.host", "qemu"), (key, value)]);
    for (board, remedy) in [
        (missing("sim.qemu.binary", "qemu-system-none"), "qemu-system-x86"),
        (
            load(
                "sim",
                &[("sim.host", "qemu"), ("sim.qemu.binary", "/bin/true"), ("sim.qemu.guest", "/nowhere")],
            ),
            "cargo xtask guest",
        ),
    ] {
        let config = twinsim::Config { board, run_dir: dir.path().to_owned() };
        let error = twinsim::serve(config, || (), std::future::pending(), async || ()).await.unwrap_err();
        assert!(error.to_string().contains(remedy), "{error}");
    }
}
