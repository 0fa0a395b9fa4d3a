//! The part of the format about sensors: I2C buses, devices on them, and what is measured.

use std::ops::RangeInclusive;
use std::time::Duration;

use hal::{Adapter, ChannelClass, Location};
use pmbus::{Checked, Coefficients, Command, Gravity, Numbers, Options, Quantity, Register, Vid, What};
use sensors::{Kind, Levels, Op, Spec};
use units::Millis;

use crate::reader::{Direction, Table};
use crate::types::{Device, Drive, Host, I2cBus, Id, Input, Name, PhysicalContext, Played, Sensor};

/// Sensors on one board; the largest known have some four hundred.
const SENSORS_MAX: usize = 1_024;
/// Devices with sensors on one board.
const DEVICES_MAX: usize = 256;
/// I2C buses on one board, those behind multiplexers among them.
const BUSES_MAX: usize = 64;
/// Sensors one is computed from.
const INPUTS_MAX: usize = 64;
/// Numbers of a board file.
const NUMBERS: RangeInclusive<f64> = -1e12..=1e12;
/// What a channel of the kernel's hwmon class may be called, and what it then measures.
const HWMON: [(&str, Kind); 8] = [
    ("temp", Kind::Temperature),
    ("in", Kind::Voltage),
    ("curr", Kind::Current),
    ("power", Kind::Power),
    ("energy", Kind::Energy),
    ("fan", Kind::Fan),
    ("humidity", Kind::Humidity),
    ("intrusion", Kind::Alert),
];
/// As [`HWMON`], of the kernel's IIO class.
const IIO: [(&str, Kind); 5] = [
    ("voltage", Kind::Voltage),
    ("current", Kind::Current),
    ("temp", Kind::Temperature),
    ("humidityrelative", Kind::Humidity),
    ("pressure", Kind::Pressure),
];

/// What a device can be asked for over PMBus, and what that measures.
const PMBUS: [(&str, Command, Kind); 15] = [
    ("vin", Command::ReadVin, Kind::Voltage),
    ("iin", Command::ReadIin, Kind::Current),
    ("pin", Command::ReadPin, Kind::Power),
    ("vcap", Command::ReadVcap, Kind::Voltage),
    ("vout", Command::ReadVout, Kind::Voltage),
    ("iout", Command::ReadIout, Kind::Current),
    ("pout", Command::ReadPout, Kind::Power),
    ("temp1", Command::ReadTemperature1, Kind::Temperature),
    ("temp2", Command::ReadTemperature2, Kind::Temperature),
    ("temp3", Command::ReadTemperature3, Kind::Temperature),
    ("fan1", Command::ReadFanSpeed1, Kind::Fan),
    ("fan2", Command::ReadFanSpeed2, Kind::Fan),
    ("fan3", Command::ReadFanSpeed3, Kind::Fan),
    ("fan4", Command::ReadFanSpeed4, Kind::Fan),
    ("duty", Command::ReadDutyCycle, Kind::Percent),
];
/// As [`PMBUS`], of the status registers.
const STATUS: [(&str, Register); 9] = [
    ("status", Register::Word),
    ("status_vout", Register::Vout),
    ("status_iout", Register::Iout),
    ("status_input", Register::Input),
    ("status_temperature", Register::Temperature),
    ("status_cml", Register::Cml),
    ("status_other", Register::Other),
    ("status_fans_1_2", Register::Fans12),
    ("status_fans_3_4", Register::Fans34),
];
/// The bits of STATUS_WORD that say how the device is and not that something is wrong: busy, off, no power-good.
const NOT_WRONG: [&str; 3] = ["busy", "off", "power_good_not"];
/// Pages of a device: 0xff is all of them.
const PAGES: RangeInclusive<u32> = 0..=31;
/// Codes of output voltages.
const VIDS: [(&str, Vid); 6] = [
    ("vr11", Vid::Vr11),
    ("vr12", Vid::Vr12),
    ("vr13", Vid::Vr13),
    ("imvp9", Vid::Imvp9),
    ("amd625", Vid::Amd625),
    ("nvidia195", Vid::Nvidia195),
];

