//! The tables of a board file for what was found.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use hal::ChannelClass;

use crate::look::{Bus, Client, Device, Found};

/// The longest text of a board file, and the longest id.
const TEXT_MAX: usize = 64;
const ID_MAX: usize = 48;
/// Sensors and fans of a zone.
const ZONE_MAX: usize = 64;
/// Sizes of EEPROMs that a board file takes.
const SIZES: std::ops::RangeInclusive<u64> = 64..=65_536;
/// Addresses of supplies and regulators on PMBus, of drives, and of EEPROMs, as boards have them by custom.
const CUSTOM: [(std::ops::RangeInclusive<u8>, &str); 3] = [
    (0x50..=0x57, "an EEPROM, by custom: give it to the at24 driver in the device tree"),
    (0x58..=0x5f, "a power supply, by custom: [[devices]] with sensors of source = \"pmbus\""),
    (0x6a..=0x6a, "a drive, by custom: [[drives]]"),
];
/// The lines of a host as OpenBMC names them, and the keys they have in a board file.
const LINES: [(&str, &str); 5] = [
    ("power", "power-button-out"),
    ("reset", "reset-button-out"),
    ("control", "power-chassis-control"),
    ("power_good", "power-chassis-good"),
    ("power_button_in", "power-button"),
];
/// Names of LEDs, and what such a one stands for.
const LIGHTS: [(&str, &str); 6] = [
    ("identify", "identify"),
    ("ident", "identify"),
    ("fault", "fault"),
    ("power", "power"),
    ("status", "status"),
    ("heartbeat", "status"),
];

/// A board file. `u-bmc check` takes it as it is; what it cannot know is said beside it.
#[must_use]
pub fn propose(found: &Found) -> String {
    let mut out = Proposal { text: String::new(), ids: BTreeSet::new() };
    out.head(found);
    let buses: Vec<(u32, String)> = found
        .buses
        .iter()
        .filter(|bus| is_named(bus, found))
        .map(|bus| (bus.number, out.fresh(&format!("i2c{}", bus.number))))
        .collect();
    for bus in &found.buses {
        out.bus(bus, &buses);
    }
    let mut devices = Vec::new();
    for device in &found.devices {
        let id = out.device(device, found, &buses);
        devices.push((device, id));
    }
    let mut fans = Vec::new();
    let mut warm = Vec::new();
    for (device, id) in &devices {
        out.sensors(device, id, &mut fans, &mut warm);
    }
    out.presence(found);
    if warm.is_empty() && !fans.is_empty() {
        out.line("");
        out.line("# There are outputs of fans, and no temperature that they could go by.");
        fans.clear();
    }
    for (device, output, fan, has_tach) in &fans {
        out.fan(device, output, fan, *has_tach);
    }
    out.zone(&fans, &warm);
    out.leds(found);
    for bus in &found.buses {
        for client in &bus.clients {
            out.fru(client, bus, &buses);
        }
    }
    out.screen(found);
    out.rest(found);
    out.text
}

/// Whether something that is named is on the bus.
fn is_named(bus: &Bus, found: &Found) -> bool {
    let measured = |client: &Client| found.devices.iter().any(|device| device.path == client.path);
    bus.clients.iter().any(|client| client.eeprom.is_some() || measured(client))
}

/// A fan: its device, its output there, its id, and whether a sensor of that id is its tachometer.
type ProposedFan<'a> = (String, &'a str, String, bool);

struct Proposal {
    text: String,
    ids: BTreeSet<String>,
}

impl Proposal {
    /// An id that nothing else has, like this text.
    fn fresh(&mut self, like: &str) -> String {
        let id = id_of(like);
        let numbered = (2..).map(|number| format!("{}_{number}", cut(&id, ID_MAX - 5)));
        let id = std::iter::once(id.clone()).chain(numbered).find(|id| !self.ids.contains(id)).unwrap_or(id);
        self.ids.insert(id.clone());
        id
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn value(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.text, "{key} = {}", quoted(value));
    }

