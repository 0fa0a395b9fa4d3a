//! Where a device is, in sysfs: by its bus and address, or by the end of its path.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use hal::{Adapter, Location};

/// Where the kernel lists I2C adapters and the devices on them.
const I2C: &str = "bus/i2c/devices";
/// More of them are not looked through.
const DEVICES_MAX: usize = 4_096;

/// Where a link below `root` points to, below `root` as well. By its words, which are relative in sysfs: the folders above `root` may be out of
/// reach, and those below it are no links.
#[must_use]
pub fn target(root: &Path, link: &Path) -> Option<PathBuf> {
    let to = std::fs::read_link(root.join(link)).ok()?;
    if to.is_absolute() {
        return Some(to.strip_prefix(root).ok()?.to_owned());
    }
    let mut path = link.parent()?.to_owned();
    for part in to.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop().then_some(())?;
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// Whether a device's path below `/sys/devices` is that place.
#[must_use]
pub fn matches(root: &Path, device: &Path, location: &Location) -> bool {
    match location {
        Location::Path(path) => ends_with(device, path),
        Location::I2c { adapter, address } => {
            let Some(name) = device.file_name().and_then(|name| name.to_str()) else { return false };
            let Some((bus, at)) = name.split_once('-') else { return false };
            if u16::from_str_radix(at, 16) != Ok(*address) {
                return false;
            }
            match adapter {
                Adapter::Number(number) => bus.parse() == Ok(*number),
                // …/<adapter's device>/i2c-7/7-0048
                Adapter::Path(path) => {
                    let parent = device.parent().filter(|parent| parent.ends_with(format!("i2c-{bus}")));
                    parent.is_some_and(|parent| is_adapter(parent, path))
                        || (channel(path).is_some() && bus.parse().ok() == adapter_number(root, adapter))
                }
            }
        }
    }
}

/// The kernel's names (`4-0051`) of devices on I2C buses at these places that no driver has: one that did not answer when its driver looked for it
/// stays without, also once it is there.
#[must_use]
pub fn unbound<'l>(root: &Path, locations: impl Iterator<Item = &'l Location> + Clone) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(I2C)) else { return Vec::new() };
    let names = entries.take(DEVICES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_unbound = |name: &String| {
        let Some(device) = target(root, &Path::new(I2C).join(name)) else { return false };
        let mut places = locations.clone().filter(|location| matches!(location, Location::I2c { .. }));
        places.any(|location| matches(root, &device, location))
            && std::fs::symlink_metadata(root.join(&device).join("driver")).is_err()
    };
    names.filter(is_unbound).collect()
}

/// Has the kernel look for drivers of a device on an I2C bus, by its name there (Documentation/ABI/testing/sysfs-bus: `drivers_probe`). As long as the
/// bus takes: not on a thread that others wait for.
///
/// # Errors
/// The kernel does not; that no driver takes the device is no error.
pub fn probe(root: &Path, name: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .open(root.join("bus/i2c/drivers_probe"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, name.as_bytes()))
}

/// The kernel's number of an adapter; none while it is not there.
#[must_use]
pub fn adapter_number(root: &Path, adapter: &Adapter) -> Option<u32> {
    let path = match adapter {
        Adapter::Number(number) => return Some(*number),
        Adapter::Path(path) => path,
    };
    let entries = || {
        let entries = std::fs::read_dir(root.join(I2C)).ok()?.take(DEVICES_MAX);
        Some(entries.filter_map(|entry| Some(entry.ok()?.file_name())))
    };
    if let Some((multiplexer, channel)) = channel(path) {
        // The multiplexer has a link to the adapter of each channel, which is a child of the adapter above.
        let of = entries()?.filter_map(|name| target(root, &Path::new(I2C).join(name)));
        let found = of.filter(|device| ends_with(device, multiplexer)).find_map(|device| {
            let adapter = target(root, &device.join(channel))?;
            number(adapter.file_name()?)
        });
        if found.is_some() {
            return found;
        }
    }
    entries()?.find_map(|name| {
        let number = number(&name)?;
        let folder = target(root, &Path::new(I2C).join(&name))?;
        is_adapter(&folder, path).then_some(number)
    })
}

/// Whether `…/<device>/i2c-7` is the adapter of that device.
fn is_adapter(folder: &Path, path: &str) -> bool {
    folder.parent().is_some_and(|device| ends_with(device, path))
}

/// The multiplexer and the channel of a path that ends with one: `3-0070/channel-1`.
fn channel(path: &str) -> Option<(&str, &str)> {
    path.trim_end_matches('/').rsplit_once('/').filter(|(_, last)| last.starts_with("channel-"))
}

