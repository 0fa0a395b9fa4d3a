//! The format of a board file: its tables, keys, ranges and defaults, and what must hold between them.

use std::path::PathBuf;
use std::time::Duration;

use crate::reader::{Direction, Outcome, Table};
use crate::tree::Fault;
use crate::types::{
    Accel, Board, Buttons, Chassis, GuestFirmware, HalKind, Host, Id, Level, ManagementController, Power,
    Qemu, Restore, RestorePolicy, Scripted, Sim, SimHost, Timings, WatchdogRef,
};
use crate::{consoles, cooling, inventory, lighting, media, screens, sensing};

/// Hosts on one board. The densest boards known carry eight.
const HOSTS_MAX: usize = 16;

/// The top-level tables; overrides that start with one of these are for the board.
pub(crate) const TABLES: [&str; 19] = [
    "board",
    "chassis",
    "management_controller",
    "hosts",
    "i2c",
    "devices",
    "sensors",
    "frus",
    "drives",
    "fans",
    "zones",
    "leds",
    "led_groups",
    "serial_muxes",
    "consoles",
    "screens",
    "media",
    "mailboxes",
    "sim",
];

/// Walks the format. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>) -> Option<Board> {
    let head = root.table("board", "What the board is.", true, |t| {
        let name = t.id("name", "Short name, also the directory under targets/.", None);
        let vendor = t.text("vendor", "Who makes the board.");
        let model = t.text("model", "What its maker calls it.");
        let kinds = [("linux", HalKind::Linux), ("sim", HalKind::Sim)];
        let hal =
            t.choice("hal", "What the lines are: devices of the kernel, or the simulator.", &kinds, None);
        (name, vendor, model, hal)
    });
    let chassis_default = || Some(Chassis { id: Id::try_from("chassis").ok()?, name: "Chassis".to_owned() });
    let chassis = root
        .table("chassis", "The enclosure.", false, |t| {
            let id = t.id("id", "Its id in every API.", Some("chassis"));
            let name = t.text_or("name", "A name for people.", "Chassis");
            Some(Chassis { id: id?, name })
        })
        .unwrap_or_else(chassis_default);
    let controller_default = || {
        Some(ManagementController {
            id: Id::try_from("bmc").ok()?,
            name: "Management controller".to_owned(),
            watchdog: None,
        })
    };
    let management_controller = root
        .table("management_controller", "The BMC itself.", false, |t| {
            let id = t.id("id", "Its id in every API.", Some("bmc"));
            let name = t.text_or("name", "A name for people.", "Management controller");
            let watchdog =
                t.table("watchdog", "The hardware watchdog that covers the operator.", false, |t| {
                    let device = t.path("device", "The device, for example /dev/watchdog0.", None);
                    let timeout = t.seconds(
                        "timeout_s",
                        "How long it waits for a sign of life, in seconds.",
                        10..=600,
                        Duration::from_secs(60),
                    );
                    if !device.as_os_str().is_empty() && !device.starts_with("/dev") {
                        let message = format!("watchdog device {device:?} must be a path under /dev/");
                        t.fault(t.place("device"), message);
                    }
                    WatchdogRef { device, timeout }
                });
            Some(ManagementController { id: id?, name, watchdog })
        })
        .unwrap_or_else(controller_default);
    let mut seen: Vec<Id> = Vec::new();
    let hosts = root.tables(
        "hosts",
        "The servers on the board; the first is meant when none is named.",
        HOSTS_MAX,
        |t| {
            let host = host(t);
            if let Some(host) = &host {
                if seen.contains(&host.id) {
                    t.fault(t.place("id"), format!("two hosts have the id {:?}", host.id.as_str()));
                }
                seen.push(host.id.clone());
            }
            host
        },
    );
    let hosts = hosts.into_iter().collect::<Option<Vec<_>>>();
    let mut sensing = sensing::walk(root, hosts.as_deref().unwrap_or_default());
    let buses = sensing.as_ref().map(|sensing| sensing.buses.as_slice()).unwrap_or_default();
    let known = hosts.as_deref().unwrap_or_default();
    let frus = inventory::walk(root, buses, known);
    let drives = inventory::drives(root, buses, frus.as_deref().unwrap_or_default(), known);
    if let (Some(sensing), Some(drives)) = (&mut sensing, &drives) {
        sensing::drives(root, &mut sensing.sensors, drives, known);
    }
    let (devices, measured) =
        sensing.as_ref().map(|s| (s.devices.as_slice(), s.sensors.as_slice())).unwrap_or_default();
    let before = root.wrongs();
    let cooling = cooling::walk(root, devices, measured);
    let is_cooled = root.wrongs() == before;
    let lighting = lighting::walk(root, hosts.as_deref().unwrap_or_default());
    let is_sim = head.as_ref().is_some_and(|(.., hal)| *hal == Some(HalKind::Sim));
    let muxes = consoles::muxes(root, is_sim);
    let shared = muxes.as_deref().unwrap_or_default();
    let consoles = consoles::walk(root, hosts.as_deref().unwrap_or_default(), shared, is_sim);
    let screens = screens::walk(root, hosts.as_deref().unwrap_or_default(), is_sim);
    let media = media::walk(
        root,
        hosts.as_deref().unwrap_or_default(),
        screens.as_deref().unwrap_or_default(),
        is_sim,
    );
    let buses = sensing.as_ref().map(|sensing| sensing.buses.as_slice()).unwrap_or_default();
    let mailboxes = inventory::mailboxes(
        root,
        buses,
        frus.as_deref().unwrap_or_default(),
        hosts.as_deref().unwrap_or_default(),
    );
    let is_linux = head.as_ref().is_some_and(|(.., hal)| *hal == Some(HalKind::Linux));
    let longest_hold = hosts.iter().flatten().map(|host| host.timings.force_off_hold).min();
    let sim_at = root.place("sim");
    let sim = root.table("sim", "What plays the host when board.hal is \"sim\".", false, |t| {
        if is_linux {
            t.fault(
                sim_at,
                "[sim] is for boards whose board.hal is \"sim\"; this one's is \"linux\"".to_owned(),
            );
        }
        sim(t, longest_hold)
    });
    let (name, vendor, model, hal) = head?;
    let hal = hal?;
    let sensing = sensing?;
    let cooling = cooling?;
    let lighting = lighting?;
    let sim = match (hal, sim) {
        (HalKind::Linux, _) => None,
        (HalKind::Sim, Some(sim)) => Some(sim?),
        (HalKind::Sim, None) => Some(Sim::default()),
    };
    let board = Board {
        name: name?.as_str().to_owned(),
        vendor,
        model,
        hal,
        chassis: chassis?,
        management_controller: management_controller?,
        hosts: hosts?,
        i2c: sensing.buses,
        devices: sensing.devices,
        sensors: sensing.sensors,
        frus: frus?,
        drives: drives?,
        fans: cooling.fans,
        zones: cooling.zones,
        leds: lighting.leds,
        led_groups: lighting.groups,
        serial_muxes: muxes?,
        consoles: consoles?,
        screens: screens?,
        media: media?,
        mailboxes: mailboxes?,
        sim,
    };
    // Of what is wrong there already the loops would say the same in other words.
    if is_cooled && let Err(bad) = board.loops() {
        root.fault(root.place("zones"), bad.to_string());
        return None;
    }
    Some(board)
}

