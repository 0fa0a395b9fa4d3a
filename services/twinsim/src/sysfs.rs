//! A folder that is laid out as `/sys`, with the sensors of the board: what reads real hardware reads it unchanged. Beside it the chips that are
//! spoken to without the kernel, and the lines of sensors: what is measured, pulled or broken is so on all of them.
//!
//! Values are written in place, so that who keeps an attribute open sees them. Faults are those real hardware has: an attribute that is gone,
//! one without a value, one that cannot be true, one that never answers (a FIFO nobody writes to), a device that is pulled.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use board::{Board, FruKind, Input, LedWire};
use hal::{Adapter, ChannelClass, Location};
use hal_sim::wire::{ControlRequest, Outcome};
use pmbus::{Quantity as Asked, What};
use rustix::fs::{FileType, Mode, mknodat};
use sensors::{Kind, Spec};
use twin::{FanHealth, FruPart, Plant, Probe};
use units::Millis;

use crate::buses::{Broken, Buses};
use crate::error::Error;
use crate::files::{create, folder, remove, replace, write};
use crate::played::probe;

/// How often values change.
pub(crate) const STEP: Duration = Duration::from_millis(200);
/// The speed of a slow fan, as a share of what it should be.
const SLOW: f64 = 1.0 / 3.0;
/// The folder in the run directory.
const SYS: &str = "sys";
/// Every value takes so many bytes, the rest are line ends: a longer value before leaves nothing behind.
const WIDTH: usize = 24;
/// A duty in the kernel's terms.
const PWM_MAX: f64 = 255.0;

/// A sensor that is an attribute.
#[derive(Debug)]
struct Attribute {
    /// Its place on the board.
    id: String,
    device: usize,
    /// Name of the file in the device's folder.
    file: String,
    /// Multiplies the value into the attribute's unit; `spec` is undone before.
    unit: f64,
    spec: Spec,
    /// The file of the duty, of a fan.
    pwm: Option<String>,
    open: Option<File>,
    broken: Option<Broken>,
    written: String,
}

/// A sensor that a chip is asked for.
#[derive(Debug)]
struct Register {
    id: String,
    chip: usize,
    /// None of a drive, which is asked for its temperature.
    asked: Option<Asked>,
    spec: Spec,
    broken: Option<Broken>,
}

/// A sensor that is a line.
#[derive(Debug)]
struct Wire {
    id: String,
    kind: Kind,
    device: Option<String>,
    /// An alert that is given, or something that is not there.
    broken: bool,
}

#[derive(Debug)]
struct Device {
    id: String,
    /// Its bus, or itself.
    bus: String,
    removable: bool,
    /// It is a chip that the kernel has no driver for.
    chip: Option<usize>,
    /// Path of the device below `devices`.
    path: PathBuf,
    class: ChannelClass,
    name: String,
    /// Its folder of the class while it is there, and the link to that.
    folder: Option<(PathBuf, PathBuf)>,
    /// Labels by attribute file.
    labels: Vec<(String, String)>,
}

/// An EEPROM with the FRU image of a part.
#[derive(Debug)]
struct Eeprom {
    id: String,
    bus: String,
    /// Folder of the device below `devices`.
    path: PathBuf,
    /// What is in it while it is pulled.
    pulled: Option<Vec<u8>>,
    /// Its bus hangs, and who reads it waits.
    hangs: bool,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    devices: Vec<Device>,
    attributes: Vec<Attribute>,
    /// Their probes come after those of the attributes.
    registers: Vec<Register>,
    wires: Vec<Wire>,
    buses: Buses,
    eeproms: Vec<Eeprom>,
    plant: Plant,
    hosts: Vec<String>,
    /// Which of them have handed over the tables of their firmware since they were switched on.
    told: Vec<bool>,
    vendor: String,
    model: String,
    load: f64,
    next_number: u32,
    faults: BTreeMap<String, String>,
}

/// The folders in which a kernel shows devices. They stay when all is made anew, as a kernel's do: what a daemon may do is held to the folders there were when it
/// began.
const FOLDERS: [&str; 5] = ["class/hwmon", "class/leds", "bus/iio/devices", "bus/i2c/devices", "devices"];