    /// A button is pulled low where boards have it as OpenBMC does. One taken for active high is found pressed at the start, and what lets it go presses it.
    fn button(&mut self, key: &str, line: &str) {
        let line = quoted(line);
        self.line(&format!(
            "{key} = {{ name = {line}, active_low = true }} # buttons pull low, mostly: measure the level at rest before this file is used"
        ));
    }

    fn head(&mut self, found: &Found) {
        self.line("# Proposed by `u-bmc probe`. Name things by what they are on this board, and take out what nobody needs.");
        self.line("");
        self.line("[board]");
        let model = found.model.as_deref().unwrap_or("Board");
        let name =
            cut(id_of(model).replace('_', "-").trim_end_matches('-'), 32).trim_end_matches('-').to_owned();
        self.value("name", &name);
        self.line("vendor = \"Vendor\" # who makes it");
        self.value("model", cut(model, TEXT_MAX));
        self.line("hal = \"linux\"");
        if let Some(watchdog) = found.watchdogs.first() {
            self.line("");
            self.line("[management_controller.watchdog]");
            self.value("device", &format!("/dev/{watchdog}"));
        }
        self.line("");
        self.line("[[hosts]]");
        self.line("id = \"system\"");
        self.line("");
        self.line("[hosts.power]");
        let has = |key: &str| {
            let line = LINES.iter().find(|(of, _)| *of == key).map(|(_, line)| *line)?;
            found.line_names().any(|name| name == line).then_some(line)
        };
        let unknown = "# no line has the name that OpenBMC gives it: put in what this board calls it";
        let control = has("control").filter(|_| has("power").is_none());
        match control {
            Some(control) => {
                self.line("kind = \"level\"");
                self.value("control", control);
            }
            None => {
                self.line("kind = \"buttons\"");
                match has("power") {
                    Some(power) => self.button("power", power),
                    None => self.line(&format!(
                        "power = {{ name = \"power-button-out\", active_low = true }} {unknown}"
                    )),
                }
            }
        }
        match has("power_good") {
            Some(good) => self.value("power_good", good),
            None => self.line(&format!("power_good = \"power-chassis-good\" {unknown}")),
        }
        for key in ["reset", "power_button_in"] {
            if let Some(line) = has(key) {
                self.button(key, line);
            }
        }
    }

    fn bus(&mut self, bus: &Bus, buses: &[(u32, String)]) {
        let Some((_, id)) = buses.iter().find(|(number, _)| *number == bus.number) else { return };
        self.line("");
        self.line(&format!("[[i2c]] # {}", comment(&bus.name)));
        self.value("id", id);
        let device = bus.path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        match (&bus.channel, device, bus.fixed) {
            (Some(channel), ..) => self.value("path", channel),
            (None, Some(device), false) if device.len() <= TEXT_MAX => self.value("path", device),
            _ => self.line(&format!("number = {}", bus.number)),
        }
    }

    fn device(&mut self, device: &Device, found: &Found, buses: &[(u32, String)]) -> String {
        let client = found.buses.iter().find_map(|bus| {
            let client = bus.clients.iter().find(|client| client.path == device.path)?;
            let (_, id) = buses.iter().find(|(number, _)| *number == bus.number)?;
            Some((id, client.address))
        });
        let place = device.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let place = if client.is_none() && place.len() > TEXT_MAX { "" } else { place };
        if device.channels.is_empty() && device.outputs.is_empty() || place.is_empty() {
            return String::new();
        }
        let called = if device.name.is_empty() { place } else { device.name.as_str() };
        let same = found.devices.iter().filter(|other| other.name == device.name).count();
        let like = match (&client, same > 1) {
            (Some((bus, address)), true) => format!("{called}_{bus}_{address:02x}"),
            (None, true) => place.to_owned(),
            (_, false) => called.to_owned(),
        };
        let id = self.fresh(&like);
        self.line("");
        self.line("[[devices]]");
        self.value("id", &id);
        match client {
            Some((bus, address)) => {
                self.value("bus", bus);
                self.line(&format!("address = {address:#04x}"));
            }
            None => self.value("path", place),
        }
        if !device.name.is_empty() && device.name.chars().count() <= TEXT_MAX {
            self.value("driver", &device.name);
        }
        id
    }

