//! A keyboard and a pointer of configfs, with the kernel's own USB host, HID and input drivers at the other end.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hal_linux::gadget::{Function, Gadget, build};
use hal_linux::{HidFunction, Sent, hid_device};
use hid::Hid;
use rfb::Input;
use rustix::fs::OFlags;

use crate::{Error, say, until};

const CONFIGFS: &str = "/sys/kernel/config";
const NAME: &str = "u-bmc-system";
const SIZE: (u16, u16) = (1920, 1080);
/// Kinds of events (linux/input-event-codes.h): a key, a way, a place, a lamp.
const KEY: u16 = 1;
const RELATIVE: u16 = 2;
const PLACE: u16 = 3;
const LAMP: u16 = 0x11;

/// Keys with the byte `0xe0` before their number, and what the kernel calls them; those without have the same number there.
const EXTENDED: [(u32, u16); 23] = [
    (0x9c, 96),
    (0x9d, 97),
    (0xb5, 98),
    (0xb7, 99),
    (0xb8, 100),
    (0xc7, 102),
    (0xc8, 103),
    (0xc9, 104),
    (0xcb, 105),
    (0xcd, 106),
    (0xcf, 107),
    (0xd0, 108),
    (0xd1, 109),
    (0xd2, 110),
    (0xd3, 111),
    (0xa0, 113),
    (0xae, 114),
    (0xb0, 115),
    (0xde, 116),
    (0xc6, 119),
    (0xdb, 125),
    (0xdc, 126),
    (0xdd, 127),
];

/// An input device of the host.
struct Seen {
    device: File,
    events: Vec<(u16, u16, i32)>,
}

impl Seen {
    /// The device that has something of `capability`: lamps or places.
    fn open(capability: &str) -> Result<Self, Error> {
        let path = until(&format!("an input device with {capability}"), || {
            std::fs::read_dir("/sys/class/input").ok()?.flatten().find_map(|entry| {
                let has = entry.path().join("device/capabilities").join(capability);
                let name = std::fs::read_to_string(entry.path().join("device/name")).ok()?;
                let has = std::fs::read_to_string(has).is_ok_and(|text| text.trim() != "0");
                let path = Path::new("/dev/input").join(entry.file_name());
                (has && name.starts_with("u-bmc") && path.exists()).then_some(path)
            })
        })?;
        let flags = i32::try_from(OFlags::NONBLOCK.bits())?;
        let device = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        Ok(Self { device, events: Vec::new() })
    }

    /// Waits for an event.
    fn sees(&mut self, wanted: (u16, u16, i32)) -> Result<(), Error> {
        until(&format!("{wanted:?}"), || {
            // `struct input_event`: a time, kind, code, value.
            let mut bytes = [0; 24 * 64];
            let count = self.device.read(&mut bytes).unwrap_or(0);
            for event in bytes.get(..count)?.as_chunks::<24>().0 {
                let number = |at: usize| u16::from_le_bytes([event[at], event[at + 1]]);
                let value = i32::from_le_bytes([event[20], event[21], event[22], event[23]]);
                self.events.push((number(16), number(18), value));
            }
            let at = self.events.iter().position(|event| *event == wanted)?;
            self.events.drain(..=at);
            Some(())
        })
        .map_err(|error| format!("{error}, but {:?}", self.events).into())
    }
}

struct Devices {
    hid: Hid,
    keyboard: HidFunction,
    pointer: HidFunction,
}

impl Devices {
    fn open() -> Result<Self, Error> {
        let open = |name: &str| {
            let function = Path::new(CONFIGFS).join("usb_gadget").join(NAME).join("functions").join(name);
            let device =
                until(name, || hid_device(Path::new("/dev"), &function).filter(|path| path.exists()))?;
            HidFunction::open(&device).map_err(Error::from)
        };
        Ok(Self { hid: Hid::default(), keyboard: open("hid.keyboard")?, pointer: open("hid.pointer")? })
    }

    /// Passes on what waits.
    fn flush(&mut self) -> Result<(), Error> {
        while let Some(report) = self.hid.next_keys() {
            until("the host takes a key", || (self.keyboard.send(&report).ok()? == Sent::Yes).then_some(()))?;
            self.hid.keys_sent();
        }
        while let Some(report) = self.hid.next_pointer() {
            until("the host takes a place", || {
                (self.pointer.send(&report).ok()? == Sent::Yes).then_some(())
            })?;
            self.hid.pointer_sent();
        }
        Ok(())
    }

