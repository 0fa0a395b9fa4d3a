//! What the kernel tells of the reset before this boot.

use std::path::Path;

/// `WDIOF_CARDRESET` of `linux/watchdog.h`: the watchdog reset the machine.
const CARD_RESET: u32 = 0x0020;

/// Whether the watchdog `device` (`/dev/watchdog0`) reset the machine before this boot. Read from sysfs, so the device is not opened and not armed; `false` when the
/// kernel does not tell.
pub fn by_watchdog(device: &Path) -> bool {
    let Some(name) = device.file_name() else { return false };
    // `/dev/watchdog` is the first one.
    let name = if name == "watchdog" { "watchdog0".as_ref() } else { name };
    bites(&Path::new("/sys/class/watchdog").join(name).join("bootstatus"))
}

/// The file holds a number, decimal or with `0x`.
fn bites(file: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    let text = text.trim();
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    number.is_some_and(|bits| bits & CARD_RESET != 0)
}

/// Whether a kernel that panicked left its last words in memory: memory was kept then, so power was not lost. `false` when the kernel keeps none.
pub fn by_panic() -> bool {
    panicked(Path::new("/sys/fs/pstore"))
}

/// Records in memory only: those of a flash or a firmware outlive a loss of power.
fn panicked(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("dmesg-ramoops-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_understood() {
        let folder = std::env::temp_dir().join(format!("hal-linux-reset-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("bootstatus");
        for (text, expected) in
            [("32\n", true), ("0x20\n", true), ("0\n", false), ("1\n", false), ("", false), ("x", false)]
        {
            std::fs::write(&file, text).expect("written");
            assert_eq!(bites(&file), expected, "{text:?}");
        }
        assert!(!bites(&folder.join("nothing")) && !panicked(&folder.join("nothing")));
        std::fs::write(folder.join("dmesg-efi-1"), "").expect("written");
        assert!(!panicked(&folder), "kept over a loss of power");
        std::fs::write(folder.join("dmesg-ramoops-0"), "").expect("written");
        assert!(panicked(&folder));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