    fn sensors<'a>(
        &mut self,
        device: &'a Device,
        id: &str,
        fans: &mut Vec<ProposedFan<'a>>,
        warm: &mut Vec<String>,
    ) {
        if id.is_empty() {
            return;
        }
        for channel in &device.channels {
            let fan = channel.channel.strip_prefix("fan");
            let output = fan.and_then(|number| {
                device.outputs.iter().find(|output| output.strip_prefix("pwm") == Some(number))
            });
            let sensor = match (output, &channel.label) {
                (Some(_), _) => self.fresh(&format!("fan{}", fans.len())),
                (None, Some(label)) => self.fresh(&format!("{id}_{label}")),
                (None, None) => self.fresh(&format!("{id}_{}", channel.channel)),
            };
            if channel.channel.starts_with("temp") {
                warm.push(sensor.clone());
            }
            if let Some(output) = output {
                fans.push((id.to_owned(), output, sensor.clone(), true));
            }
            self.line("");
            self.line("[[sensors]]");
            self.value("id", &sensor);
            if let Some(label) = &channel.label {
                self.value("name", cut(label, TEXT_MAX));
            }
            let source = if device.class == ChannelClass::Hwmon { "hwmon" } else { "iio" };
            self.value("source", source);
            self.value("device", id);
            self.value("channel", &channel.channel);
        }
        for output in &device.outputs {
            let known = fans.iter().any(|(of, known, ..)| of == id && known == output);
            if !known {
                let fan = self.fresh(&format!("fan{}", fans.len()));
                fans.push((id.to_owned(), output, fan, false));
            }
        }
    }

    /// Lines that by their names tell of presence (OpenBMC's device tree GPIO naming).
    fn presence(&mut self, found: &Found) {
        for name in found.line_names().filter(|name| name.starts_with("presence-")) {
            let what = name.strip_prefix("presence-").unwrap_or(name);
            let id = self.fresh(&format!("{what}_present"));
            self.line("");
            self.line("[[sensors]]");
            self.value("id", &id);
            self.line("source = \"gpio\"");
            self.line("type = \"presence\"");
            self.line(&format!(
                "line = {{ name = {}, active_low = true }} # such lines are pulled low, mostly",
                quoted(name)
            ));
        }
    }

    fn fan(&mut self, device: &str, output: &str, fan: &str, has_tach: bool) {
        self.line("");
        self.line("[[fans]]");
        self.value("id", fan);
        self.value("device", device);
        self.value("output", output);
        if has_tach {
            self.line("rpm = 10000 # its speed at full duty, by its data sheet");
        }
    }

    /// One zone of all: without one a fan is never driven.
    fn zone(&mut self, fans: &[ProposedFan<'_>], warm: &[String]) {
        if fans.is_empty() {
            return;
        }
        let list = |ids: &mut dyn Iterator<Item = &String>| {
            let ids: Vec<String> = ids.take(ZONE_MAX).map(|id| quoted(id)).collect();
            ids.join(", ")
        };
        let sensors = list(&mut warm.iter());
        let fans = list(&mut fans.iter().map(|(_, _, fan, _)| fan));
        self.line("");
        self.line("[[zones]] # one for all; which sensors are cooled by which fans is the machine's");
        self.line("id = \"all\"");
        self.line("control = \"pid\"");
        self.line(
            "target = 60 # these three by what is cooled: held, full speed from here on, danger from here on",
        );
        self.line("full_at = 75");
        self.line("critical = 90");
        self.line(&format!("sensors = [{sensors}]"));
        self.line(&format!("fans = [{fans}]"));
    }

    fn leds(&mut self, found: &Found) {
        let mut ids = BTreeSet::new();
        for label in found.leds.iter().filter(|label| label.chars().count() <= TEXT_MAX) {
            let mut parts = label.split(':').rev();
            let function = parts.next().filter(|last| !last.is_empty()).unwrap_or(label);
            let mut id = id_of(function);
            if !ids.insert(id.clone()) {
                id = id_of(label);
                if !ids.insert(id.clone()) {
                    continue;
                }
            }
            self.line("");
            self.line("[[leds]]");
            self.value("id", &id);
            self.line("kind = \"class\"");
            self.value("label", label);
            if let Some((_, kind)) = LIGHTS.iter().find(|(word, _)| function.contains(word)) {
                self.value("type", kind);
            }
            if let Some(color) = parts.next().filter(|color| !color.is_empty()) {
                self.value("color", color);
            }
        }
    }

    fn fru(&mut self, client: &Client, bus: &Bus, buses: &[(u32, String)]) {
        let Some(size) = client.eeprom.filter(|size| SIZES.contains(size)) else { return };
        let Some((_, id)) = buses.iter().find(|(number, _)| *number == bus.number) else { return };
        self.line("");
        self.line("[[frus]] # if it holds the image of a part");
        self.value("id", &id_of(&format!("fru_{id}_{:02x}", client.address)));
        self.value("bus", id);
        self.line(&format!("address = {:#04x}", client.address));
        if size != 256 {
            self.line(&format!("size = {size}"));
        }
    }

    /// What is there and cannot be named without knowing more.
    /// What captures is the host's screen, and the first USB controller that is free the host's port, until somebody knows better.
    fn screen(&mut self, found: &Found) {
        let Some((video, driver)) = found.videos.first() else { return };
        self.line("");
        self.line(&format!("[[screens]] # {}", comment(driver)));
        self.line("host = \"system\"");
        self.value("video", &format!("/dev/{video}"));
        if let Some(usb) = found.usb_controllers.first().filter(|usb| usb.len() <= TEXT_MAX) {
            self.line(&format!("usb = {} # the one that is wired to the host", quoted(usb)));
        }
    }

    fn rest(&mut self, found: &Found) {
        let mut rest = Vec::new();
        for (video, driver) in found.videos.iter().skip(1) {
            rest.push(format!("/dev/{video} captures video ({})", comment(driver)));
        }
        for usb in found.usb_controllers.iter().skip(usize::from(!found.videos.is_empty())) {
            rest.push(format!("{}: a USB device controller", comment(usb)));
        }
        for bus in &found.buses {
            for client in
                bus.clients.iter().filter(|client| client.driver.is_none() && client.eeprom.is_none())
            {
                let measured = found.devices.iter().any(|device| device.path == client.path);
                if !measured && !client.multiplexer {
                    let name = comment(&client.name);
                    rest.push(format!(
                        "i2c-{} {:#04x} {name}: no driver has it{}",
                        bus.number,
                        client.address,
                        custom(client.address)
                    ));
                }
            }
            for address in &bus.answered {
                rest.push(format!(
                    "i2c-{} {address:#04x} answers{}",
                    bus.number,
                    custom(u16::from(*address))
                ));
            }
            if let Some(why) = &bus.unscanned {
                rest.push(format!("i2c-{} was not scanned: {}", bus.number, comment(why)));
            }
        }
        for chip in &found.chips {
            let named = chip.lines.iter().filter(|name| !name.is_empty()).count();
            rest.push(format!("{} of {}: {named} lines with names", chip.name, comment(&chip.of)));
        }
        if rest.is_empty() {
            return;
        }
        self.line("");
        self.line("# There as well:");
        for line in rest {
            self.line(&format!("# - {line}"));
        }
    }
}

fn custom(address: u16) -> String {
    let address = u8::try_from(address).unwrap_or(u8::MAX);
    let found = CUSTOM.iter().find(|(range, _)| range.contains(&address));
    found.map(|(_, what)| format!(": {what}")).unwrap_or_default()
}

/// Lower-case letters and digits of a text, what is between them as one `_`, with a letter before.
fn id_of(text: &str) -> String {
    let mut id = String::new();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            id.push(letter.to_ascii_lowercase());
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) {
        id.insert(0, 'x');
    }
    cut(&id, ID_MAX).trim_end_matches('_').to_owned()
}

/// The first characters of a text.
fn cut(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What a comment can hold.
fn comment(text: &str) -> String {
    cut(text, TEXT_MAX).chars().filter(|c| !c.is_control()).collect()
}
