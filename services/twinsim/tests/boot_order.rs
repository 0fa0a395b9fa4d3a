//! What hosts boot from: the scripted one by its word, a QEMU guest by what really runs in it.

mod common;

use std::path::Path;

use boot_override::{Mailbox, Mode, Order, Target};
use common::{Twin, button, console, in_time, load, press, said};
use hal::{BootMailbox, FirmwareMailbox, Gpio, Line, next_edge};
use hal_sim::{SimFirmware, SimMailbox};
use host_firmware::Wishes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn order(id: &str, target: Target, argument: &str) -> Option<Order> {
    let argument = argument.to_owned();
    Some(Order { id: id.to_owned(), target, once: true, mode: Mode::Firmware, argument })
}

fn mailbox(dir: &Path) -> SimMailbox {
    SimMailbox::new(&dir.join(hal_sim::SOCKET), "system", "test")
}

#[tokio::test]
async fn the_scripted_host_boots_by_an_order_that_outlasts_the_twin() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let told = mailbox(dir.path()).put(order("a", Target::Pxe, "")).await.unwrap();
    assert_eq!(told, Mailbox { order: order("a", Target::Pxe, ""), used: None });
    assert!(SimMailbox::new(&dir.path().join(hal_sim::SOCKET), "nobody", "test").look().await.is_err());
    twin.end().await;

    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let mut console = console(dir.path());
    let gpio = twin.gpio("test");
    let mut good = gpio.input(&Line::named("power-chassis-good"), "test").await.unwrap();
    let power = button(&gpio, "power-button-out").await;
    let firmware = mailbox(dir.path());
    power.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    // It is noted by the time that power-good tells of the boot.
    assert!(firmware.look().await.unwrap().has_used("a"));
    said(&mut console, &["Booting from network (PXE)", "login:"]).await;
    let mut control = twin.control().await;
    assert_eq!(
        control.status("system").await.unwrap().boot_order.map(|order| *order),
        order("a", Target::Pxe, "")
    );
    let reset = button(&gpio, "reset-button-out").await;
    press(reset.as_ref()).await;
    said(&mut console, &["Booting from hard disk", "login:"]).await;
    assert_eq!(control.status("system").await.unwrap().boot_order, None);

    // In the set-up screens nothing runs that heeds the power button but the firmware itself.
    firmware.put(order("b", Target::BiosSetup, "")).await.unwrap();
    press(reset.as_ref()).await;
    said(&mut console, &["set-up utility"]).await;
    assert_eq!(control.status("system").await.unwrap().os, "setup");
    press(power.as_ref()).await;
    assert!(!in_time(next_edge(good.as_mut())).await.unwrap().active);
    twin.end().await;

    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    assert!(firmware.look().await.unwrap().pending().is_none(), "used, and known to be by the twin after");
    twin.end().await;
}

/// A program for a PC that has just been started, wherever its firmware has loaded it to: it says on the first serial port where it came from, waits for
/// a key there, and restarts the machine.
fn program(from: &str) -> Vec<u8> {
    const CODE: &[u8] = &[
        0xe8, 0x00, 0x00, // call next
        0x5e, // next: pop si
        0x83, 0xc6, 0x27, // add si, text - next
        0xba, 0xfd, 0x03, // one: mov dx, line status
        0xec, // wait: in al, dx
        0xa8, 0x20, // test al, room to send
        0x74, 0xfb, // jz wait
        0x2e, 0xac, // cs lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x06, // jz said
        0xba, 0xf8, 0x03, // mov dx, data
        0xee, // out dx, al
        0xeb, 0xec, // jmp one
        0xba, 0xfd, 0x03, // said: mov dx, line status
        0xec, // key: in al, dx
        0xa8, 0x01, // test al, something came
        0x74, 0xfb, // jz key
        0xb0, 0xfe, // mov al, pulse reset
        0xe6, 0x64, // out keyboard controller, al
        0xf4, // halt
        0xeb, 0xfd, // jmp halt
    ];
    assert_eq!(CODE.len(), 0x2a, "where the text is");
    let mut bytes = CODE.to_vec();
    bytes.extend_from_slice(format!("booted from {from}.\r\n\0").as_bytes());
    bytes
}

/// A disk with it in its first sector.
fn disk(from: &str) -> Vec<u8> {
    let mut bytes = program(from);
    bytes.resize(510, 0);
    bytes.extend([0x55, 0xaa]);
    bytes.resize(1 << 20, 0);
    bytes
}

