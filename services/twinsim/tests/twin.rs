//! The twin process as its clients see it: over its sockets and consoles.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use board::Board;
use common::{Twin, console, in_time, load, said};
use hal::{Gpio, Initial, LineId, OutputLine, next_edge};
use hal_sim::SimGpio;
use hal_sim::wire::{Button, Fault};
use tokio::io::AsyncReadExt;

/// A host that is quick, so that tests are.
fn quick() -> Board {
    load(
        "sim",
        &[
            ("sim.scripted.power_on_ms", "20"),
            ("sim.scripted.boot_ms", "60"),
            ("sim.scripted.shutdown_ms", "20"),
            ("sim.scripted.override_hold_ms", "1500"),
        ],
    )
}

#[tokio::test]
async fn a_press_powers_the_host_on_and_its_console_tells() {
    let dir = tempfile::tempdir().unwrap();
    let board = quick();
    let power = board.hosts[0].power.clone();
    let twin = Twin::start(board, dir.path()).await;
    let mut console = console(dir.path());
    let gpio = twin.gpio("test");
    let board::Power::Buttons(lines) = power else { panic!("by buttons") };
    let mut good = gpio.input(&lines.power_good, "test").await.unwrap();
    assert!(!good.get().await.unwrap(), "off at first");
    let button = gpio.output(&lines.power, Initial::AsIs, "test").await.unwrap();
    assert!(!button.get().await.unwrap(), "nobody presses");
    let before = hal_sim::monotonic();
    button.set(true).await.unwrap();
    let edge = in_time(next_edge(good.as_mut())).await.unwrap();
    button.set(false).await.unwrap();
    assert!(edge.active && edge.at > before && edge.at <= hal_sim::monotonic());
    assert!(good.get().await.unwrap());
    said(&mut console, &["BIOS", "login:"]).await;
    // The operating system runs now and heeds a short press.
    button.set(true).await.unwrap();
    said(&mut console, &["Power key pressed short", "Power down"]).await;
    button.set(false).await.unwrap();
    let edge = in_time(next_edge(good.as_mut())).await.unwrap();
    assert!(!edge.active);
    let status = twin.control().await.status("system").await.unwrap();
    assert_eq!((status.starts, status.acpi_events, status.power_good), (1, 1, false));
    twin.end().await;
    assert!(!dir.path().join("console-system").is_symlink(), "the link goes with the twin");
}

#[tokio::test]
async fn levels_outlive_the_client_that_drove_them() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(quick(), dir.path()).await;
    let mut control = twin.control().await;
    control.follow().await.unwrap();
    let line = hal::Line { active_low: true, ..hal::Line::named("power-button-out") };
    {
        let gpio = twin.gpio("first");
        let button = gpio.output(&line, Initial::AsIs, "first").await.unwrap();
        button.set(true).await.unwrap();
        in_time(control.wait_edge("system", "power_good", true)).await.unwrap();
        // Client and line end here, in mid-press, as with a killed daemon.
    }
    in_time(control.wait_edge("system", "power_good", false)).await.unwrap();
    let status = control.status("system").await.unwrap();
    assert_eq!(status.hard_offs, 1, "the button was held on, so the hardware cut power");
    let gpio = twin.gpio("second");
    let button = requested(&gpio, &line).await;
    assert!(button.get().await.unwrap(), "found held");
    button.set(false).await.unwrap();
    let trace = control.trace(0).await.unwrap();
    let presses: Vec<bool> = trace.iter().filter(|e| e.pin == "power").map(|e| e.active).collect();
    assert_eq!(presses, [true, false], "requesting the line made no edge");
    assert!(trace.is_sorted_by_key(|entry| (entry.seq, entry.at_ns)));
    twin.end().await;
}