/// What the three tables say.
#[derive(Debug, Default)]
pub(crate) struct Sensing {
    pub(crate) buses: Vec<I2cBus>,
    pub(crate) devices: Vec<Device>,
    pub(crate) sensors: Vec<Sensor>,
}

/// Walks `[[i2c]]`, `[[devices]]` and `[[sensors]]`. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>, hosts: &[Host]) -> Option<Sensing> {
    let mut names: Vec<Name> = Vec::new();
    let mut adapters: Vec<(Adapter, Name)> = Vec::new();
    let buses = root.maybe_tables("i2c", "I2C buses with sensors on them.", BUSES_MAX, |t| {
        let id = fresh(t, &mut names);
        let adapter = adapter(t);
        let (id, adapter) = (id?, adapter?);
        let key = if t.has("number") { "number" } else { "path" };
        t.once(&mut adapters, adapter.clone(), &id, key, "this bus");
        Some(I2cBus { id, adapter })
    });
    let (buses, known) = whole(buses);
    let known = known.as_slice();
    let mut declared: Vec<Name> = Vec::new();
    let mut places: Vec<((Location, Option<String>), Name)> = Vec::new();
    let devices = root.maybe_tables("devices", "What sensors are read through.", DEVICES_MAX, |t| {
        let id = fresh(t, &mut names);
        declared.extend(id.clone());
        let device = device(t, known);
        let driver = t.maybe_text("driver", "The driver's name for it, as in the file \"name\" of its hwmon folder; another one is not taken for it.");
        let pmbus = t
            .table("pmbus", "What has to be known of it where its sensors have source = \"pmbus\"; most devices need none of this.", false, options)
            .unwrap_or_default();
        // All keys are read first: where one is wrong, the others are not unknown.
        let (location, bus, removable) = device?;
        let id = id?;
        // Of one place the kernel may have two classes of devices, told apart by their drivers.
        let key = if t.has("path") { "path" } else { "address" };
        t.once(&mut places, (location.clone(), driver.clone()), &id, key, &format!("the device at {location}"));
        Some(Device { id, location, bus, driver, removable, pmbus })
    });
    let (devices, known) = whole(devices);
    let known = Known { devices: &known, declared: &declared };
    let mut before: Vec<Name> = Vec::new();
    let sensors = root.maybe_tables("sensors", "What is measured.", SENSORS_MAX, |t| {
        t.variants(
            "source",
            "hwmon, iio: a channel of a device, through the kernel; pmbus: of a device without a driver; nvme: the temperature of a drive; gpio: a line; computed: from sensors that stand before it.",
            &["hwmon", "iio", "pmbus", "nvme", "gpio", "computed"],
            |t, source| {
                let id = fresh(t, &mut names);
                let sensor = sensor(t, id.clone(), source, &known, hosts, &before);
                before.extend(id);
                sensor
            },
        )
    });
    let sensors = sensors.into_iter().collect::<Option<Vec<_>>>();
    one_reader(root, sensors.as_deref().unwrap_or_default());
    Some(Sensing { buses: buses?, devices: devices?, sensors: sensors? })
}

/// The drives of sensors are those of the file; what can be pulled there can be missing here, and has no power while its host is off.
pub(crate) fn drives(root: &Table<'_>, sensors: &mut [Sensor], drives: &[Drive], hosts: &[Host]) {
    for sensor in sensors {
        let Input::Drive { drive } = &sensor.input else { continue };
        match drives.iter().find(|known| known.id == *drive) {
            Some(known) => {
                sensor.spec.removable = known.removable;
                if sensor.host.is_none() {
                    sensor.host.clone_from(&known.host);
                    sensor.spec.host = number(hosts, known.host.as_ref());
                }
            }
            None => {
                let (sensor, drive) = (sensor.id.as_str(), drive.as_str());
                let message =
                    format!("sensor {sensor:?} is of drive {drive:?}, which is not among the drives");
                root.fault(root.place("sensors"), message);
            }
        }
    }
}