/// A CD with it, by El Torito without emulation.
fn cd(from: &str) -> Vec<u8> {
    const SECTOR: usize = 2048;
    let mut image = vec![0; SECTOR * 64];
    let mut put = |sector: usize, at: usize, bytes: &[u8]| {
        image[sector * SECTOR + at..][..bytes.len()].copy_from_slice(bytes);
    };
    put(16, 0, b"\x01CD001\x01");
    put(17, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &19_u32.to_le_bytes());
    put(18, 0, b"\xffCD001\x01");
    // Validation entry: all its words add up to nothing. Then the default entry: bootable, no emulation, four sectors of 512 bytes, at 20.
    put(19, 0, &[1]);
    put(19, 0x1c, &0_u16.wrapping_sub(0xaa55).wrapping_sub(1).to_le_bytes());
    put(19, 0x1e, &[0x55, 0xaa]);
    put(19, 0x20, &[0x88]);
    put(19, 0x26, &4_u16.to_le_bytes());
    put(19, 0x28, &20_u32.to_le_bytes());
    put(20, 0, &program(from));
    image
}

/// Serves one file by HTTP, to whoever asks for whatever.
async fn serve(listener: tokio::net::TcpListener, file: Vec<u8>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let file = file.clone();
        tokio::spawn(async move {
            let mut asked = Vec::new();
            let mut buffer = [0; 1024];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => asked.extend_from_slice(&buffer[..count]),
                    _ => return,
                }
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&file).await;
        });
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn a_guest_really_boots_from_what_it_is_told_once() {
    let has = |path: &str| Path::new(path).exists();
    if !has("/usr/bin/qemu-system-x86_64") || !has("/usr/lib/ipxe/qemu/pxe-virtio.rom") {
        println!("SKIP: no QEMU with firmware for its network card; install qemu-system-x86 and ipxe-qemu");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("disk,1.img"), disk("disk")).unwrap();
    std::fs::write(at("cd.iso"), cd("cd")).unwrap();
    std::fs::create_dir(at("tftp")).unwrap();
    std::fs::write(at("tftp/loader"), program("pxe")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://10.0.2.2:{}/loader", listener.local_addr().unwrap().port());
    let server = tokio::spawn(serve(listener, program("http")));
    let board = load(
        "sim",
        &[
            ("sim.host", "qemu"),
            ("sim.qemu.disk", &at("disk,1.img")),
            ("sim.qemu.cdrom", &at("cd.iso")),
            ("sim.qemu.tftp", &at("tftp")),
            ("sim.qemu.boot_file", "loader"),
        ],
    );
    let run = tempfile::tempdir().unwrap();
    let twin = Twin::start(board, run.path()).await;
    let mut console = console(run.path());
    let gpio = twin.gpio("test");
    let mut good = gpio.input(&Line::named("power-chassis-good"), "test").await.unwrap();
    let power = button(&gpio, "power-button-out").await;
    let reset = button(&gpio, "reset-button-out").await;
    let firmware = mailbox(run.path());
    let mut keyboard =
        tokio::fs::File::options().write(true).open(run.path().join("console-system")).await.unwrap();
    let mut control = twin.control().await;

    power.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    said(&mut console, &["booted from disk."]).await;
    let first = control.status("system").await.unwrap().guest_pid;

    // A guest that restarts itself boots by the order that waits, and the next time as ever.
    firmware.put(order("a", Target::Cd, "")).await.unwrap();
    keyboard.write_all(b"x").await.unwrap();
    keyboard.flush().await.unwrap();
    said(&mut console, &["booted from cd."]).await;
    assert!(firmware.look().await.unwrap().has_used("a"));
    keyboard.write_all(b"x").await.unwrap();
    keyboard.flush().await.unwrap();
    said(&mut console, &["booted from disk."]).await;
    assert!(good.get().await.unwrap(), "power stays");
    assert_ne!(control.status("system").await.unwrap().guest_pid, first);

    // So does one that is reset.
    for (id, target, argument, from) in [
        ("b", Target::Pxe, "", "booted from pxe."),
        ("c", Target::UefiHttp, uri.as_str(), "booted from http."),
    ] {
        firmware.put(order(id, target, argument)).await.unwrap();
        press(reset.as_ref()).await;
        said(&mut console, &[from]).await;
        assert_eq!(
            control.status("system").await.unwrap().boot_order.map(|order| *order),
            order(id, target, argument)
        );
        press(reset.as_ref()).await;
        said(&mut console, &["booted from disk."]).await;
        assert!(firmware.look().await.unwrap().has_used(id));
    }
    // An order that is withdrawn has no effect.
    firmware.put(order("d", Target::Pxe, "")).await.unwrap();
    firmware.put(None).await.unwrap();
    press(reset.as_ref()).await;
    said(&mut console, &["booted from disk."]).await;
    assert!(firmware.look().await.unwrap().has_used("c"));
    twin.end().await;
    server.abort();
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn a_guest_really_boots_in_the_order_that_its_firmware_is_set_to() {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("SKIP: no QEMU; install qemu-system-x86");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("disk.img"), disk("disk")).unwrap();
    std::fs::write(at("cd.iso"), cd("cd")).unwrap();
    let board = || {
        load(
            "sim",
            &[("sim.host", "qemu"), ("sim.qemu.disk", &at("disk.img")), ("sim.qemu.cdrom", &at("cd.iso"))],
        )
    };
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join(hal_sim::SOCKET);
    let (orders, firmware) = (mailbox(run.path()), SimFirmware::new(&socket, "system", "test"));
    let twin = Twin::start(board(), run.path()).await;
    let mut console = console(run.path());
    let gpio = twin.gpio("test");
    let power = button(&gpio, "power-button-out").await;
    let reset = button(&gpio, "reset-button-out").await;
    let mut keyboard =
        tokio::fs::File::options().write(true).open(run.path().join("console-system")).await.unwrap();
    let mut control = twin.control().await;
    press(power.as_ref()).await;
    said(&mut console, &["booted from disk."]).await;
    let first = control.status("system").await.unwrap().guest_pid;

    // A guest that restarts itself takes what is wished, and keeps to it when it does so again.
    let cd_first =
        Wishes { id: "a".to_owned(), boot_order: Some(vec!["Boot0001".to_owned()]), ..Wishes::default() };
    let seen = firmware.put(Some(cd_first), 0).await.unwrap();
    assert_eq!((seen.applied, seen.progress), (None, None));
    for _ in 0..2 {
        keyboard.write_all(b"x").await.unwrap();
        keyboard.flush().await.unwrap();
        said(&mut console, &["booted from cd."]).await;
    }
    let seen = firmware.look(0).await.unwrap();
    assert_eq!(seen.applied.map(|applied| (applied.id, applied.not_taken)), Some(("a".to_owned(), vec![])));
    assert_eq!(seen.report.unwrap().boot_order, ["Boot0001", "Boot0000", "Boot0002"]);
    assert_eq!(seen.progress, None, "nobody can look into a guest");
    let status = control.status("system").await.unwrap();
    assert_eq!(status.boot_order, None, "it was told nothing");
    assert_ne!(status.guest_pid, first);

    // An order goes before, for its boot.
    orders.put(order("b", Target::Hdd, "")).await.unwrap();
    press(reset.as_ref()).await;
    said(&mut console, &["booted from disk."]).await;
    press(reset.as_ref()).await;
    said(&mut console, &["booted from cd."]).await;
    // A boot option by its name is what that boots from.
    orders.put(order("c", Target::UefiBootNext, "Boot0000")).await.unwrap();
    press(reset.as_ref()).await;
    said(&mut console, &["booted from disk."]).await;
    press(reset.as_ref()).await;
    said(&mut console, &["booted from cd."]).await;

    // What is not enabled is not tried, also by a twin after this one.
    let no_cd = Wishes {
        id: "d".to_owned(),
        boot_options: [("Boot0001".to_owned(), false)].into(),
        ..Wishes::default()
    };
    firmware.put(Some(no_cd), 0).await.unwrap();
    press(reset.as_ref()).await;
    said(&mut console, &["booted from disk."]).await;
    drop((power, reset, gpio));
    twin.end().await;
    let twin = Twin::start(board(), run.path()).await;
    let mut console = self::console(run.path());
    let gpio = twin.gpio("test");
    let power = button(&gpio, "power-button-out").await;
    press(power.as_ref()).await;
    said(&mut console, &["booted from disk."]).await;
    assert_eq!(firmware.look(0).await.unwrap().applied.unwrap().id, "d");
    twin.end().await;
}