fn host(t: &mut Table<'_>) -> Option<Host> {
    let id = t.id("id", "Its id in every API: system, then host1, host2, …", None);
    let name = t.text_or("name", "A name for people.", "Host");
    let power = t.table("power", "How its power is controlled and seen.", true, power);
    let timings = t
        .table("timings", "How long things take; the defaults fit most server boards.", false, timings)
        .unwrap_or_default();
    let restore = t
        .table("restore", "What to do with it when the BMC starts after a loss of power.", false, |t| {
            let policies = [
                ("last", RestorePolicy::Last),
                ("always-on", RestorePolicy::AlwaysOn),
                ("always-off", RestorePolicy::AlwaysOff),
            ];
            let policy = t.choice(
                "policy",
                "What a new machine starts with; it can be changed at run time.",
                &policies,
                Some(0),
            );
            let delay = t.seconds("delay_s", "How long to wait first, in seconds.", 0..=3600, Duration::ZERO);
            Some(Restore { policy: policy?, delay })
        })
        .unwrap_or(Some(Restore { policy: RestorePolicy::Last, delay: Duration::ZERO }));
    Some(Host { id: id?, name, power: power??, timings, restore: restore? })
}

fn power(t: &mut Table<'_>) -> Option<Power> {
    const KIND: &str =
        "buttons: outputs in parallel with the front panel's; level: a line held while power shall be on.";
    t.variants("kind", KIND, &["buttons", "level"], |t, kind| {
        use Direction::{Input, Output};
        let main = match kind {
            "buttons" => t.line("power", "Output: the power button.", Output, true),
            _ => t.line("control", "Output: power shall be on while this is active.", Output, true),
        };
        let reset = t.line("reset", "Output: the reset button.", Output, false);
        let nmi = t.line("nmi", "Output: the NMI (diagnostic interrupt) button.", Output, false);
        let power_good = t.line("power_good", "Input: the supplies are up and good.", Input, true);
        let power_button_in =
            t.line("power_button_in", "Input: the front panel's power button.", Input, false);
        let reset_button_in =
            t.line("reset_button_in", "Input: the front panel's reset button.", Input, false);
        Some(match kind {
            "buttons" => Power::Buttons(Buttons {
                power: main?,
                reset,
                nmi,
                power_good: power_good?,
                power_button_in,
                reset_button_in,
            }),
            _ => Power::Level(Level {
                control: main?,
                power_good: power_good?,
                reset,
                nmi,
                power_button_in,
                reset_button_in,
            }),
        })
    })
}

