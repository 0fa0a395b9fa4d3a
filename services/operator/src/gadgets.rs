//! What the controller is to its hosts over USB: keyboards, pointers and drives, in one gadget for each host and port.
//!
//! ```text
//!  board: screens and media with usb ──► of ──► Gadgets ──► configfs (root's) ──► /dev/hidg*, given to the daemon of screens
//!                                                                          └──► lun.N/{file,ro,forced_eject}, given to that of media
//! ```
//!
//! They are made here because configfs is root's, and once: whatever daemon dies, a host keeps its devices. A controller of USB devices may come late,
//! with its driver.

use std::path::{Path, PathBuf};

use board::{Board, HalKind, MediaKind, Screen};
use hal_linux::gadget::{Drive, Function, Gadget, build, lun};
use rustix::mount::{MountFlags, mount};
use service::ErrorChain;

/// Where the kernel's configfs is.
pub(crate) const CONFIGFS: &str = "/sys/kernel/config";
/// The functions, by the names that they have in a gadget (docs/kvm.md).
const KEYBOARD: &str = "keyboard";
const POINTER: &str = "pointer";
/// That with the drives (docs/media.md).
const MEDIA: &str = "media";

/// The gadgets of a board.
#[derive(Debug)]
pub(crate) struct Gadgets {
    configfs: PathBuf,
    /// Those that are not there yet, and what was said about that.
    missing: Vec<(Gadget, String)>,
}

/// What a board's hosts are given.
fn of(board: &Board) -> Vec<Gadget> {
    if board.hal != HalKind::Linux {
        return Vec::new();
    }
    let hid = |name: &str, boot: u8, report_length: usize, descriptor: &[u8]| Function::Hid {
        name: name.to_owned(),
        subclass: boot,
        protocol: boot,
        report_length: u16::try_from(report_length).unwrap_or(u16::MAX),
        descriptor: descriptor.to_vec(),
    };
    let gadget = |screen: &Screen| {
        Some(Gadget {
            name: Screen::gadget(&screen.host),
            udc: screen.usb.clone()?,
            functions: vec![
                hid(KEYBOARD, 1, hid::KEYBOARD_REPORT, &hid::KEYBOARD),
                // No device of the boot protocol: that has no places, only ways.
                hid(POINTER, 0, hid::POINTER_REPORT, &hid::POINTER),
            ],
        })
    };
    let mut gadgets: Vec<Gadget> = board.screens.iter().filter_map(gadget).collect();
    for slot in &board.media {
        let (name, Some(udc)) = (Screen::gadget(&slot.host), slot.usb.clone()) else { continue };
        let drive = match slot.kind {
            MediaKind::Cd => Drive::Cd,
            MediaKind::Usb => Drive::Disk,
        };
        // A port takes one gadget: drives and keys of a host are functions of the same.
        let at = gadgets.iter().position(|gadget| gadget.name == name).unwrap_or_else(|| {
            gadgets.push(Gadget { name, udc, functions: Vec::new() });
            gadgets.len() - 1
        });
        let Some(Gadget { functions, .. }) = gadgets.get_mut(at) else { continue };
        match functions.last_mut() {
            Some(Function::MassStorage { luns, .. }) => luns.push(drive),
            _ => functions.push(Function::MassStorage { name: MEDIA.to_owned(), luns: vec![drive] }),
        }
    }
    gadgets
}

/// The files by which media of the board's drives are changed.
pub(crate) fn media_files(board: &Board) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (nth, slot) in board.media.iter().enumerate().filter(|(_, slot)| slot.usb.is_some()) {
        let before = board.media.iter().take(nth).filter(|other| other.host == slot.host).count();
        let number = u8::try_from(before).unwrap_or(u8::MAX);
        files.extend(lun(Path::new(CONFIGFS), &Screen::gadget(&slot.host), MEDIA, number).files());
    }
    files
}

impl Gadgets {
    /// Those of this board; none is made yet.
    pub(crate) fn new(board: &Board) -> Self {
        Self::at(Path::new(CONFIGFS), of(board))
    }

    fn at(configfs: &Path, gadgets: Vec<Gadget>) -> Self {
        let missing = gadgets.into_iter().map(|gadget| (gadget, String::new())).collect();
        Self { configfs: configfs.to_owned(), missing }
    }