/// Removes all that is in a folder but the folders `kept`, of which what is in them goes.
fn clear(folder: &Path, kept: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_folder = entry.file_type()?.is_dir();
        let below: Vec<&str> = kept
            .iter()
            .filter_map(|path| {
                let (first, rest) = path.split_once('/').unwrap_or((path, ""));
                (name == *first).then_some(rest)
            })
            .collect();
        if is_folder && !below.is_empty() {
            clear(&path, &below)?;
        } else if is_folder {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Tree {
    /// Makes the folder anew; the folder itself, and those in which devices are shown, stay when they are there.
    pub(crate) fn make(board: &Board, seed: u32, run_dir: &Path) -> Result<Self, Error> {
        let root = run_dir.join(SYS);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Tree { path, source }
        };
        folder(&root).map_err(failed(&root))?;
        let (adapters, buses) = (Adapters::of(board), Buses::new(board));
        let eeproms = eeproms(board, &adapters, &root);
        clear(&root, &FOLDERS).map_err(failed(&root))?;
        for name in FOLDERS {
            folder(&root.join(name)).map_err(failed(&root.join(name)))?;
        }
        for led in &board.leds {
            if let LedWire::Class(label) = &led.wire {
                light(&root, label).map_err(failed(&root))?;
            }
        }
        adapters.make(&root).map_err(failed(&root))?;
        let (devices, attributes, mut probes) = parts(board, &adapters, &buses);
        let (registers, wires) = others(board, &buses, &mut probes);
        for device in devices.iter().filter(|device| device.chip.is_none()) {
            client(&root, device).map_err(failed(&root))?;
        }
        let mut tree = Self {
            root,
            devices,
            attributes,
            registers,
            wires,
            buses,
            eeproms,
            plant: Plant::new(seed.into(), probes),
            hosts: board.hosts.iter().map(|host| host.id.as_str().to_owned()).collect(),
            told: vec![false; board.hosts.len()],
            vendor: board.vendor.clone(),
            model: board.model.clone(),
            load: 0.1,
            next_number: 0,
            faults: BTreeMap::new(),
        };
        for device in 0..tree.devices.len() {
            tree.plug(device).map_err(failed(&tree.root))?;
        }
        for eeprom in 0..tree.eeproms.len() {
            tree.insert(eeprom).map_err(failed(&tree.root))?;
        }
        tree.step(|_| false);
        Ok(tree)
    }

    /// Time passed. Which hosts have power is asked.
    pub(crate) fn step(&mut self, is_on: impl Fn(usize) -> bool) {
        let duties: Vec<f64> = self.attributes.iter().map(|attribute| self.duty(attribute)).collect();
        let is_on: Vec<bool> = (0..self.hosts.len()).map(is_on).collect();
        self.hand_over(&is_on);
        self.buses.power(&is_on);
        let on = is_on.contains(&true);
        self.plant.step(Millis::from(STEP), on, self.load, |probe| duties.get(probe).copied().unwrap_or(1.0));
        for index in 0..self.attributes.len() {
            if let Err(error) = self.show(index) {
                let id = self.attributes.get(index).map_or("", |attribute| &attribute.id);
                tracing::warn!(id, %error, "cannot write simulated sensor");
            }
        }
        for (index, register) in self.registers.iter().enumerate() {
            let (shown, spec) = (self.plant.shown(self.attributes.len() + index), &register.spec);
            let shown = (shown - spec.offset) / spec.scale;
            let Some(asked) = register.asked else {
                self.buses.warm(register.chip, shown, register.broken);
                continue;
            };
            let value = match register.broken {
                Some(Broken::Implausible) => self.buses.most(register.chip, asked),
                _ => Some(shown),
            };
            if let Some(value) = value {
                self.buses.set(register.chip, asked, value);
            }
        }
    }

    /// The I2C buses.
    pub(crate) fn buses(&mut self) -> &mut Buses {
        &mut self.buses
    }

    /// The lines of sensors, by their ids, and whether they are active.
    pub(crate) fn lines(&self) -> Vec<(String, bool)> {
        let level = |wire: &Wire| {
            let is_in = wire.device.as_deref().is_none_or(|id| self.is_in(id));
            let chip = wire.device.as_deref().and_then(|id| self.buses.find(id));
            match wire.kind {
                Kind::Presence => is_in && !wire.broken,
                _ => wire.broken || chip.is_some_and(|chip| self.buses.alerts(chip)),
            }
        };
        self.wires.iter().map(|wire| (wire.id.clone(), level(wire))).collect()
    }

    /// Whether a device is in the machine.
    fn is_in(&self, id: &str) -> bool {
        match self.buses.find(id) {
            Some(chip) => self.buses.is_in(chip),
            None => self
                .devices
                .iter()
                .find(|device| device.id == id)
                .is_none_or(|device| device.folder.is_some()),
        }
    }

    /// The firmware of a host that was switched on hands over its tables.
    fn hand_over(&mut self, is_on: &[bool]) {
        for ((host, told), is_on) in self.hosts.iter().zip(&mut self.told).zip(is_on) {
            let was = std::mem::replace(told, *is_on);
            if was || !is_on {
                continue;
            }
            let tables = twin::tables(&self.vendor, &self.model, host);
            if let Err(error) = replace(&self.root.join(hw::tables_of(host)), &tables) {
                tracing::warn!(host, %error, "cannot write SMBIOS tables of simulated host");
            }
        }
    }

    /// What the control socket asks of sensors; `None` for what is not about them.
    pub(crate) fn control(&mut self, request: &ControlRequest) -> Option<Outcome> {
        Some(match request {
            ControlRequest::Load { host, permille } => {
                if !self.hosts.contains(host) {
                    return Some(Outcome::NoHost);
                }
                self.load = f64::from((*permille).min(1_000)) / 1_000.0;
                Outcome::Done
            }
            ControlRequest::Break { id, fault } => self.break_all(&[(id.clone(), fault.clone())]),
            ControlRequest::BreakAll { faults } => self.break_all(faults),
            ControlRequest::Mend { id } => match self.mend(id.as_deref()) {
                Ok(()) => Outcome::Done,
                Err(reason) => Outcome::Invalid { reason },
            },
            ControlRequest::Broken => Outcome::Broken(self.faults.clone().into_iter().collect()),
            _ => return None,
        })
    }

    /// Whether something that may break is called so.
    fn knows(&self, id: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute.id == id)
            || self.registers.iter().any(|register| register.id == id)
            || self.wires.iter().any(|wire| wire.id == id)
            || self.devices.iter().any(|device| device.id == id)
            || self.buses.find(id).is_some()
            || self.buses.has(id)
            || (0..self.attributes.len()).any(|index| self.is_on(index, id))
    }

    /// Breaks all of these, or none.
    fn break_all(&mut self, faults: &[(String, String)]) -> Outcome {
        if let Some((id, _)) = faults.iter().find(|(id, _)| !self.knows(id)) {
            return Outcome::NoPart {
                reason: format!("there is no sensor, device, drive or bus {id:?} that can be broken"),
            };
        }
        let before = self.faults.clone();
        for (id, fault) in faults {
            match self.break_part(id, fault) {
                Ok(()) => {
                    self.faults.insert(id.clone(), fault.clone());
                }
                Err(reason) => {
                    self.take_back(faults, &before);
                    return Outcome::Invalid { reason };
                }
            }
        }
        Outcome::Done
    }

    /// Has these broken as they were `before`.
    fn take_back(&mut self, faults: &[(String, String)], before: &BTreeMap<String, String>) {
        for (id, _) in faults {
            let was = before.get(id);
            if self.faults.get(id) == was {
                continue;
            }
            let mended = if self.faults.contains_key(id) { self.mend(Some(id)) } else { Ok(()) };
            let again = was.map_or(Ok(()), |fault| -> Result<(), String> {
                self.break_part(id, fault)?;
                self.faults.insert(id.clone(), fault.clone());
                Ok(())
            });
            if let Err(reason) = mended.and(again) {
                tracing::warn!(id, reason, "cannot take fault of simulated machine back");
            }
        }
    }

    fn break_part(&mut self, id: &str, fault: &str) -> Result<(), String> {
        let known = ["missing", "stale", "implausible", "stuck", "slow", "removed", "hang", "asserted"];
        if !known.contains(&fault) {
            return Err(format!("there is no fault {fault:?}; there are {}", known.join(", ")));
        }
        if self.faults.contains_key(id) {
            self.mend(Some(id))?;
        }
        let failed = |error: io::Error| format!("{id} cannot be broken: {error}");
        if let Some(index) = self.attributes.iter().position(|attribute| attribute.id == id) {
            let broken = match fault {
                "missing" => Broken::Missing,
                "stale" => Broken::Stale,
                "implausible" => Broken::Implausible,
                "hang" => Broken::Hangs,
                "stuck" | "slow" if self.attributes.get(index).is_some_and(|fan| fan.pwm.is_some()) => {
                    let fault = if fault == "stuck" { FanHealth::Stuck } else { FanHealth::Slow(SLOW) };
                    self.plant.fan(index, fault);
                    return Ok(());
                }
                _ => return Err(format!("{id} is a sensor, which cannot be {fault}")),
            };
            return self.break_attribute(index, Some(broken)).map_err(failed);
        }
        if let Some(index) = self.registers.iter().position(|register| register.id == id) {
            return self.break_register(index, fault);
        }
        if let Some(wire) = self.wires.iter_mut().find(|wire| wire.id == id) {
            let means = if wire.kind == Kind::Presence { "removed" } else { "asserted" };
            if fault != means {
                return Err(format!("{id} is a line, which can be {means} and not {fault}"));
            }
            wire.broken = true;
            return Ok(());
        }
        if fault == "hang" {
            let of: Vec<usize> = (0..self.attributes.len()).filter(|index| self.is_on(*index, id)).collect();
            if of.is_empty() && !self.buses.has(id) {
                return Err(format!("there is no bus or sensor {id:?}"));
            }
            self.buses.hang(id, true);
            self.hang_eeproms(id, true).map_err(failed)?;
            return of
                .into_iter()
                .try_for_each(|index| self.break_attribute(index, Some(Broken::Hangs)))
                .map_err(failed);
        }
        match self.devices.iter().position(|device| device.id == id) {
            Some(at) if fault == "removed" && self.devices.get(at).is_some_and(|device| device.removable) => {
                self.unplug(at).map_err(failed)
            }
            Some(_) if fault == "removed" => {
                Err(format!("{id} cannot be pulled: its table does not say removable"))
            }
            Some(_) => Err(format!("{id} is a device, which can be removed and not {fault}")),
            None => match self.buses.find(id) {
                Some(drive) if fault == "removed" => {
                    self.buses.pull(drive);
                    Ok(())
                }
                Some(_) => Err(format!("{id} is a drive, which can be removed and not {fault}")),
                None if self.buses.has(id)
                    || (0..self.attributes.len()).any(|index| self.is_on(index, id)) =>
                {
                    Err(format!("{id} is a bus, which can hang and not {fault}"))
                }
                None => Err(format!("there is no sensor, device, drive or bus {id:?}")),
            },
        }
    }

    fn break_register(&mut self, index: usize, fault: &str) -> Result<(), String> {
        let Some(register) = self.registers.get_mut(index) else { return Ok(()) };
        let (chip, most) = (register.chip, register.spec.plausible.1);
        let id = &register.id;
        let Some(asked) = register.asked else {
            register.broken = Some(match fault {
                "missing" => Broken::Missing,
                "stale" => Broken::Stale,
                _ => return Err(format!("{id} is the temperature of a drive, which cannot be {fault}")),
            });
            return Ok(());
        };
        register.broken = Some(match fault {
            "missing" => {
                self.buses.refuse(chip, asked, true);
                Broken::Missing
            }
            "hang" => {
                self.buses.hang_at(chip, asked, true);
                Broken::Hangs
            }
            "implausible" => {
                let shown =
                    self.buses.most(chip, asked).map(|raw| raw * register.spec.scale + register.spec.offset);
                if shown.is_none_or(|shown| shown <= most) {
                    return Err(format!(
                        "{id} is counted in a format that holds no value which cannot be true"
                    ));
                }
                Broken::Implausible
            }
            "asserted" if matches!(asked.what, What::Status { .. }) => {
                self.buses.set(chip, asked, 1.0);
                Broken::Asserted
            }
            _ => return Err(format!("{id} is read over PMBus, which cannot be {fault}")),
        });
        Ok(())
    }

    fn mend(&mut self, id: Option<&str>) -> Result<(), String> {
        let Some(id) = id else {
            let all: Vec<String> = self.faults.keys().cloned().collect();
            return all.iter().try_for_each(|id| self.mend(Some(id)));
        };
        if self.faults.remove(id).is_none() {
            return Err(format!("{id} is not broken"));
        }
        let failed = |error: io::Error| format!("{id} cannot be mended: {error}");
        for index in 0..self.attributes.len() {
            let own = self.attributes.get(index).is_some_and(|attribute| attribute.id == id);
            if own {
                self.plant.fan(index, FanHealth::Good);
            }
            if own || self.is_on(index, id) {
                self.break_attribute(index, None).map_err(failed)?;
            }
        }
        for register in self.registers.iter_mut().filter(|register| register.id == id) {
            register.broken = None;
            let Some(asked) = register.asked else { continue };
            self.buses.refuse(register.chip, asked, false);
            self.buses.hang_at(register.chip, asked, false);
            if matches!(asked.what, What::Status { .. }) {
                self.buses.clear(register.chip);
            }
        }
        for wire in self.wires.iter_mut().filter(|wire| wire.id == id) {
            wire.broken = false;
        }
        self.buses.hang(id, false);
        self.hang_eeproms(id, false).map_err(failed)?;
        match self.devices.iter().position(|device| device.id == id) {
            Some(at) if !self.is_in(id) => self.plug(at).map_err(failed)?,
            Some(_) => {}
            None => {
                if let Some(drive) = self.buses.find(id).filter(|drive| !self.buses.is_in(*drive)) {
                    self.buses.put_in(drive);
                }
            }
        }
        Ok(())
    }

    /// Whether an attribute is on this bus.
    fn is_on(&self, attribute: usize, bus: &str) -> bool {
        let device = self.attributes.get(attribute).and_then(|attribute| self.devices.get(attribute.device));
        device.is_some_and(|device| device.bus == bus)
    }

    fn path(&self, attribute: &Attribute) -> Option<PathBuf> {
        let (folder, _) = self.devices.get(attribute.device)?.folder.as_ref()?;
        Some(folder.join(&attribute.file))
    }

    fn break_attribute(&mut self, index: usize, broken: Option<Broken>) -> io::Result<()> {
        let Some(attribute) = self.attributes.get(index) else { return Ok(()) };
        let (path, was) = (self.path(attribute), attribute.broken);
        if was == broken {
            return Ok(());
        }
        if let Some(path) = &path {
            // Who waits for it to be opened goes on, and finds that it is gone; it is held open until nobody can come to it any more.
            let _held = (was == Some(Broken::Hangs))
                .then(|| OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(path));
            if matches!(was, Some(Broken::Hangs)) || matches!(broken, Some(Broken::Missing | Broken::Hangs)) {
                remove(path)?;
            }
            if broken == Some(Broken::Hangs) {
                mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
                fs::set_permissions(path, Permissions::from_mode(0o644))?;
            }
        }
        if let Some(attribute) = self.attributes.get_mut(index) {
            attribute.broken = broken;
            attribute.open = None;
            attribute.written.clear();
        }
        self.show(index)
    }

    /// Writes what a sensor shows.
    fn show(&mut self, index: usize) -> io::Result<()> {
        let value = self.plant.shown(index);
        let Some(attribute) = self.attributes.get(index) else { return Ok(()) };
        let Some(path) = self.path(attribute) else { return Ok(()) };
        let text = match attribute.broken {
            Some(Broken::Missing | Broken::Hangs) => return Ok(()),
            Some(Broken::Stale) => String::new(),
            Some(Broken::Implausible) => "999999999999999".to_owned(),
            Some(Broken::Asserted) | None => {
                let spec = &attribute.spec;
                let raw = (value - spec.offset) / spec.scale * attribute.unit;
                format!("{:.0}", if raw.is_finite() { raw } else { 0.0 })
            }
        };
        let Some(attribute) = self.attributes.get_mut(index) else { return Ok(()) };
        if attribute.open.is_some() && attribute.written == text {
            return Ok(());
        }
        let file = match &attribute.open {
            Some(file) => file,
            None => attribute.open.insert(create(&path, 0o644)?),
        };
        file.write_all_at(format!("{text:\n<WIDTH$}").as_bytes(), 0)?;
        attribute.written = text;
        Ok(())
    }

    fn duty(&self, attribute: &Attribute) -> f64 {
        let Some(pwm) = &attribute.pwm else { return 1.0 };
        let folder = self.devices.get(attribute.device).and_then(|device| device.folder.as_ref());
        let text = folder.and_then(|(folder, _)| fs::read_to_string(folder.join(pwm)).ok());
        // A fan whose duty nobody sets runs at full speed, as such fans do.
        text.and_then(|text| text.trim().parse::<f64>().ok()).map_or(1.0, |duty| duty / PWM_MAX)
    }

    /// Makes a device's folder, under a number nobody had before.
    fn plug(&mut self, at: usize) -> io::Result<()> {
        let number = self.next_number;
        let Some(device) = self.devices.get_mut(at) else { return Ok(()) };
        if let Some(chip) = device.chip {
            self.buses.put_in(chip);
            return self.put_back(at);
        }
        // Links are relative, as in sysfs.
        let path = Path::new("devices").join(&device.path);
        let (own, link, up) = match device.class {
            ChannelClass::Hwmon => {
                let name = format!("hwmon{number}");
                (path.join("hwmon").join(&name), Path::new("class/hwmon").join(&name), "../..")
            }
            ChannelClass::Iio => {
                let name = format!("iio:device{number}");
                (path.join(&name), Path::new("bus/iio/devices").join(&name), "../../..")
            }
        };
        let target = Path::new(up).join(&own);
        let (own, link) = (self.root.join(own), self.root.join(link));
        folder(&own)?;
        if device.class == ChannelClass::Hwmon {
            let base = device.path.file_name().unwrap_or_default();
            symlink(Path::new("../../..").join(base), own.join("device"))?;
        }
        write(&own.join("name"), &format!("{}\n", device.name), 0o644)?;
        for (file, label) in &device.labels {
            write(&own.join(file), &format!("{label}\n"), 0o644)?;
        }
        device.folder = Some((own.clone(), link.clone()));
        self.next_number += 1;
        for index in 0..self.attributes.len() {
            let Some(attribute) = self.attributes.get_mut(index) else { continue };
            if attribute.device != at {
                continue;
            }
            attribute.open = None;
            if let Some(pwm) = &attribute.pwm {
                write(&own.join(pwm), "128\n", 0o664)?;
            }
            self.show(index)?;
        }
        // Last, so that who finds it finds all of it.
        symlink(target, &link)?;
        self.put_back(at)
    }

    /// Puts the EEPROM back that was pulled with a device.
    fn put_back(&mut self, at: usize) -> io::Result<()> {
        let id = self.devices.get(at).map(|device| device.id.clone()).unwrap_or_default();
        match self.eeproms.iter().position(|eeprom| eeprom.id == id && eeprom.pulled.is_some()) {
            Some(eeprom) => self.insert(eeprom),
            None => Ok(()),
        }
    }

    /// Makes an EEPROM's device, with what is in it.
    fn insert(&mut self, at: usize) -> io::Result<()> {
        let Some(eeprom) = self.eeproms.get_mut(at) else { return Ok(()) };
        let Some(bytes) = eeprom.pulled.take() else { return Ok(()) };
        let device = self.root.join("devices").join(&eeprom.path);
        folder(&device)?;
        // As the kernel's: its owner's, until the operator hands it over.
        create(&device.join("eeprom"), 0o600)?.write_all(&bytes)?;
        write(&device.join("name"), "24c02\n", 0o644)?;
        let name = eeprom.path.file_name().map(PathBuf::from).unwrap_or_default();
        let link = self.root.join("bus/i2c/devices").join(name);
        remove(&link)?;
        // As the kernel's: relative.
        symlink(Path::new("../../../devices").join(&eeprom.path), link)?;
        if self.buses.hangs(&eeprom.bus) { eeprom.hang(&self.root, true) } else { Ok(()) }
    }

    /// The EEPROMs of a bus hang with it, or do no longer.
    fn hang_eeproms(&mut self, bus: &str, hangs: bool) -> io::Result<()> {
        let of = self.eeproms.iter_mut().filter(|eeprom| eeprom.bus == bus && eeprom.pulled.is_none());
        // All of them, whatever becomes of one.
        of.map(|eeprom| eeprom.hang(&self.root, hangs)).fold(Ok(()), Result::and)
    }

    /// Takes the EEPROM with this id away; it keeps what is in it.
    fn take_out(&mut self, id: &str) -> io::Result<()> {
        let Some(eeprom) = self.eeproms.iter_mut().find(|eeprom| eeprom.id == id) else { return Ok(()) };
        eeprom.hang(&self.root, false)?;
        let file = self.root.join("devices").join(&eeprom.path).join("eeprom");
        eeprom.pulled = Some(fs::read(&file)?);
        remove(&file)
    }

    fn unplug(&mut self, at: usize) -> io::Result<()> {
        if let Some(chip) = self.devices.get(at).and_then(|device| device.chip) {
            self.buses.pull(chip);
            let id = self.devices.get(at).map(|device| device.id.clone()).unwrap_or_default();
            return self.take_out(&id);
        }
        let Some((folder, link)) = self.devices.get_mut(at).and_then(|device| device.folder.take()) else {
            return Ok(());
        };
        for attribute in &mut self.attributes {
            if attribute.device == at {
                attribute.open = None;
            }
        }
        remove(&link)?;
        fs::remove_dir_all(folder)?;
        let id = self.devices.get(at).map(|device| device.id.clone()).unwrap_or_default();
        self.take_out(&id)
    }
}