fn timings(t: &mut Table<'_>) -> Timings {
    let default = Timings::default();
    let timings = Timings {
        press: t.millis("press_ms", "A short press of the power button, in ms.", 20..=3000, default.press),
        force_off_hold: t.millis(
            "force_off_hold_ms",
            "The longest press that forces power off, in ms; it ends early when power-good falls.",
            1000..=60_000,
            default.force_off_hold,
        ),
        reset: t.millis("reset_ms", "A press of the reset button, in ms.", 20..=5000, default.reset),
        nmi: t.millis("nmi_ms", "A press of the NMI button, in ms.", 20..=5000, default.nmi),
        cycle_off: t.millis(
            "cycle_off_ms",
            "How long power stays off in a power cycle, in ms.",
            100..=600_000,
            default.cycle_off,
        ),
        power_good_timeout: t.millis(
            "power_good_timeout_ms",
            "How long power-good may take to rise, in ms.",
            100..=120_000,
            default.power_good_timeout,
        ),
        graceful_off_timeout: t.millis(
            "graceful_off_timeout_ms",
            "How long an operating system may take to shut down, in ms.",
            1000..=3_600_000,
            default.graceful_off_timeout,
        ),
        warm_reset_check: t.millis(
            "warm_reset_check_ms",
            "A loss of power-good shorter than this is a warm reset, in ms.",
            0..=10_000,
            default.warm_reset_check,
        ),
    };
    if timings.press >= timings.force_off_hold {
        let message = format!(
            "press_ms ({}) must be shorter than force_off_hold_ms ({}), or a short press forces power off",
            timings.press.as_millis(),
            timings.force_off_hold.as_millis()
        );
        t.fault(t.place("press_ms"), message);
    }
    timings
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            power_on: Duration::from_millis(150),
            boot: Duration::from_millis(800),
            shutdown: Duration::from_millis(600),
            override_hold: Duration::from_secs(4),
        }
    }
}

impl Default for Qemu {
    fn default() -> Self {
        Self {
            binary: PathBuf::from("qemu-system-x86_64"),
            accel: Accel::Tcg,
            firmware: GuestFirmware::Bios,
            memory_mib: 256,
            guest: PathBuf::from("guest"),
            disk: None,
            cdrom: None,
            tftp: None,
            boot_file: PathBuf::from("boot.ipxe"),
        }
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self { host: SimHost::Scripted, seed: 1, scripted: Scripted::default(), qemu: Qemu::default() }
    }
}