/// A device that a driver of the kernel has is not spoken to by others: what one of them selects the other does not know.
fn one_reader(root: &Table<'_>, sensors: &[Sensor]) {
    let direct = sensors.iter().filter(|sensor| matches!(sensor.input, Input::Pmbus { .. }));
    let mut told: Vec<&Name> = Vec::new();
    for device in direct.filter_map(|sensor| sensor.input.device()) {
        let driven =
            |sensor: &Sensor| matches!(&sensor.input, Input::Channel { device: of, .. } if of == device);
        if !told.contains(&device) && sensors.iter().any(driven) {
            let message = format!(
                "the sensors of device {:?} are read both by the kernel's driver and over PMBus; it has one reader",
                device.as_str()
            );
            root.fault(root.place("sensors"), message);
            told.push(device);
        }
    }
}

/// What has to be known of a device on PMBus.
fn options(t: &mut Table<'_>) -> Options {
    let checked = t.choice(
        "pec",
        "Packet error codes: auto has them where the device says that it knows them.",
        &[("auto", Checked::Auto), ("on", Checked::Always), ("off", Checked::Never)],
        Some(0),
    );
    let numbers = t.choice(
        "numbers",
        "How it counts: linear (LINEAR11, or half precision where it says so), direct (by coefficients).",
        &[("linear", Numbers::Linear), ("direct", Numbers::Direct)],
        Some(0),
    );
    // Most devices say in VOUT_MODE what they use; whose codes those are they do not.
    let has = t.has("vid");
    let vid = t.choice("vid", "Whose codes its output voltages are, where they are codes.", &VIDS, Some(0));
    t.no_default("vid");
    let coefficients = t.maybe_tables(
        "coefficients",
        "Of commands whose numbers are direct, by the data sheet; without them the device is asked.",
        PMBUS.len(),
        |t| {
            let words: Vec<(&'static str, Command)> =
                PMBUS.iter().map(|(word, command, _)| (*word, *command)).collect();
            let command = t.choice("channel", "Of what.", &words, None);
            let mut whole = |key, doc, least: f64, most: f64| t.maybe_real(key, doc, least..=most);
            let m = whole("m", "The slope, in whole steps; needed.", -32_768.0, 32_767.0);
            let b = whole("b", "The offset; 0 without it.", -32_768.0, 32_767.0);
            let r = whole("r", "The exponent of ten; 0 without it.", -128.0, 127.0);
            if !t.describing()
                && (m.unwrap_or_default() == 0.0
                    || [m, b, r].into_iter().flatten().any(|of| of.fract() != 0.0))
            {
                t.fault_unless_describing("needs m, which is not 0, and whole numbers");
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "within the ranges above")]
            let line = Coefficients {
                m: m.unwrap_or_default() as i16,
                b: b.unwrap_or_default() as i16,
                r: r.unwrap_or_default() as i8,
            };
            Some((command?, line))
        },
    );
    Options {
        checked: checked.unwrap_or_default(),
        numbers: numbers.unwrap_or_default(),
        vid: vid.filter(|_| has),
        coefficients: coefficients.into_iter().flatten().collect(),
    }
}

/// The devices of the file: those that are right, and the ids of all, so that one mistake is told once.
struct Known<'a> {
    devices: &'a [Device],
    declared: &'a [Name],
}

/// All of a list, if all are right; and those that are.
fn whole<T: Clone>(list: Vec<Option<T>>) -> (Option<Vec<T>>, Vec<T>) {
    let right: Vec<T> = list.iter().flatten().cloned().collect();
    ((right.len() == list.len()).then(|| right.clone()), right)
}

/// A name nothing else has: faults are named by it.
fn fresh(t: &mut Table<'_>, names: &mut Vec<Name>) -> Option<Name> {
    let name = t.name("id", "Its id in every API: cpu0_temp, fan3, psu1, i2c7.")?;
    if names.contains(&name) {
        t.fault(t.place("id"), format!("two buses, devices or sensors have the id {:?}", name.as_str()));
        return None;
    }
    names.push(name.clone());
    Some(name)
}

