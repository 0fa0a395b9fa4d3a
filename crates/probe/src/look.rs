//! What the kernel shows of the machine in sysfs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hal::ChannelClass;
use hal_linux::place::target;

/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4_096;
/// The longest file that is read: the names of a chip's lines.
const FILE_MAX: u64 = 64 * 1024;
/// What a channel of the kernel's hwmon class begins with, and what its value is called.
const HWMON: [&str; 7] = ["temp", "in", "curr", "power", "energy", "fan", "humidity"];
/// As [`HWMON`], of the kernel's IIO class.
const IIO: [&str; 5] = ["voltage", "current", "temp", "humidityrelative", "pressure"];

/// An I2C bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bus {
    /// The kernel's number.
    pub number: u32,
    /// What its adapter calls itself.
    pub name: String,
    /// Path of the adapter below `/sys/devices`: `…/1e78a180.i2c/i2c-3`.
    pub path: PathBuf,
    /// Its number is fixed by an alias of the device tree.
    pub fixed: bool,
    /// The multiplexer and the channel it is behind: `3-0070/channel-1`.
    pub channel: Option<String>,
    /// The devices on it that the kernel knows.
    pub clients: Vec<Client>,
    /// Addresses that answered a scan, of nothing that the kernel knows.
    pub answered: Vec<u8>,
    /// It was scanned: what is neither in `answered` nor in `skipped` is not there.
    pub scanned: bool,
    /// Addresses that were not asked, as something answers there on the bus above: whether anything is at them here is not known.
    pub skipped: Vec<u8>,
    /// Why it was not scanned.
    pub unscanned: Option<String>,
}

/// A device on an I2C bus that the kernel knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: u16,
    /// What the device tree, or who made it, calls it.
    pub name: String,
    /// The driver that has it.
    pub driver: Option<String>,
    /// Its path below `/sys/devices`.
    pub path: PathBuf,
    /// The size of the EEPROM that it is, in bytes.
    pub eeprom: Option<u64>,
    /// It is a multiplexer.
    pub multiplexer: bool,
}

/// A device with channels that are measured, or outputs of fans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which of the kernel's classes.
    pub class: ChannelClass,
    /// Its path below `/sys/devices`.
    pub path: PathBuf,
    /// What its driver calls it.
    pub name: String,
    /// What it measures, in the order of kinds and numbers.
    pub channels: Vec<DeviceChannel>,
    /// Outputs of fans: `pwm1`.
    pub outputs: Vec<String>,
}

/// Something that a device measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChannel {
    /// As a board file calls it: `temp1`.
    pub channel: String,
    /// As its driver labels it.
    pub label: Option<String>,
}

/// A GPIO chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// The kernel's name: `gpiochip0`.
    pub name: String,
    /// The device it belongs to.
    pub of: String,
    /// The names of its lines by the device tree, by number; those without a name are empty.
    pub lines: Vec<String>,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What the device tree calls the machine.
    pub model: Option<String>,
    /// I2C buses, by number.
    pub buses: Vec<Bus>,
    /// Devices of the classes hwmon and IIO.
    pub devices: Vec<Device>,
    /// LEDs, by the kernel's names.
    pub leds: Vec<String>,
    /// GPIO chips.
    pub chips: Vec<Chip>,
    /// Watchdogs: `watchdog0`.
    pub watchdogs: Vec<String>,
    /// Devices of video, and what their drivers call them: `video0`.
    pub videos: Vec<(String, String)>,
    /// Controllers by which the machine is a USB device to another.
    pub usb_controllers: Vec<String>,
}

impl Found {
    /// The bus with this number.
    #[must_use]
    pub fn bus(&self, number: u32) -> Option<&Bus> {
        self.buses.iter().find(|bus| bus.number == number)
    }