    fn input(&mut self, input: Input) -> Result<(), Error> {
        assert!(self.hid.input(input, SIZE), "{input:?}");
        self.flush()
    }

    fn key(&mut self, down: bool, code: u32) -> Result<(), Error> {
        self.input(Input::Key { down, keysym: 0, code: Some(code) })
    }
}

fn gadget() -> Gadget {
    let hid = |name: &str, boot, report_length: usize, descriptor: &[u8]| Function::Hid {
        name: name.to_owned(),
        subclass: boot,
        protocol: boot,
        report_length: u16::try_from(report_length).unwrap_or(0),
        descriptor: descriptor.to_vec(),
    };
    Gadget {
        name: NAME.to_owned(),
        udc: "dummy_udc.0".to_owned(),
        functions: vec![
            hid("keyboard", 1, hid::KEYBOARD_REPORT, &hid::KEYBOARD),
            hid("pointer", 0, hid::POINTER_REPORT, &hid::POINTER),
        ],
    }
}

pub(crate) fn all() -> Result<(), Error> {
    let built = build(Path::new(CONFIGFS), &gadget())?;
    assert!(built.hid("keyboard").is_some());
    let mut devices = Devices::open()?;
    let (mut keys, mut places) = (Seen::open("led")?, Seen::open("abs")?);
    say("the host sees a keyboard and a pointer");

    // The whole table, as the kernel's own driver understands it.
    let plain = (1..=0x53).chain(0x56..=0x58).map(|code| (code, u16::try_from(code).unwrap_or(0)));
    for (code, known) in plain.chain(EXTENDED) {
        devices.key(true, code)?;
        keys.sees((KEY, known, 1)).map_err(|error| format!("{code:#x}: {error}"))?;
        devices.key(false, code)?;
        keys.sees((KEY, known, 0))?;
    }
    say("every key is the one that was pressed");

    devices.input(Input::Pointer { buttons: 0, x: 1919, y: 0 })?;
    places.sees((PLACE, 0, 32_767))?;
    devices.input(Input::Pointer { buttons: 0b100, x: 960, y: 1079 })?;
    places.sees((KEY, 273, 1))?;
    places.sees((PLACE, 1, 32_767))?;
    devices.input(Input::Pointer { buttons: 0b1000, x: 960, y: 1079 })?;
    places.sees((KEY, 273, 0))?;
    places.sees((RELATIVE, 8, 1))?;
    say("the pointer goes where it is meant, its button and its wheel as well");

    // `struct input_event` again: Caps Lock is lit, and the end of the events.
    let mut event = [0; 24];
    event[16..18].copy_from_slice(&LAMP.to_le_bytes());
    event[18..24].copy_from_slice(&[1, 0, 1, 0, 0, 0]);
    keys.device.write_all(&event)?;
    // What the host's console made of the keys above comes first.
    until("the lamp of Caps Lock", || {
        let report = devices.keyboard.received().ok()??;
        hid::leds(report[0]).caps.then_some(())
    })?;
    say("lamps come back");

    // Who held a key down is gone without a word; who comes says that all is up.
    devices.key(true, 0x1e)?;
    keys.sees((KEY, 30, 1))?;
    drop(devices);
    let mut devices = Devices::open()?;
    devices.hid.all_up();
    devices.flush()?;
    keys.sees((KEY, 30, 0))?;
    say("no key stays down");

    // Nobody reads the device: the host asks for no report, and nothing waits for it.
    drop(keys);
    let sent = until("the host asks for nothing", || {
        (devices.keyboard.send(&[0; 8]).ok()? == Sent::Later).then_some(())
    });
    sent?;
    let mut keys = Seen::open("led")?;
    devices.key(true, 0x30)?;
    keys.sees((KEY, 48, 1))?;
    say("a host that asks for nothing holds up nobody");

    // The cable is pulled with a key down, and put back.
    let udc = PathBuf::from(CONFIGFS).join("usb_gadget").join(NAME).join("UDC");
    std::fs::write(&udc, "\n")?;
    until("the host is gone", || (devices.keyboard.send(&[0; 8]).ok()? == Sent::NoHost).then_some(()))?;
    build(Path::new(CONFIGFS), &gadget())?;
    drop((keys, devices));
    let mut devices = Devices::open()?;
    let mut keys = Seen::open("led")?;
    devices.hid.all_up();
    devices.flush()?;
    devices.key(true, 0x2e)?;
    keys.sees((KEY, 46, 1))?;
    devices.key(false, 0x2e)?;
    keys.sees((KEY, 46, 0))?;
    say("keyboard and pointer ok");
    Ok(())
}
