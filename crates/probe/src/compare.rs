//! A board file beside what was found.

use std::fmt;
use std::path::Path;

use board::{Board, Input, LedWire, Name};
use hal::{Adapter, ChannelClass, LineId, Location};
use hal_linux::place::{adapter_number, matches};

use crate::look::{Device, Found};

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What the file names and is not there, or is another thing: its key in the file and why.
    pub missing: Vec<String>,
    /// What is there and the file does not name.
    pub unnamed: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, lines) in
            [("Named and not there:", &self.missing), ("There and not named:", &self.unnamed)]
        {
            writeln!(f, "{title}")?;
            if lines.is_empty() {
                writeln!(f, "  nothing")?;
            }
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// Compares a board with what was found. `sys` is the folder that was looked at.
#[must_use]
pub fn compare(found: &Found, board: &Board, sys: &Path) -> Report {
    let mut report = Report::default();
    let numbers: Vec<(&Name, Option<u32>)> = board
        .i2c
        .iter()
        .map(|bus| (&bus.id, adapter_number(sys, &bus.adapter).filter(|number| found.bus(*number).is_some())))
        .collect();
    for (id, number) in &numbers {
        if number.is_none() {
            report.missing.push(format!("i2c.{id}: the kernel has no such bus"));
        }
    }
    let is_there = |bus: Option<&Name>| {
        bus.is_none_or(|bus| numbers.iter().any(|(id, number)| *id == bus && number.is_some()))
    };
    devices(found, board, sys, &is_there, &mut report);
    for fru in board.frus.iter().filter(|fru| is_there(fru.bus.as_ref())) {
        let clients = found.buses.iter().flat_map(|bus| &bus.clients);
        let mut of = clients.filter(|client| matches(sys, &client.path, &fru.location));
        if !of.any(|client| client.eeprom.is_some()) {
            report.missing.push(format!("frus.{}: no EEPROM at {}", fru.id, fru.location));
        }
    }
    for drive in
        board.drives.iter().filter(|drive| is_silent(found, sys, &drive.adapter, drive.address.into()))
    {
        report.missing.push(format!("drives.{}: nobody answers at {:#04x}", drive.id, drive.address));
    }
    for led in &board.leds {
        if let LedWire::Class(label) = &led.wire
            && !found.leds.contains(label)
        {
            report.missing.push(format!("leds.{}: the kernel has no LED {label:?}", led.id));
        }
    }
    for screen in &board.screens {
        let video = screen.video.strip_prefix("/dev").ok().and_then(Path::to_str).unwrap_or_default();
        if !found.videos.iter().any(|(name, _)| name == video) {
            let video = screen.video.display();
            report.missing.push(format!("screens.{}: nothing captures video at {video}", screen.host));
        }
        if let Some(usb) = screen.usb.as_ref().filter(|usb| !found.usb_controllers.contains(usb)) {
            report
                .missing
                .push(format!("screens.{}: the kernel has no USB device controller {usb:?}", screen.host));
        }
    }
    // Without names of any line nothing is known of lines: a simulated board has none, or the kernel shows none.
    if found.line_names().next().is_some() {
        for (key, line) in lines(board) {
            if let LineId::Name(name) = &line
                && !found.line_names().any(|known| known == name)
            {
                report.missing.push(format!("{key}: no chip names a line {name:?}"));
            }
        }
    }
    unnamed(found, board, sys, &mut report);
    report
}

/// The device of the classes at a place, with the driver that is meant.
fn at<'f>(found: &'f Found, sys: &Path, device: &board::Device) -> impl Iterator<Item = &'f Device> {
    let here: Vec<&Device> = found
        .devices
        .iter()
        .filter(|known| matches(sys, &known.path, &device.location))
        .filter(|known| device.driver.as_ref().is_none_or(|driver| *driver == known.name))
        .collect();
    here.into_iter()
}

/// Whether nobody is at an address, by a scan of its bus. What is behind a bus that was not scanned may be there, and so may what was not asked on a channel: a
/// multiplexer that keeps its last channel connected has what is behind it answer on the bus above as well.
fn is_silent(found: &Found, sys: &Path, adapter: &Adapter, address: u16) -> bool {
    let bus = adapter_number(sys, adapter).and_then(|number| found.bus(number));
    bus.is_some_and(|bus| {
        bus.scanned
            && !bus.answered.iter().chain(&bus.skipped).any(|known| u16::from(*known) == address)
            && !bus.clients.iter().any(|known| known.address == address)
    })
}

