//! Fan outputs through the kernel's hwmon class: `pwmN` and `pwmN_enable` (Documentation/hwmon/sysfs-interface.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hal::{Channel, ChannelClass, Error, FanBus, FanOutput};

use crate::sensor::hwmon_folder;

/// `pwmN_enable`: what is written to `pwmN` counts. 2 and more is some control of the chip's own.
const BY_HAND: u32 = 1;
/// `pwmN_enable`: nothing is controlled, and the fan runs as fast as it can.
const FULL_SPEED: u32 = 0;

/// The driver of these is like no other (Linux 6.12, `drivers/hwmon/pmbus/max31785.c`).
///
/// It takes parts of 255, as all do, and gives percents back: 128 is read as 50, 255 as 100. `pwmN` takes the output over by itself, whatever its mode was. A 1 written to
/// `pwmN_enable` is refused (ENXIO) unless `pwmN` was read since it was written; then it scales the percents it remembers once more, and the fan runs at two fifths of them.
const PECULIAR: &str = "max31785";

/// The outputs of one controller, below a folder that is laid out as `/sys`.
#[derive(Debug)]
pub struct SysfsFans {
    root: PathBuf,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    output: FanOutput,
    open: Option<Open>,
}

/// The open attributes of an output.
#[derive(Debug)]
struct Open {
    value: File,
    /// Not every chip has another mode than ours.
    mode: Option<File>,
    /// The driver is the one that gives percents and takes no mode.
    is_peculiar: bool,
}

impl SysfsFans {
    /// The outputs of one controller; `root` is `/sys`, or a folder that looks like it. Nothing is opened yet.
    pub fn new(root: &Path, outputs: Vec<FanOutput>) -> Self {
        let places = outputs.into_iter().map(|output| Place { output, open: None }).collect();
        Self { root: root.to_owned(), places }
    }
}

/// The files below `root` that driving this output writes, as far as it is there.
pub fn output_files(root: &Path, output: &FanOutput) -> Vec<PathBuf> {
    let Some(folder) = folder(root, output) else { return Vec::new() };
    let names = [output.output.clone(), format!("{}_enable", output.output)];
    names.into_iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}

impl FanBus for SysfsFans {
    fn set(&mut self, output: usize, value: u8) -> Result<(), Error> {
        let missing = || Error::Unavailable { what: format!("fan output {output}") };
        let place = self.places.get_mut(output).ok_or_else(missing)?;
        let what = place.output.to_string();
        if let Some(open) = &place.open {
            match open.set(value) {
                // The controller went, and may be back under another number.
                Err(error) if is_gone(&error) => place.open = None,
                result => return result.map_err(|source| fails(what, source)),
            }
        }
        let open = find(&self.root, &place.output).map_err(|source| fails(what.clone(), source))?;
        open.set(value).map_err(|source| fails(what, source))?;
        place.open = Some(open);
        Ok(())
    }

    fn raise(&mut self, output: usize, least: u8) -> Result<(), Error> {
        let found = |place: &Place| find(&self.root, &place.output).ok();
        let now = self.places.get(output).and_then(found).and_then(|open| open.value());
        self.set(output, now.map_or(least, |now| now.max(least)))
    }
}

impl Open {
    fn set(&self, value: u8) -> io::Result<()> {
        // Of a file of another file system than sysfs only the name goes.
        if self.value.metadata()?.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(mode) = self.mode.as_ref().filter(|_| !self.is_peculiar)
            && number(mode)? != BY_HAND
        {
            write(mode, BY_HAND)?;
        }
        write(&self.value, value.into())
    }

    /// What it is driven with, by whomever.
    fn value(&self) -> Option<u8> {
        match &self.mode {
            Some(mode) if number(mode).ok()? == FULL_SPEED => Some(u8::MAX),
            _ if self.is_peculiar => {
                // Rounded up: who keeps more than the least would else take something away.
                let parts = number(&self.value).ok()?.saturating_mul(u8::MAX.into()).div_ceil(100);
                Some(parts.try_into().unwrap_or(u8::MAX))
            }
            _ => number(&self.value).ok()?.try_into().ok(),
        }
    }
}

fn number(file: &File) -> io::Result<u32> {
    let mut buffer = [0; 16];
    let length = file.read_at(&mut buffer, 0)?;
    let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default()).unwrap_or_default();
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// In one write, as a driver takes a value. An attribute has no length; in a file that is none, nothing of a longer value stays behind.
fn write(file: &File, value: u32) -> io::Result<()> {
    let text = format!("{value}\n");
    match file.write_at(text.as_bytes(), 0)? {
        length if length == text.len() => {}
        _ => return Err(io::ErrorKind::WriteZero.into()),
    }
    let _ = file.set_len(text.len() as u64);
    Ok(())
}

fn folder(root: &Path, output: &FanOutput) -> Option<PathBuf> {
    let channel = Channel {
        location: output.location.clone(),
        driver: output.driver.clone(),
        class: ChannelClass::Hwmon,
        channel: output.output.clone(),
        label: None,
    };
    hwmon_folder(root, &channel)
}

fn find(root: &Path, output: &FanOutput) -> io::Result<Open> {
    let number = output.output.strip_prefix("pwm").unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let folder = folder(root, output).ok_or(io::ErrorKind::NotFound)?;
    let open = |name: &str| File::options().read(true).write(true).open(folder.join(name));
    let mode = match open(&format!("{}_enable", output.output)) {
        Ok(mode) => Some(mode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = std::fs::read_to_string(folder.join("name")).unwrap_or_default();
    Ok(Open { value: open(&output.output)?, mode, is_peculiar: name.starts_with(PECULIAR) })
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::NotFound
        || matches!(
            error.raw_os_error().map(Errno::from_raw_os_error),
            Some(Errno::NODEV | Errno::NXIO | Errno::REMOTEIO)
        )
}

fn fails(what: String, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Permission { what, source },
        _ if is_gone(&source) => Error::Unavailable { what },
        _ => Error::Io { operation: "drive", what, source },
    }
}