impl Eeprom {
    /// Has who reads or writes it wait from now on, or fail now and be served again. What is in it stays.
    fn hang(&mut self, root: &Path, hangs: bool) -> io::Result<()> {
        if self.hangs == hangs {
            return Ok(());
        }
        let device = root.join("devices").join(&self.path);
        let (file, held) = (device.join("eeprom"), device.join(HELD));
        if !hangs {
            // Who waits for it to be opened goes on, and finds nothing in it.
            let _open = OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(&file);
            fs::rename(held, file)?;
            self.hangs = false;
            return Ok(());
        }
        let whose = fs::metadata(&file)?;
        fs::rename(&file, held)?;
        // From here on there is something to put back.
        self.hangs = true;
        mknodat(rustix::fs::CWD, &file, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        fs::set_permissions(&file, whose.permissions())?;
        // As the operator has handed it over; who is not root made it for himself.
        let _ = std::os::unix::fs::chown(&file, Some(whose.uid()), Some(whose.gid()));
        Ok(())
    }
}

/// Where the content of an EEPROM is while its bus hangs.
const HELD: &str = ".eeprom";

/// `O_NONBLOCK`.
#[allow(clippy::cast_possible_wrap, reason = "it is one bit far from the sign")]
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// The EEPROMs of a board: with what they had in an earlier life of the folder, or what a factory writes.
fn eeproms(board: &Board, adapters: &Adapters, root: &Path) -> Vec<Eeprom> {
    let of = |fru: &board::Fru| {
        let path = adapters.place(&fru.location);
        let size = usize::try_from(fru.size).unwrap_or(usize::MAX);
        let part = match fru.kind {
            FruKind::Board | FruKind::Chassis => FruPart::Board,
            FruKind::PowerSupply => FruPart::PowerSupply,
            _ => FruPart::Other,
        };
        // In an earlier life its bus may have hung: whoever reads a file that stands for that waits.
        let device = root.join("devices").join(&path);
        let kept = [device.join("eeprom"), device.join(HELD)].into_iter().find(|file| file.is_file());
        let kept = kept.and_then(|file| fs::read(file).ok());
        let bytes = kept.filter(|bytes| bytes.len() == size).unwrap_or_else(|| {
            twin::image(part, &board.vendor, &board.model, fru.id.as_str(), size).unwrap_or_else(|error| {
                tracing::warn!(id = fru.id.as_str(), %error, "cannot write simulated EEPROM: left blank");
                vec![0xff; size]
            })
        });
        let bus = fru.bus.as_ref().map(|bus| bus.as_str().to_owned()).unwrap_or_default();
        Eeprom { id: fru.id.as_str().to_owned(), bus, path, pulled: Some(bytes), hangs: false }
    };
    board.frus.iter().map(of).collect()
}

/// The devices, attributes and probes of a board; probes stand as attributes do.
fn parts(board: &Board, adapters: &Adapters, buses: &Buses) -> (Vec<Device>, Vec<Attribute>, Vec<Probe>) {
    let mut devices = Vec::new();
    for device in &board.devices {
        let own = |input: &Input| matches!(input, Input::Channel { device: of, .. } if *of == device.id);
        let class = board.sensors.iter().find_map(|sensor| match &sensor.input {
            Input::Channel { class, .. } if own(&sensor.input) => Some(*class),
            _ => None,
        });
        devices.push(Device {
            id: device.id.as_str().to_owned(),
            bus: device.bus.as_ref().unwrap_or(&device.id).as_str().to_owned(),
            removable: device.removable,
            chip: buses.find(device.id.as_str()),
            path: adapters.place(&device.location),
            class: class.unwrap_or(ChannelClass::Hwmon),
            name: device.driver.clone().unwrap_or_else(|| device.id.as_str().to_owned()),
            folder: None,
            labels: Vec::new(),
        });
    }
    let (mut attributes, mut probes) = (Vec::<Attribute>::new(), Vec::new());
    for sensor in &board.sensors {
        let Input::Channel { device, class, channel, label } = &sensor.input else { continue };
        let Some(at) = devices.iter().position(|known: &Device| known.id == device.as_str()) else {
            continue;
        };
        // A channel that is found by its label has some number.
        let channel = match label {
            None => channel.clone(),
            Some(label) => {
                let taken = |name: &str| {
                    let file = format!("{name}_input");
                    attributes.iter().any(|known| known.device == at && known.file == file)
                };
                let name = (7..).map(|number| format!("{channel}{number}")).find(|name| !taken(name));
                let name = name.unwrap_or_else(|| channel.clone());
                if let Some(device) = devices.get_mut(at) {
                    device.labels.push((format!("{name}_label"), label.clone()));
                }
                name
            }
        };
        let kind = sensor.spec.kind;
        let fan = (kind == Kind::Fan).then(|| channel.trim_start_matches(|c: char| !c.is_ascii_digit()));
        let file = match class {
            _ if kind == Kind::Alert => channel.clone(),
            ChannelClass::Hwmon => format!("{channel}_input"),
            ChannelClass::Iio => format!("in_{channel}_raw"),
        };
        attributes.push(Attribute {
            id: sensor.id.as_str().to_owned(),
            device: at,
            file,
            unit: match (kind, class) {
                (Kind::Power | Kind::Energy, _) => 1e6,
                (Kind::Fan | Kind::Alert, _) => 1.0,
                (Kind::Pressure, _) => 1e-3,
                _ => 1e3,
            },
            spec: sensor.spec,
            pwm: fan.map(|number| format!("pwm{number}")),
            open: None,
            broken: None,
            written: String::new(),
        });
        probes.push(probe(sensor));
    }
    (devices, attributes, probes)
}

/// The sensors that are no attributes; their probes are added.
fn others(board: &Board, buses: &Buses, probes: &mut Vec<Probe>) -> (Vec<Register>, Vec<Wire>) {
    let (mut registers, mut wires) = (Vec::new(), Vec::new());
    for sensor in &board.sensors {
        let id = sensor.id.as_str().to_owned();
        match &sensor.input {
            Input::Pmbus { device, quantity } => {
                let Some(chip) = buses.find(device.as_str()) else { continue };
                registers.push(Register {
                    id,
                    chip,
                    asked: Some(*quantity),
                    spec: sensor.spec,
                    broken: None,
                });
                probes.push(probe(sensor));
            }
            Input::Drive { drive } => {
                let Some(chip) = buses.find(drive.as_str()) else { continue };
                registers.push(Register { id, chip, asked: None, spec: sensor.spec, broken: None });
                probes.push(probe(sensor));
            }
            Input::Line { device, .. } => {
                let device = device.as_ref().map(|device| device.as_str().to_owned());
                wires.push(Wire { id, kind: sensor.spec.kind, device, broken: false });
            }
            Input::Channel { .. } | Input::Computed { .. } => {}
        }
    }
    (registers, wires)
}

/// Where the adapters of the board's buses are below `devices`, with the numbers the kernel gave them.
#[derive(Debug)]
struct Adapters {
    all: Vec<(Adapter, PathBuf, u32)>,
    /// Links of multiplexers to the adapters of their channels.
    channels: Vec<(PathBuf, u32)>,
}

impl Adapters {
    fn of(board: &Board) -> Self {
        let mut adapters = Self { all: Vec::new(), channels: Vec::new() };
        // The buses without a multiplexer first: channels are below them.
        let is_channel =
            |adapter: &Adapter| matches!(adapter, Adapter::Path(path) if channel(path).is_some());
        let (below, above): (Vec<_>, Vec<_>) =
            board.i2c.iter().enumerate().partition(|(_, bus)| is_channel(&bus.adapter));
        for (index, bus) in above.into_iter().chain(below) {
            let number = match &bus.adapter {
                Adapter::Number(number) => *number,
                Adapter::Path(_) => 1_000 + u32::try_from(index).unwrap_or_default(),
            };
            let parent = match &bus.adapter {
                Adapter::Number(number) => PathBuf::from(format!("platform/i2c-bus.{number}")),
                Adapter::Path(path) => match channel(path) {
                    None => PathBuf::from(path.trim_matches('/')),
                    Some((above, multiplexer, channel)) => {
                        let above = adapters.folder(&Adapter::Number(above));
                        adapters.channels.push((above.join(multiplexer).join(channel), number));
                        above
                    }
                },
            };
            adapters.all.push((bus.adapter.clone(), parent.join(format!("i2c-{number}")), number));
        }
        adapters
    }