fn devices(
    found: &Found,
    board: &Board,
    sys: &Path,
    is_there: &dyn Fn(Option<&Name>) -> bool,
    report: &mut Report,
) {
    for device in board.devices.iter().filter(|device| is_there(device.bus.as_ref())) {
        let direct = |sensor: &board::Sensor| matches!(&sensor.input, Input::Pmbus { device: of, .. } if *of == device.id);
        if board.sensors.iter().any(direct) {
            let clients = found.buses.iter().flat_map(|bus| &bus.clients);
            let driver = clients
                .filter(|client| matches(sys, &client.path, &device.location))
                .find_map(|client| client.driver.as_ref());
            if let Some(driver) = driver {
                report.missing.push(format!(
                    "devices.{}: the driver {driver} has it, so it cannot be asked over PMBus",
                    device.id
                ));
            } else if let Location::I2c { adapter, address } = &device.location
                && is_silent(found, sys, adapter, *address)
            {
                report.missing.push(format!("devices.{}: nobody answers at {}", device.id, device.location));
            }
            continue;
        }
        if at(found, sys, device).next().is_none() {
            let other = found.devices.iter().find(|known| matches(sys, &known.path, &device.location));
            report.missing.push(match other {
                Some(other) => format!("devices.{}: at {} is {:?}", device.id, device.location, other.name),
                None => format!("devices.{}: nothing is measured at {}", device.id, device.location),
            });
            continue;
        }
        for sensor in &board.sensors {
            let Input::Channel { device: of, class, channel, label } = &sensor.input else { continue };
            let has = |known: &Device| {
                known.class == *class
                    && known.channels.iter().any(|known| match label {
                        Some(label) => {
                            known.label.as_ref() == Some(label) && known.channel.starts_with(channel.as_str())
                        }
                        None => known.channel == *channel || is_flag(channel),
                    })
            };
            if *of == device.id && !at(found, sys, device).any(has) {
                let what = label.as_ref().unwrap_or(channel);
                report.missing.push(format!("sensors.{}: device {} has no {what}", sensor.id, device.id));
            }
        }
        for fan in board.fans.iter().filter(|fan| fan.device == device.id) {
            if !at(found, sys, device).any(|known| known.outputs.contains(&fan.output)) {
                report.missing.push(format!("fans.{}: device {} has no {}", fan.id, device.id, fan.output));
            }
        }
    }
}

/// Alarms are attributes of their own, which are not looked for.
fn is_flag(channel: &str) -> bool {
    channel.ends_with("_alarm") || channel.ends_with("_fault")
}

/// The lines of a board with their keys.
fn lines(board: &Board) -> Vec<(String, LineId)> {
    let mut lines = Vec::new();
    for host in &board.hosts {
        let of = host
            .power
            .lines()
            .map(|(key, _, line)| (format!("hosts.{}.power.{key}", host.id), line.id.clone()));
        lines.extend(of);
    }
    for sensor in &board.sensors {
        if let Input::Line { line, .. } = &sensor.input {
            lines.push((format!("sensors.{}", sensor.id), line.id.clone()));
        }
    }
    for led in &board.leds {
        if let LedWire::Line(line) = &led.wire {
            lines.push((format!("leds.{}", led.id), line.id.clone()));
        }
    }
    lines
}

fn unnamed(found: &Found, board: &Board, sys: &Path, report: &mut Report) {
    for known in &found.devices {
        let named = board.devices.iter().find(|device| matches(sys, &known.path, &device.location));
        let place = known.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(named) = named else {
            let what: Vec<&str> = known.channels.iter().map(|channel| channel.channel.as_str()).collect();
            let what: Vec<&str> = what.into_iter().chain(known.outputs.iter().map(String::as_str)).collect();
            if !what.is_empty() {
                report.unnamed.push(format!("{place} ({}): {}", known.name, what.join(", ")));
            }
            continue;
        };
        for channel in &known.channels {
            let is_named = board.sensors.iter().any(|sensor| match &sensor.input {
                Input::Channel { device, class, channel: of, label }
                    if *device == named.id && *class == known.class =>
                {
                    match label {
                        Some(label) => channel.label.as_ref() == Some(label),
                        None => channel.channel == *of,
                    }
                }
                _ => false,
            });
            if !is_named {
                let label = channel.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
                report.unnamed.push(format!("{place}, {}: {}{label}", named.id, channel.channel));
            }
        }
        for output in &known.outputs {
            if known.class == ChannelClass::Hwmon
                && !board.fans.iter().any(|fan| fan.device == named.id && fan.output == *output)
            {
                report.unnamed.push(format!("{place}, {}: {output}", named.id));
            }
        }
    }
    let at_place = |number: u32, address: u16| {
        let is = |location: &Location| match location {
            Location::I2c { adapter, address: of } => {
                *of == address && adapter_number(sys, adapter) == Some(number)
            }
            Location::Path(_) => false,
        };
        let drive = |drive: &board::Drive| {
            u16::from(drive.address) == address && adapter_number(sys, &drive.adapter) == Some(number)
        };
        board.devices.iter().any(|device| is(&device.location))
            || board.frus.iter().any(|fru| is(&fru.location))
            || board.drives.iter().any(drive)
    };
    for bus in &found.buses {
        for client in &bus.clients {
            let measured = found.devices.iter().any(|device| device.path == client.path);
            if !measured && !client.multiplexer && !at_place(bus.number, client.address) {
                let what = if client.eeprom.is_some() { "an EEPROM" } else { client.name.as_str() };
                report.unnamed.push(format!("i2c-{} {:#04x}: {what}", bus.number, client.address));
            }
        }
        for address in bus.answered.iter().filter(|address| !at_place(bus.number, u16::from(**address))) {
            report.unnamed.push(format!("i2c-{} {address:#04x}: answers", bus.number));
        }
    }
    for (name, driver) in &found.videos {
        if !board.screens.iter().any(|screen| screen.video == Path::new("/dev").join(name)) {
            report.unnamed.push(format!("/dev/{name}: captures video ({driver})"));
        }
    }
    for label in &found.leds {
        let named = |led: &board::Led| matches!(&led.wire, LedWire::Class(of) if of == label);
        if !board.leds.iter().any(named) {
            report.unnamed.push(format!("LED {label}"));
        }
    }
}