/// Requests an output that its last owner may not have left yet.
async fn requested(gpio: &SimGpio, line: &hal::Line) -> Box<dyn OutputLine> {
    in_time(async {
        loop {
            match gpio.output(line, Initial::AsIs, "second").await {
                Ok(button) => return button,
                Err(hal::Error::Busy { owner, .. }) => {
                    assert_eq!(owner, "first");
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_client_survives_the_twin() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(quick(), dir.path()).await;
    let gpio = twin.gpio("test");
    let good = hal::Line::named("power-chassis-good");
    let mut good = gpio.input(&good, "test").await.unwrap();
    let line = hal::Line { active_low: true, ..hal::Line::named("power-button-out") };
    let button = gpio.output(&line, Initial::AsIs, "test").await.unwrap();
    twin.end().await;
    let lost = in_time(next_edge(good.as_mut())).await.unwrap_err();
    assert_eq!(lost.kind(), hal::ErrorKind::Unavailable);
    assert_eq!(button.set(true).await.unwrap_err().kind(), hal::ErrorKind::Unavailable);
    let twin = Twin::start(quick(), dir.path()).await;
    let edge = in_time(next_edge(good.as_mut())).await.unwrap();
    assert!(!edge.active, "the present level is told when the twin is back");
    button.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    twin.end().await;
}

#[tokio::test]
async fn faults_and_fingers_reach_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(quick(), dir.path()).await;
    let gpio = twin.gpio("test");
    let mut control = twin.control().await;
    let button_in = hal::Line { active_low: true, ..hal::Line::named("power-button") };
    let mut finger = gpio.input(&button_in, "test").await.unwrap();
    control.follow().await.unwrap();
    control.finger("system", Button::Power, true).await.unwrap();
    assert!(in_time(next_edge(finger.as_mut())).await.unwrap().active, "the BMC sees the finger");
    in_time(control.wait_edge("system", "power_good", true)).await.unwrap();
    control.finger("system", Button::Power, false).await.unwrap();
    assert!(!in_time(next_edge(finger.as_mut())).await.unwrap().active);
    control.fault("system", Fault::Glitch(5)).await.unwrap();
    in_time(control.wait_edge("system", "power_good", false)).await.unwrap();
    in_time(control.wait_edge("system", "power_good", true)).await.unwrap();
    control.fault("system", Fault::PowerLoss).await.unwrap();
    in_time(control.wait_edge("system", "power_good", false)).await.unwrap();
    assert!(control.status("host9").await.is_err(), "no such host");
    twin.end().await;
}

#[tokio::test]
async fn a_debounced_input_sees_one_edge_of_a_bouncing_line() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(quick(), dir.path()).await;
    let gpio = twin.gpio("test");
    let mut control = twin.control().await;
    control.follow().await.unwrap();
    // Much longer than its bounces are apart, so that a busy machine may be late with one.
    let line = hal::Line { debounce: Duration::from_millis(400), ..hal::Line::named("power-chassis-good") };
    let mut good = gpio.input(&line, "test").await.unwrap();
    control.fault("system", Fault::PowerGoodBounce { toggles: 4, every_ms: 2 }).await.unwrap();
    control.fault("system", Fault::Wake).await.unwrap();
    for _ in 0..5 {
        in_time(control.next_edge()).await.unwrap();
    }
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    control.fault("system", Fault::PowerGoodBounce { toggles: 0, every_ms: 0 }).await.unwrap();
    control.fault("system", Fault::PowerLoss).await.unwrap();
    assert!(!in_time(next_edge(good.as_mut())).await.unwrap().active, "and nothing in between");
    twin.end().await;
}

#[tokio::test]
async fn hosts_by_level_and_by_button_share_a_board() {
    let dir = tempfile::tempdir().unwrap();
    let board = load("sim-level", &[("sim.scripted.power_on_ms", "10")]);
    let twin = Twin::start(board, dir.path()).await;
    let gpio = twin.gpio("test");
    let mut control = twin.control().await;
    control.follow().await.unwrap();
    let line = hal::Line::named("power-chassis1-control");
    let hold = gpio.output(&line, Initial::AsIs, "test").await.unwrap();
    hold.set(true).await.unwrap();
    in_time(control.wait_edge("host1", "power_good", true)).await.unwrap();
    let by_offset =
        hal::Line { id: LineId::Offset { chip: "expander".into(), offset: 3 }, ..hal::Line::named("") };
    assert!(gpio.input(&by_offset, "test").await.unwrap().get().await.unwrap());
    assert_eq!(control.status("host2").await.unwrap().supply, "off");
    hold.set(false).await.unwrap();
    in_time(control.wait_edge("host1", "power_good", false)).await.unwrap();
    twin.end().await;
}

#[tokio::test]
async fn clients_that_misbehave_are_refused_and_nobody_else_notices() {
    use tokio::io::AsyncWriteExt;
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(quick(), dir.path()).await;
    let mut junk = vec![b'x'; hal_sim::FRAME_MAX + 2];
    junk.push(b'\n');
    let wrong_socket =
        b"{\"hello\":{\"version\":1,\"owner\":\"x\"}}\n{\"control\":{\"id\":1,\"request\":\"follow\"}}\n";
    let old = b"{\"hello\":{\"version\":0,\"owner\":\"x\"}}\n";
    for bytes in [junk.as_slice(), b"\xff\n", b"{}\n", wrong_socket, old] {
        let mut stream = tokio::net::UnixStream::connect(dir.path().join(hal_sim::SOCKET)).await.unwrap();
        // The twin may hang up before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        match in_time(stream.read_to_end(&mut answer)).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(twin.control().await.status("system").await.unwrap().supply, "off");
    let second = twinsim::Config { board: quick(), run_dir: dir.path().to_owned() };
    let refused = twinsim::serve(second, || (), std::future::pending(), async || ()).await;
    assert!(matches!(refused, Err(twinsim::Error::Running { .. })), "one twin a directory");
    twin.end().await;
}

#[tokio::test]
async fn the_console_keeps_what_nobody_read_yet() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(quick(), dir.path()).await;
    let mut control = twin.control().await;
    control.follow().await.unwrap();
    for _ in 0..3 {
        control.fault("system", Fault::Wake).await.unwrap();
        in_time(control.wait_edge("system", "power_good", true)).await.unwrap();
        control.fault("system", Fault::PowerLoss).await.unwrap();
        in_time(control.wait_edge("system", "power_good", false)).await.unwrap();
    }
    let text = said(&mut console(dir.path()), &["BIOS", "BIOS", "BIOS"]).await;
    assert!(text.is_ascii());
    twin.end().await;
}
