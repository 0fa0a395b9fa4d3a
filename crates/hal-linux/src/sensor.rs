//! Sensors through the kernel's hwmon and IIO classes (Documentation/hwmon/sysfs-interface.rst, ABI/testing/sysfs-bus-iio).
//!
//! A device is found by where it is: the `device` link of each hwmon folder says so. Attributes stay open and are read by `pread`, which
//! spares looking up the path each time; when one says that its device is gone, it is looked for again.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hal::{Channel, ChannelClass, Limits, SampleError, SensorBus};
use sensors::Fault;

use crate::place::{matches, target};

/// The longest value of an attribute that is a number, with what may stand around it.
const VALUE_MAX: usize = 64;
/// The longest name or label.
const NAME_MAX: u64 = 256;
/// Folders of a class that are looked through.
const FOLDERS_MAX: usize = 4_096;
/// Channels of a kind on one device, for those found by label.
const NUMBERS_MAX: u32 = 64;

/// The channels of one bus, below a folder that is laid out as `/sys`.
#[derive(Debug)]
pub struct SysfsBus {
    root: PathBuf,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    channel: Channel,
    open: Option<Open>,
}

/// The open attributes of a channel.
#[derive(Debug)]
struct Open {
    value: File,
    /// Says that the driver knows the sensor to be broken (an open diode).
    fault: Option<File>,
    /// From the attribute's unit to the base unit: multiplied, after this was added.
    scale: f64,
    offset: f64,
    /// The attribute without its last part, for its limits: `…/temp1`.
    stem: PathBuf,
}

impl SysfsBus {
    /// The channels of one bus; `root` is `/sys`, or a folder that looks like it. Nothing is opened yet.
    pub fn new(root: &Path, channels: Vec<Channel>) -> Self {
        let places = channels.into_iter().map(|channel| Place { channel, open: None }).collect();
        Self { root: root.to_owned(), places }
    }
}

impl SensorBus for SysfsBus {
    fn read(&mut self, channel: usize) -> Result<f64, SampleError> {
        let place = self.places.get_mut(channel).ok_or(Fault::Missing)?;
        if let Some(open) = &place.open {
            match open.read() {
                // The device went, and may be back under another number.
                Err(SampleError { fault: Fault::Missing, .. }) => place.open = None,
                Err(error @ SampleError { fault: Fault::Io, .. }) => {
                    place.open = None;
                    return Err(error);
                }
                result => return result,
            }
        }
        let open = find(&self.root, &place.channel)?;
        let result = open.read();
        if !matches!(result, Err(SampleError { fault: Fault::Missing | Fault::Io, .. })) {
            place.open = Some(open);
        }
        result
    }