    /// The names of all lines of all chips.
    pub fn line_names(&self) -> impl Iterator<Item = &str> {
        self.chips.iter().flat_map(|chip| &chip.lines).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// Looks at a folder that is laid out as `/sys`. What cannot be read is not there.
#[must_use]
pub fn look(sys: &Path) -> Found {
    let tree = sys.join("firmware/devicetree/base");
    let mut found = Found {
        model: text(&tree.join("model")),
        buses: buses(sys, &tree),
        leds: entries(&sys.join("class/leds")),
        chips: chips(sys),
        watchdogs: entries(&sys.join("class/watchdog")),
        videos: videos(sys),
        usb_controllers: entries(&sys.join("class/udc")),
        ..Found::default()
    };
    for (class, folder, prefix) in
        [(ChannelClass::Hwmon, "class/hwmon", "hwmon"), (ChannelClass::Iio, "bus/iio/devices", "iio:device")]
    {
        let names = entries(&sys.join(folder));
        let names = names.iter().filter(|name| name.starts_with(prefix));
        found.devices.extend(names.filter_map(|name| device(sys, class, &Path::new(folder).join(name))));
    }
    found.devices.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn buses(sys: &Path, tree: &Path) -> Vec<Bus> {
    let list = Path::new("bus/i2c/devices");
    let names = entries(&sys.join(list));
    let place = |name: &str| below(&target(sys, &list.join(name))?);
    let mut buses: BTreeMap<u32, Bus> = BTreeMap::new();
    for name in &names {
        let Some(number) = name.strip_prefix("i2c-").and_then(|number| number.parse().ok()) else { continue };
        let Some(path) = place(name) else { continue };
        let fixed = tree.join(format!("aliases/i2c{number}")).exists();
        let called = text(&sys.join("devices").join(&path).join("name")).unwrap_or_default();
        buses.insert(number, Bus { number, name: called, path, fixed, ..Bus::default() });
    }
    let mut channels = Vec::new();
    for name in &names {
        let Some((bus, address)) = name.split_once('-') else { continue };
        let (Ok(bus), Ok(address)) = (bus.parse(), u16::from_str_radix(address, 16)) else { continue };
        let (Some(bus), Some(path)) = (buses.get_mut(&bus), place(name)) else { continue };
        let own = sys.join("devices").join(&path);
        let driver = std::fs::read_link(own.join("driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
        let of: Vec<String> = entries(&own).into_iter().filter(|name| name.starts_with("channel-")).collect();
        for channel in &of {
            let adapter = target(sys, &Path::new("devices").join(&path).join(channel));
            let number = adapter
                .and_then(|adapter| adapter.file_name()?.to_str()?.strip_prefix("i2c-")?.parse::<u32>().ok());
            channels.extend(number.map(|number| (number, format!("{name}/{channel}"))));
        }
        bus.clients.push(Client {
            address,
            name: text(&own.join("name")).unwrap_or_default(),
            driver,
            path,
            eeprom: std::fs::metadata(own.join("eeprom")).ok().map(|about| about.len()),
            multiplexer: !of.is_empty(),
        });
    }
    for (number, channel) in channels {
        if let Some(bus) = buses.get_mut(&number) {
            bus.channel = Some(channel);
        }
    }
    let mut buses: Vec<Bus> = buses.into_values().collect();
    for bus in &mut buses {
        bus.clients.sort_by_key(|client| client.address);
    }
    buses
}

fn device(sys: &Path, class: ChannelClass, link: &Path) -> Option<Device> {
    let folder = target(sys, link)?;
    let of = match class {
        ChannelClass::Hwmon => target(sys, &folder.join("device"))?,
        ChannelClass::Iio => folder.parent()?.to_owned(),
    };
    let own = sys.join(&folder);
    let files = entries(&own);
    let channels = match class {
        ChannelClass::Hwmon => hwmon(&own, &files),
        ChannelClass::Iio => iio(&files),
    };
    let output = |name: &&String| {
        name.strip_prefix("pwm")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    Some(Device {
        class,
        path: below(&of)?,
        name: text(&own.join("name")).unwrap_or_default(),
        channels,
        outputs: files.iter().filter(output).cloned().collect(),
    })
}

fn hwmon(folder: &Path, files: &[String]) -> Vec<DeviceChannel> {
    let mut channels = Vec::new();
    for kind in HWMON {
        let mut numbers: Vec<u32> = files
            .iter()
            .filter_map(|file| {
                let (number, value) = file.strip_prefix(kind)?.split_once('_')?;
                matches!(value, "input" | "average").then(|| number.parse().ok())?
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let channel = format!("{kind}{number}");
            let label = text(&folder.join(format!("{channel}_label"))).filter(|label| !label.is_empty());
            channels.push(DeviceChannel { channel, label });
        }
    }
    for file in files.iter().filter(|file| file.starts_with("intrusion") && file.ends_with("_alarm")) {
        channels.push(DeviceChannel { channel: file.clone(), label: None });
    }
    channels
}

fn iio(files: &[String]) -> Vec<DeviceChannel> {
    let mut channels: Vec<DeviceChannel> = Vec::new();
    for kind in IIO {
        for file in files {
            let Some(rest) = file.strip_prefix("in_").and_then(|rest| rest.strip_prefix(kind)) else {
                continue;
            };
            let Some((number, "raw" | "input")) = rest.split_once('_') else { continue };
            let channel = format!("{kind}{number}");
            let known = channels.iter().any(|known| known.channel == channel);
            if number.bytes().all(|b| b.is_ascii_digit()) && !known {
                channels.push(DeviceChannel { channel, label: None });
            }
        }
    }
    channels
}

fn videos(sys: &Path) -> Vec<(String, String)> {
    let class = sys.join("class/video4linux");
    let names = entries(&class).into_iter().filter(|name| name.starts_with("video"));
    names.map(|name| (name.clone(), text(&class.join(name).join("name")).unwrap_or_default())).collect()
}

fn chips(sys: &Path) -> Vec<Chip> {
    let list = Path::new("bus/gpio/devices");
    let chip = |name: String| {
        let path = target(sys, &list.join(&name))?;
        let of = path.parent()?.file_name()?.to_str()?.to_owned();
        let names = bytes(&sys.join(&path).join("of_node/gpio-line-names")).unwrap_or_default();
        let names = String::from_utf8_lossy(&names).into_owned();
        let lines = names.strip_suffix('\0').map(|names| names.split('\0').map(str::to_owned).collect());
        Some(Chip { name, of, lines: lines.unwrap_or_default() })
    };
    entries(&sys.join(list)).into_iter().filter_map(chip).collect()
}

/// A path below `devices`.
fn below(path: &Path) -> Option<PathBuf> {
    path.strip_prefix("devices").ok().map(Path::to_owned)
}

/// The names in a folder, those with numbers in the order of these.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(ENTRIES_MAX);
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let key = |name: &String| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name.strip_prefix(stem).and_then(|number| number.parse::<u64>().ok());
        (stem.to_owned(), number, name.clone())
    };
    names.sort_by_cached_key(key);
    names
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A file of one line.
fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8(bytes(path)?).ok()?;
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