    /// The folder of an adapter, named by the board or not.
    fn folder(&self, adapter: &Adapter) -> PathBuf {
        match (self.all.iter().find(|(of, ..)| of == adapter), adapter) {
            (Some((_, folder, _)), _) => folder.clone(),
            (None, Adapter::Number(number)) => {
                PathBuf::from(format!("platform/i2c-bus.{number}/i2c-{number}"))
            }
            (None, Adapter::Path(path)) => PathBuf::from(path.trim_matches('/')).join("i2c-999"),
        }
    }

    /// The folder of a device.
    fn place(&self, location: &Location) -> PathBuf {
        match location {
            Location::Path(path) => PathBuf::from(path.trim_matches('/')),
            Location::I2c { adapter, address } => {
                let folder = self.folder(adapter);
                let bus = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let bus = bus.strip_prefix("i2c-").unwrap_or_default().to_owned();
                folder.join(format!("{bus}-{address:04x}"))
            }
        }
    }

    /// Makes them, with the links by which they are listed.
    fn make(&self, root: &Path) -> io::Result<()> {
        let list = root.join("bus/i2c/devices");
        for (_, path, number) in &self.all {
            let own = root.join("devices").join(path);
            folder(&own)?;
            write(&own.join("name"), &format!("simulated bus {number}\n"), 0o644)?;
            let name = path.file_name().unwrap_or_default();
            symlink(Path::new("../../../devices").join(path), list.join(name))?;
        }
        for (link, number) in &self.channels {
            let (Some(multiplexer), own) = (link.parent(), root.join("devices").join(link)) else { continue };
            let own_folder = root.join("devices").join(multiplexer);
            folder(&own_folder)?;
            write(&own_folder.join("name"), "pca9548\n", 0o644)?;
            symlink(format!("../i2c-{number}"), own)?;
            let listed = list.join(multiplexer.file_name().unwrap_or_default());
            remove(&listed)?;
            symlink(Path::new("../../../devices").join(multiplexer), listed)?;
        }
        Ok(())
    }
}

/// The number of the bus, the multiplexer and the channel of a path that ends with one: `3-0070/channel-1`.
fn channel(path: &str) -> Option<(u32, &str, &str)> {
    let (above, channel) = path.trim_matches('/').rsplit_once('/')?;
    let multiplexer = above.rsplit('/').next()?;
    let (number, _) = multiplexer.split_once('-')?;
    channel.starts_with("channel-").then_some((number.parse().ok()?, multiplexer, channel))
}

/// Lists a device on an I2C bus, with the driver that it has.
fn client(root: &Path, device: &Device) -> io::Result<()> {
    let Some(name) = device.path.file_name().filter(|_| device.bus != device.id) else { return Ok(()) };
    let own = root.join("devices").join(&device.path);
    folder(&own)?;
    write(&own.join("name"), &format!("{}\n", device.name), 0o644)?;
    let link = root.join("bus/i2c/devices").join(name);
    remove(&link)?;
    symlink(Path::new("../../../devices").join(&device.path), link)
}

/// Makes an LED of the kernel's class, dark: files that keep what is written to them. Those of the timer trigger are always there.
fn light(root: &Path, label: &str) -> io::Result<()> {
    let own = root.join("devices/platform/leds/leds").join(label);
    folder(&own)?;
    for (file, text, mode) in [
        ("max_brightness", "255", 0o644),
        ("brightness", "0", 0o664),
        ("trigger", "[none] timer heartbeat", 0o664),
        ("delay_on", "0", 0o664),
        ("delay_off", "0", 0o664),
    ] {
        write(&own.join(file), &format!("{text}\n"), mode)?;
    }
    symlink("../..", own.join("device"))?;
    // As the kernel's are: who reaches the folder by another path finds it all the same.
    symlink(Path::new("../../devices/platform/leds/leds").join(label), root.join("class/leds").join(label))
}

#[cfg(test)]
mod tests;