fn adapter(t: &mut Table<'_>) -> Option<Adapter> {
    let number = t.maybe_number(
        "number",
        "The kernel's number of the bus, where aliases of the device tree fix it.",
        0..=4_095,
    );
    let path = t.maybe_text("path", "Or the end of the path of its device below /sys/devices, such as 1e78a180.i2c; behind a multiplexer with its channel: 3-0070/channel-1.");
    match (number, path) {
        (Some(number), None) => Some(Adapter::Number(number)),
        (None, Some(path)) => Some(Adapter::Path(path)),
        _ => {
            t.fault_unless_describing("must have either number or path");
            None
        }
    }
}

/// What a table has of where something is.
struct PlaceKeys {
    bus: Option<Name>,
    address: Option<u32>,
    path: Option<String>,
}

fn place_keys(t: &mut Table<'_>) -> PlaceKeys {
    let bus = t.maybe_name("bus", "The I2C bus it is on.");
    let address = t.maybe_number("address", "Its address there.", 0x03..=0x77);
    let path = t.maybe_text(
        "path",
        "Or the end of the path of its device below /sys/devices, such as 1e786000.pwm-tacho-controller.",
    );
    PlaceKeys { bus, address, path }
}

/// Where something on the board is, the bus it is on, and whether it can be pulled.
pub(crate) fn device(t: &mut Table<'_>, buses: &[I2cBus]) -> Option<(Location, Option<Name>, bool)> {
    let keys = place_keys(t);
    let removable = t.flag(
        "removable",
        "It can be pulled, as a power supply: then it is not present, and has not failed.",
        false,
    );
    located(t, buses, keys).map(|(location, bus)| (location, bus, removable))
}

/// As [`device`], of what cannot be pulled.
pub(crate) fn soldered(t: &mut Table<'_>, buses: &[I2cBus]) -> Option<Location> {
    let keys = place_keys(t);
    located(t, buses, keys).map(|(location, _)| location)
}

fn located(t: &Table<'_>, buses: &[I2cBus], keys: PlaceKeys) -> Option<(Location, Option<Name>)> {
    match (keys.bus, keys.address, keys.path) {
        (Some(name), Some(address), None) => {
            let Some(bus) = buses.iter().find(|bus| bus.id == name) else {
                t.unknown("bus", name.as_str(), "I2C bus", buses.iter().map(|bus| bus.id.as_str()));
                return None;
            };
            let address = u16::try_from(address).ok()?;
            let location = Location::I2c { adapter: bus.adapter.clone(), address };
            Some((location, Some(name)))
        }
        (None, None, Some(path)) => Some((Location::Path(path), None)),
        _ => {
            t.fault_unless_describing("must have either bus and address, or path");
            None
        }
    }
}

/// The host that a table names, if it names one. `None` only together with a fault.
pub(crate) fn host(t: &mut Table<'_>, hosts: &[Host], doc: &str) -> Option<Option<Id>> {
    let Some(name) = t.maybe_name("host", doc) else { return Some(None) };
    let found = hosts.iter().find(|host| host.id.as_str() == name.as_str());
    if found.is_none() && !t.describing() {
        t.unknown("host", name.as_str(), "host", hosts.iter().map(|host| host.id.as_str()));
    }
    found.map(|host| Some(host.id.clone()))
}

/// The place of a host on the board.
fn number(hosts: &[Host], id: Option<&Id>) -> Option<usize> {
    id.and_then(|id| hosts.iter().position(|host| host.id == *id))
}