    /// Makes those that are missing and can be made by now. Called again and again.
    pub(crate) fn make(&mut self) {
        if self.missing.is_empty() {
            return;
        }
        self.mount();
        let configfs = &self.configfs;
        self.missing.retain_mut(|(gadget, told)| match build(configfs, gadget) {
            Ok(_) => {
                tracing::info!(gadget = gadget.name, controller = gadget.udc, "made USB gadget");
                false
            }
            Err(error) => {
                let error = ErrorChain(&error).to_string();
                if *told != error {
                    tracing::warn!(
                        gadget = gadget.name,
                        controller = gadget.udc,
                        error,
                        "cannot make USB gadget: retrying"
                    );
                    *told = error;
                }
                true
            }
        });
    }

    /// Its driver may bring it only now.
    fn mount(&self) {
        let is_there = self.configfs.join("usb_gadget").exists();
        if !is_there && self.configfs == Path::new(CONFIGFS) {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            // What comes of it is seen when a gadget is made.
            let _ = mount("configfs", CONFIGFS, "configfs", flags, None::<&std::ffi::CStr>);
        }
    }
}

/// The devices that a screen's keyboard and pointer are, as far as they are there.
pub(crate) fn devices(screen: &Screen) -> impl Iterator<Item = PathBuf> {
    let functions =
        Path::new(CONFIGFS).join("usb_gadget").join(Screen::gadget(&screen.host)).join("functions");
    let wanted = if screen.usb.is_some() { &[KEYBOARD, POINTER][..] } else { &[] };
    wanted.iter().filter_map(move |name| {
        hal_linux::hid_device(Path::new("/dev"), &functions.join(format!("hid.{name}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(screens: &str) -> Board {
        let text = format!(
            "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"linux\"\n[[hosts]]\nid = \"system\"\n[hosts.power]\nkind = \"buttons\"\n\
             power = \"a\"\npower_good = \"b\"\n{screens}"
        );
        board::parse(Path::new("board.toml"), &text, &[]).into_board().unwrap()
    }

    #[test]
    fn a_host_has_a_keyboard_that_firmware_knows_and_a_pointer() {
        assert_eq!(of(&board("")), []);
        assert_eq!(of(&board("[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\n")), []);
        let gadgets = of(&board("[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\nusb = \"p1\"\n"));
        let [Gadget { name, udc, functions }] = gadgets.as_slice() else { panic!("{gadgets:?}") };
        assert_eq!((name.as_str(), udc.as_str()), ("u-bmc-system", "p1"));
        let folders: Vec<_> = functions.iter().map(Function::folder).collect();
        assert_eq!(folders, ["hid.keyboard", "hid.pointer"]);
        assert!(matches!(&functions[0], Function::Hid { subclass: 1, protocol: 1, report_length: 8, .. }));
    }

    #[test]
    fn drives_of_a_host_are_of_the_gadget_that_has_its_keys() {
        let media = "[[media]]\nid = \"cd\"\nhost = \"system\"\nusb = \"p1\"\n[[media]]\nid = \"usb\"\nhost = \"system\"\nkind = \"usb\"\nusb = \"p1\"\n";
        let folders = |gadget: &Gadget| gadget.functions.iter().map(Function::folder).collect::<Vec<_>>();
        let alone = of(&board(media));
        assert_eq!((alone.len(), folders(&alone[0])), (1, vec!["mass_storage.media".to_owned()]));
        let luns = vec![Drive::Cd, Drive::Disk];
        assert_eq!(alone[0].functions, [Function::MassStorage { name: MEDIA.to_owned(), luns }]);
        let screen = "[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\nusb = \"p1\"\n";
        let both = of(&board(&format!("{screen}{media}")));
        assert_eq!((both.len(), folders(&both[0]).len()), (1, 3));
        let files = media_files(&board(media));
        assert_eq!(files.len(), 6);
        assert!(files[3].ends_with("u-bmc-system/functions/mass_storage.media/lun.1/file"), "{files:?}");
    }

    #[test]
    fn a_gadget_that_cannot_be_made_yet_stays_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = of(&board("[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\nusb = \"p1\"\n"));
        let nothing = dir.path().join("file");
        std::fs::write(&nothing, "").unwrap();
        let mut gadgets = Gadgets::at(&nothing, wanted.clone());
        gadgets.make();
        assert!(gadgets.missing.iter().all(|(_, told)| !told.is_empty()) && gadgets.missing.len() == 1);
        let mut gadgets = Gadgets::at(dir.path(), wanted);
        gadgets.make();
        assert!(gadgets.missing.is_empty());
        let bound = std::fs::read_to_string(dir.path().join("usb_gadget/u-bmc-system/UDC")).unwrap();
        assert_eq!(bound.trim(), "p1");
    }
}