    fn limits(&mut self, channel: usize) -> Result<Limits, SampleError> {
        let open = self.places.get(channel).and_then(|place| place.open.as_ref());
        let open = open.ok_or(Fault::Missing)?;
        let limit = |name: &str| {
            let file = match File::open(with_suffix(&open.stem, name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            match number(&file) {
                Ok(value) => Ok(Some((value + open.offset) * open.scale)),
                // The driver has the attribute, and nothing in it.
                Err(SampleError { fault: Fault::Malformed | Fault::NoNewValue, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(Limits {
            min: limit("_min")?,
            max: limit("_max")?,
            lcrit: limit("_lcrit")?,
            crit: limit("_crit")?,
            emergency: limit("_emergency")?,
        })
    }
}

impl Open {
    fn read(&self) -> Result<f64, SampleError> {
        if let Some(fault) = &self.fault
            && number(fault)? != 0.0
        {
            return Err(Fault::Io.into());
        }
        let value = number(&self.value)?;
        Ok((value + self.offset) * self.scale)
    }
}

/// The number in an attribute.
fn number(file: &File) -> Result<f64, SampleError> {
    let mut buffer = [0; VALUE_MAX];
    let length = file.read_at(&mut buffer, 0).map_err(failed)?;
    // A file of another file system than sysfs keeps its content when its name is gone.
    if file.metadata().map_err(failed)?.nlink() == 0 {
        return Err(Fault::Missing.into());
    }
    let text = buffer.get(..length).unwrap_or_default().trim_ascii();
    if text.is_empty() {
        return Err(Fault::NoNewValue.into());
    }
    let text = std::str::from_utf8(text).map_err(|_| Fault::Malformed)?;
    text.parse::<f64>().map_err(|_| Fault::Malformed.into())
}

/// What an error of the kernel says about the sensor.
fn failed(source: io::Error) -> SampleError {
    use rustix::io::Errno;
    let fault = match source.raw_os_error().map(Errno::from_raw_os_error) {
        // The driver has nothing new: its cache is being filled, the device is busy measuring.
        Some(Errno::AGAIN | Errno::NODATA | Errno::BUSY) => Fault::NoNewValue,
        Some(Errno::TIMEDOUT) => Fault::TimedOut,
        // The file or the device behind it has gone; on I2C: nobody acknowledges the address.
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::REMOTEIO) => Fault::Missing,
        _ => Fault::Io,
    };
    SampleError { fault, source: Some(source) }
}

/// Finds a channel and opens its attributes.
fn find(root: &Path, channel: &Channel) -> Result<Open, SampleError> {
    let folder = match channel.class {
        ChannelClass::Hwmon => hwmon_folder(root, channel),
        ChannelClass::Iio => folder(root, "bus/iio/devices", "iio:device", channel),
    };
    let folder = folder.ok_or(Fault::Missing)?;
    match channel.class {
        ChannelClass::Hwmon => hwmon(&folder, channel),
        ChannelClass::Iio => iio(&folder, &channel.channel),
    }
}

/// The hwmon folder of the channel's device.
pub(crate) fn hwmon_folder(root: &Path, channel: &Channel) -> Option<PathBuf> {
    folder(root, "class/hwmon", "hwmon", channel)
}

/// The folder of the device's class.
fn folder(root: &Path, class: &str, prefix: &str, channel: &Channel) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root.join(class))
        .ok()?
        .take(FOLDERS_MAX)
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with(prefix)))
        .filter_map(|name| target(root, &Path::new(class).join(name)))
        .filter(|folder| is_at(root, folder, channel))
        .collect();
    // A device with two such folders: always the same one.
    found.sort();
    found.into_iter().next().map(|folder| root.join(folder))
}

/// Whether a folder of a class, by its path below `root`, is that of the channel's device.
fn is_at(root: &Path, folder: &Path, channel: &Channel) -> bool {
    // A hwmon folder has a link to its device; an IIO folder is in it.
    let device = match channel.class {
        ChannelClass::Hwmon => target(root, &folder.join("device")),
        ChannelClass::Iio => folder.parent().map(Path::to_owned),
    };
    let Some(device) = device.as_deref().and_then(|device| device.strip_prefix("devices").ok()) else {
        return false;
    };
    if !matches(root, device, &channel.location) {
        return false;
    }
    let name = || text(&root.join(folder).join("name"));
    channel.driver.as_deref().is_none_or(|driver| name().as_deref() == Some(driver))
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(NAME_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

fn with_suffix(stem: &Path, suffix: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn hwmon(folder: &Path, channel: &Channel) -> Result<Open, SampleError> {
    let name = match &channel.label {
        None => channel.channel.clone(),
        Some(label) => (0..NUMBERS_MAX)
            .map(|number| format!("{}{number}", channel.channel))
            .find(|name| text(&folder.join(format!("{name}_label"))).as_deref() == Some(label))
            .ok_or(Fault::Missing)?,
    };
    let stem = folder.join(&name);
    if name.ends_with("_alarm") || name.ends_with("_fault") {
        let value = File::open(&stem).map_err(failed)?;
        return Ok(Open { value, fault: None, scale: 1.0, offset: 0.0, stem });
    }
    let value = match File::open(with_suffix(&stem, "_input")) {
        // Some power sensors know an average only.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::open(with_suffix(&stem, "_average")).map_err(|_| failed(error))?
        }
        result => result.map_err(failed)?,
    };
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let scale = match kind {
        // Millivolts, millidegrees, milliamperes, thousandths of a percent.
        "in" | "temp" | "curr" | "humidity" => 1e-3,
        // Microwatts, microjoules.
        "power" | "energy" => 1e-6,
        _ => 1.0,
    };
    let fault = File::open(with_suffix(&stem, "_fault")).ok();
    Ok(Open { value, fault, scale, offset: 0.0, stem })
}

fn iio(folder: &Path, channel: &str) -> Result<Open, SampleError> {
    let kind = channel.trim_end_matches(|c: char| c.is_ascii_digit());
    // After scale: millivolts, milliamperes, millidegrees, thousandths of a percent; kilopascals.
    let unit = if kind == "pressure" { 1e3 } else { 1e-3 };
    let stem = folder.join(format!("in_{channel}"));
    if let Ok(value) = File::open(with_suffix(&stem, "_input")) {
        return Ok(Open { value, fault: None, scale: unit, offset: 0.0, stem });
    }
    let value = File::open(with_suffix(&stem, "_raw")).map_err(failed)?;
    // Of the channel, or of all channels of its kind; without one 1 and 0.
    let of = |what: &str, default: f64| -> Result<f64, SampleError> {
        for stem in [&stem, &folder.join(format!("in_{kind}"))] {
            if let Ok(file) = File::open(with_suffix(stem, what)) {
                return number(&file);
            }
        }
        Ok(default)
    };
    let (scale, offset) = (of("_scale", 1.0)?, of("_offset", 0.0)?);
    Ok(Open { value, fault: None, scale: scale * unit, offset, stem })
}