fn sensor(
    t: &mut Table<'_>,
    id: Option<Name>,
    source: &'static str,
    known: &Known<'_>,
    hosts: &[Host],
    before: &[Name],
) -> Option<Sensor> {
    let name = t.text_or("name", "A name for people; without one its id.", "");
    let input = match source {
        "hwmon" => channel(t, known, ChannelClass::Hwmon),
        "iio" => channel(t, known, ChannelClass::Iio),
        "pmbus" => pmbus(t, known),
        "nvme" => {
            let drive = t.name("drive", "The drive, of [[drives]].");
            drive.map(|drive| (Input::Drive { drive }, Kind::Temperature))
        }
        "gpio" => line(t, known),
        _ => computed(t, before),
    };
    let host = host(t, hosts, "The host it is part of: while that is off there is nothing to measure.");
    let places: Vec<_> = [("unknown", None)]
        .into_iter()
        .chain(PhysicalContext::ALL.map(|place| (place.as_str(), Some(place))))
        .collect();
    let place = t.choice(
        "place",
        "Where it measures, for Redfish; a power there is what all of it takes.",
        &places,
        Some(0),
    );
    let (input, kind) = input.unzip();
    let kind = kind.or(t.describing().then_some(Kind::Temperature));
    let spec = spec(t, kind, source);
    let timeout = if matches!(source, "hwmon" | "iio" | "pmbus" | "nvme") {
        t.millis("timeout_ms", "How long an answer may take, in ms.", 10..=10_000, Duration::from_millis(500))
    } else {
        Duration::from_millis(500)
    };
    let played = t.table("sim", "How the simulated board plays it; the defaults fit its kind.", false, |t| {
        let idle = t.maybe_real("idle", "The value while the host idles.", NUMBERS);
        let load = t.maybe_real("load", "The value while the host works all it can.", NUMBERS);
        let off = t.maybe_real("off", "The value while the host is off.", NUMBERS);
        Played { idle, load, off }
    });
    let id = id?;
    let name = if name.is_empty() { id.as_str().to_owned() } else { name };
    let host = host?;
    kind?;
    let mut spec = spec?;
    spec.host = number(hosts, host.as_ref());
    let input = input?;
    spec.removable = match &input {
        Input::Channel { device, .. } | Input::Pmbus { device, .. } => {
            known.devices.iter().any(|known| known.id == *device && known.removable)
        }
        // Drives come later in the file's order: `drives` says.
        Input::Drive { .. } | Input::Line { .. } | Input::Computed { .. } => false,
    };
    Some(Sensor { id, name, host, place: place?, input, spec, timeout, played: played.unwrap_or_default() })
}

fn channel(t: &mut Table<'_>, known: &Known<'_>, class: ChannelClass) -> Option<(Input, Kind)> {
    let (words, doc) = match class {
        ChannelClass::Hwmon => (
            HWMON.as_slice(),
            "Its channel: temp1, in0, curr1, power1, energy1, fan1, humidity1; or an alarm: temp1_crit_alarm. With a label without the number.",
        ),
        ChannelClass::Iio => {
            (IIO.as_slice(), "Its channel: voltage0, current0, temp, humidityrelative, pressure.")
        }
    };
    let device = t.name("device", "The device it is read through.");
    let at = t.place("channel");
    let channel = t.text("channel", doc);
    let label = match class {
        ChannelClass::Hwmon => {
            t.maybe_text("label", "The driver's label of the channel, where drivers number them differently.")
        }
        ChannelClass::Iio => None,
    };
    if t.describing() {
        return None;
    }
    let device = device?;
    if !known.declared.contains(&device) {
        t.unknown("device", device.as_str(), "device", known.declared.iter().map(Name::as_str));
        return None;
    }
    let stem = channel.trim_end_matches(|c: char| c.is_ascii_digit());
    let alarm = class == ChannelClass::Hwmon && (channel.ends_with("_alarm") || channel.ends_with("_fault"));
    let of = channel
        .find(|c: char| !c.is_ascii_lowercase())
        .map_or(channel.as_str(), |end| channel.get(..end).unwrap_or_default());
    let kind = words.iter().find(|(word, _)| *word == if alarm { of } else { stem }).map(|(_, kind)| *kind);
    let plain = channel.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let numbered = stem.len() < channel.len() || class == ChannelClass::Iio || alarm;
    let Some(kind) = kind.filter(|_| plain && channel.len() <= 32 && numbered != label.is_some()) else {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!(
            "{channel:?} is no channel: it begins with {} and ends with a number, or has a label instead",
            known.join(", ")
        );
        t.fault(at, message);
        return None;
    };
    let kind = if alarm { Kind::Alert } else { kind };
    Some((Input::Channel { device, class, channel, label }, kind))
}