/// The number in `i2c-7`.
fn number(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("i2c-")?.parse().ok()
}

/// By whole names, and not by climbing.
fn ends_with(path: &Path, end: &str) -> bool {
    let end = Path::new(end.trim_matches('/'));
    end.components().next().is_some()
        && end.components().all(|part| matches!(part, Component::Normal(_)))
        && path.ends_with(end)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// As the kernel lays it out (drivers/i2c/i2c-mux.c): a channel's adapter is a child of the adapter above, and linked from the multiplexer.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join(I2C);
        std::fs::create_dir_all(&list).unwrap();
        let bus = "devices/platform/1e78a180.i2c/i2c-3";
        for folder in ["3-0070", "i2c-12/12-0058", "i2c-13/13-0058"] {
            std::fs::create_dir_all(root.path().join(bus).join(folder)).unwrap();
        }
        for (number, channel) in [(12, 0), (13, 1)] {
            let link = root.path().join(bus).join(format!("3-0070/channel-{channel}"));
            symlink(format!("../i2c-{number}"), link).unwrap();
        }
        for path in ["", "3-0070", "i2c-12", "i2c-13", "i2c-12/12-0058", "i2c-13/13-0058"] {
            let path = Path::new(bus).join(path);
            symlink(Path::new("../../..").join(&path), list.join(path.file_name().unwrap())).unwrap();
        }
        root
    }

    #[test]
    fn a_bus_is_found_by_its_device_and_behind_a_multiplexer_by_its_channel() {
        let root = tree();
        let of = |path: &str| adapter_number(root.path(), &Adapter::Path(path.to_owned()));
        assert_eq!(of("1e78a180.i2c"), Some(3));
        assert_eq!(of("platform/1e78a180.i2c/"), Some(3));
        assert_eq!((of("3-0070/channel-0"), of("i2c-3/3-0070/channel-1")), (Some(12), Some(13)));
        for gone in ["1e78a200.i2c", "78a180.i2c", "3-0070/channel-2", "3-0071/channel-0", "../i2c", ""] {
            assert_eq!(of(gone), None, "{gone}");
        }
        assert_eq!(adapter_number(root.path(), &Adapter::Number(9)), Some(9));
    }

    #[test]
    fn a_device_without_a_driver_is_looked_for_again() {
        let root = tree();
        let at = |channel: &str| Location::I2c { adapter: Adapter::Path(channel.to_owned()), address: 0x58 };
        let places = [at("3-0070/channel-0"), at("3-0070/channel-1"), Location::Path("3-0070".to_owned())];
        let mut found = unbound(root.path(), places.iter());
        found.sort();
        assert_eq!(found, ["12-0058", "13-0058"], "what is not named by its bus is somebody else's");
        let driver = root.path().join("devices/platform/1e78a180.i2c/i2c-3/i2c-12/12-0058/driver");
        // As the kernel's, to a folder that is far away.
        symlink("../../../../../../bus/i2c/drivers/at24", driver).unwrap();
        assert_eq!(unbound(root.path(), places.iter()), ["13-0058"]);
        assert_eq!(unbound(Path::new("/nowhere"), places.iter()), [""; 0]);
        assert!(probe(root.path(), "13-0058").is_err());
        let file = root.path().join("bus/i2c/drivers_probe");
        std::fs::write(&file, "").unwrap();
        probe(root.path(), "13-0058").unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "13-0058");
    }

    #[test]
    fn a_device_behind_a_multiplexer_is_that_of_its_channel() {
        let root = tree();
        let at = |path: &str| Location::I2c { adapter: Adapter::Path(path.to_owned()), address: 0x58 };
        let device = |bus: u32| PathBuf::from(format!("platform/1e78a180.i2c/i2c-3/i2c-{bus}/{bus}-0058"));
        for (path, bus, is) in [
            ("3-0070/channel-0", 12, true),
            ("3-0070/channel-0", 13, false),
            ("3-0070/channel-1", 13, true),
            ("1e78a180.i2c", 13, false),
        ] {
            assert_eq!(matches(root.path(), &device(bus), &at(path)), is, "{path} {bus}");
        }
        let plain = Location::I2c { adapter: Adapter::Path("1e78a180.i2c".to_owned()), address: 0x70 };
        assert!(matches(root.path(), Path::new("platform/1e78a180.i2c/i2c-3/3-0070"), &plain));
        let numbered = Location::I2c { adapter: Adapter::Number(13), address: 0x58 };
        assert!(
            matches(root.path(), &device(13), &numbered) && !matches(root.path(), &device(12), &numbered)
        );
    }
}