fn sim(t: &mut Table<'_>, shortest_force_off: Option<Duration>) -> Option<Sim> {
    let players = [("scripted", SimHost::Scripted), ("qemu", SimHost::Qemu)];
    let host = t.choice("host", "Who plays the host: a script, or a real QEMU guest.", &players, Some(0));
    let scripted = t
        .table("scripted", "The pace of the host's hardware and, when scripted, of its operating system.", false, |t| {
            let default = Scripted::default();
            let scripted = Scripted {
                power_on: t.millis("power_on_ms", "From the press to power-good, in ms.", 0..=60_000, default.power_on),
                boot: t.millis(
                    "boot_ms",
                    "From power-good to an operating system that heeds the power button, in ms.",
                    0..=600_000,
                    default.boot,
                ),
                shutdown: t.millis(
                    "shutdown_ms",
                    "From the short press to power-good falling, in ms.",
                    0..=600_000,
                    default.shutdown,
                ),
                override_hold: t.millis(
                    "override_hold_ms",
                    "A press this long cuts power in hardware, in ms.",
                    200..=15_000,
                    default.override_hold,
                ),
            };
            if let Some(hold) = shortest_force_off
                && hold <= scripted.override_hold
            {
                let message = format!(
                    "override_hold_ms ({}) must be shorter than every host's force_off_hold_ms (shortest: {}), or no press forces power off",
                    scripted.override_hold.as_millis(),
                    hold.as_millis()
                );
                t.fault(t.place("override_hold_ms"), message);
            }
            scripted
        })
        .unwrap_or_default();
    let qemu = t
        .table("qemu", "How a QEMU guest is run.", false, |t| {
            let default = Qemu::default();
            let binary = t.path(
                "binary",
                "The emulator; without a slash it is looked up in PATH.",
                Some("qemu-system-x86_64"),
            );
            let accel = t.choice(
                "accel",
                "QEMU's translator, which works everywhere, or the kernel's hypervisor.",
                &[("tcg", Accel::Tcg), ("kvm", Accel::Kvm)],
                Some(0),
            );
            let firmware = t.choice(
                "firmware",
                "The guest's firmware: SeaBIOS, or OVMF, which has a set-up (Debian's package ovmf).",
                &[("bios", GuestFirmware::Bios), ("uefi", GuestFirmware::Uefi)],
                Some(0),
            );
            let memory_mib =
                t.number("memory_mib", "The guest's memory in MiB.", 64..=16_384, Some(default.memory_mib));
            let guest = t.path(
                "guest",
                "Directory with the guest's vmlinuz and initrd, relative to the board file.",
                Some("guest"),
            );
            let mut image = |key: &'static str, doc: &str| Some(t.path(key, doc, Some(""))).filter(|path| path.as_os_str() != "");
            let disk = image(
                "disk",
                "A raw disk image that the guest boots from in place of that kernel, relative to the board file.",
            );
            let cdrom = image(
                "cdrom",
                "Image of a CD or DVD that lies in the guest's drive, relative to the board file.",
            );
            let tftp = image(
                "tftp",
                "Directory served to the guest by TFTP, relative to the board file; only with one it has a network card.",
            );
            let boot_file = t.path("boot_file", "The file in there that a boot by PXE loads.", Some("boot.ipxe"));
            Some(Qemu {
                binary,
                accel: accel?,
                firmware: firmware?,
                memory_mib,
                guest,
                disk,
                cdrom,
                tftp,
                boot_file,
            })
        })
        .unwrap_or_else(|| Some(Qemu::default()));
    let seed = t.number("seed", "The same seed, the same noise of the sensors.", 0..=u32::MAX, Some(1));
    Some(Sim { host: host?, seed, scripted, qemu: qemu? })
}

/// Finds lines with two owners.
pub(crate) fn shared_lines(outcome: &Outcome, faults: &mut Vec<Fault>) {
    for (index, line) in outcome.lines.iter().enumerate() {
        let Some(first) = outcome.lines.iter().take(index).find(|other| other.value.id == line.value.id)
        else {
            continue;
        };
        let message = format!(
            "{}: GPIO line {} is already {}; a line has one owner",
            line.path, line.value.id, first.path
        );
        faults.push(Fault { at: line.at.clone(), message });
    }
}