fn pmbus(t: &mut Table<'_>, known: &Known<'_>) -> Option<(Input, Kind)> {
    let device = t.name("device", "The device, which is on an I2C bus and has no driver.");
    let words: Vec<(&'static str, What)> =
        PMBUS
            .iter()
            .map(|(word, command, _)| (*word, What::Reading(*command)))
            .chain(STATUS.iter().map(|(word, register)| {
                (*word, What::Status { register: *register, mask: wrong(*register) })
            }))
            .collect();
    let what = t.choice(
        "channel",
        "What it is asked for. A status is an alert: any warning or fault of its register, or that which condition names.",
        &words,
        None,
    );
    let page = t.maybe_number("page", "Which of its outputs, where it has pages.", PAGES);
    let condition = t.maybe_text("condition", "The one condition of a status that counts, by its name in the specification: ot_fault, vin_uv_warning.");
    if t.describing() {
        return None;
    }
    let (device, what) = (device?, what?);
    match known.devices.iter().find(|of| of.id == device) {
        Some(Device { location: Location::I2c { address: 0x08..=0x77, .. }, .. }) => {}
        Some(_) => {
            let message = format!("device {:?} has no bus and address from 0x08 to 0x77", device.as_str());
            t.fault(t.place("device"), message);
            return None;
        }
        None if known.declared.contains(&device) => return None,
        None => {
            t.unknown("device", device.as_str(), "device", known.declared.iter().map(Name::as_str));
            return None;
        }
    }
    let what = match (what, condition) {
        (What::Reading(_), Some(_)) => {
            t.fault(t.place("condition"), "condition is of a status, not of a reading".to_owned());
            return None;
        }
        (What::Status { register, .. }, Some(name)) => {
            let Some(bit) = register.bits().iter().find(|condition| condition.name == name) else {
                t.unknown("condition", &name, "condition", register.bits().iter().map(|bit| bit.name));
                return None;
            };
            What::Status { register, mask: 1 << bit.bit }
        }
        (what, None) => what,
    };
    let kind = match what {
        What::Reading(command) => {
            PMBUS.iter().find(|(_, known, _)| *known == command).map(|(.., kind)| *kind)
        }
        What::Status { .. } => Some(Kind::Alert),
    };
    let page = page.and_then(|page| u8::try_from(page).ok());
    Some((Input::Pmbus { device, quantity: Quantity { what, page } }, kind?))
}

/// The bits of a register that say that something is wrong.
fn wrong(register: Register) -> u16 {
    let counts = |condition: &&pmbus::Condition| match register {
        // Its upper bits only say where to look, and that is what is wrong.
        Register::Word => !NOT_WRONG.contains(&condition.name),
        _ => condition.gravity != Gravity::State,
    };
    register.bits().iter().filter(counts).fold(0, |mask, condition| mask | 1 << condition.bit)
}

fn line(t: &mut Table<'_>, known: &Known<'_>) -> Option<(Input, Kind)> {
    let kinds = [("presence", Kind::Presence), ("alert", Kind::Alert)];
    let kind = t.choice("type", "What the line says while it is active.", &kinds, Some(0));
    let line = t.line("line", "Input: the line.", Direction::Input, true);
    let device = t.maybe_name("device", "The device it tells of, if it is one of these.");
    if let Some(device) = &device
        && !known.declared.contains(device)
    {
        t.unknown("device", device.as_str(), "device", known.declared.iter().map(Name::as_str));
        return None;
    }
    Some((Input::Line { line: line?, device }, kind?))
}

fn computed(t: &mut Table<'_>, before: &[Name]) -> Option<(Input, Kind)> {
    let op = t.choice("op", "How the values are put together.", &Op::WORDS, None);
    let kinds: Vec<(&'static str, Kind)> =
        Kind::WORDS.into_iter().filter(|(_, kind)| !kind.is_discrete()).collect();
    let kind = t.choice("type", "What the result is.", &kinds, None);
    let of = t.names("of", "The sensors it is computed from; they stand before it.", INPUTS_MAX);
    if t.describing() {
        return None;
    }
    let of = of?;
    for name in &of {
        if !before.contains(name) {
            t.unknown("of", name.as_str(), "sensor before it", before.iter().map(Name::as_str));
            return None;
        }
    }
    Some((Input::Computed { op: op?, of }, kind?))
}

fn spec(t: &mut Table<'_>, kind: Option<Kind>, source: &'static str) -> Option<Spec> {
    let default = Spec::new(kind.unwrap_or(Kind::Temperature));
    let mut spec = default;
    let discrete = source == "gpio";
    // All keys are read whatever is wrong with one of them.
    let mut is_right = true;
    if !discrete {
        spec.scale =
            t.real("scale", "What was read is multiplied by this; a divider of 1:10 has 10.", NUMBERS, 1.0);
        if spec.scale == 0.0 {
            t.fault(
                t.place("scale"),
                "scale must not be 0: the sensor would show its offset for ever".to_owned(),
            );
            is_right = false;
        }
        spec.offset = t.real("offset", "And this is added.", NUMBERS, 0.0);
        let least =
            t.maybe_real("min", "A smaller value cannot be true; the default is that of its kind.", NUMBERS);
        let most =
            t.maybe_real("max", "A larger value cannot be true; the default is that of its kind.", NUMBERS);
        spec.plausible = (least.unwrap_or(default.plausible.0), most.unwrap_or(default.plausible.1));
        if kind.is_some() && spec.plausible.0 >= spec.plausible.1 {
            t.fault(
                t.place("min"),
                format!("min {} has to be less than max {}", spec.plausible.0, spec.plausible.1),
            );
        }
        spec.resolution = t
            .maybe_real(
                "resolution",
                "A smaller change is no news; the default is that of its kind.",
                0.0..=1e12,
            )
            .unwrap_or(default.resolution);
        spec.debounce = millis(t.millis(
            "debounce_ms",
            "How long a threshold has to be crossed before it counts, in ms.",
            0..=600_000,
            default.debounce.into(),
        ));
        spec.thresholds.upper = levels(t, "upper", "At or above is too much.");
        spec.thresholds.lower = levels(t, "lower", "At or below is too little.");
        spec.thresholds.hysteresis = t.real(
            "hysteresis",
            "How far back a value has to be before a threshold counts as left.",
            0.0..=1e12,
            0.0,
        );
        // As when they are set later: what is never reached or never left tells nothing.
        let fits = spec.thresholds.check().and_then(|()| match kind {
            Some(_) => spec.thresholds.check_range(spec.plausible),
            // What it shows is not known where its channel is wrong.
            None => Ok(()),
        });
        if let Err(error) = fits {
            let key = if t.has("upper") { "upper" } else { "lower" };
            t.fault(t.place(key), error.to_string());
            is_right = false;
        }
    }
    if matches!(source, "hwmon" | "iio" | "pmbus" | "nvme") {
        spec.rate =
            millis(t.millis("rate_ms", "How often it is read, in ms.", 20..=3_600_000, default.rate.into()));
        spec.retries = t.number(
            "retries",
            "How often a read may fail, one after the other, before it has failed.",
            0..=100,
            Some(default.retries),
        );
        spec.stale_for = millis(t.millis(
            "stale_ms",
            "How old a value may become while reads bring no new one, in ms; then the sensor has failed.",
            100..=3_600_000,
            default.stale_for.into(),
        ));
    }
    spec.settle = millis(t.millis(
        "settle_ms",
        "How long after its host got power it means something, in ms.",
        0..=600_000,
        default.settle.into(),
    ));
    is_right.then_some(spec)
}

fn levels(t: &mut Table<'_>, key: &'static str, doc: &str) -> Levels {
    let levels = t.table(key, doc, false, |t| Levels {
        warning: t.maybe_real("warning", "Worth a look.", NUMBERS),
        critical: t.maybe_real("critical", "Beyond what is allowed.", NUMBERS),
        fatal: t.maybe_real("fatal", "Damage.", NUMBERS),
    });
    levels.unwrap_or_default()
}

fn millis(duration: Duration) -> Millis {
    Millis::from(duration)
}
