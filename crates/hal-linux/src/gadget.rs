//! The USB devices that the controller is to a host: one composite gadget of the kernel's configfs (Documentation/usb/gadget_configfs.rst,
//! ABI/testing/configfs-usb-gadget, -hid and -mass-storage).
//!
//! ```text
//!  Gadget: the port and its functions ──► build ──► <configfs>/usb_gadget/<name>/functions/…, configs/c.1, UDC
//!  Lun: one drive of a mass-storage function ──► lun.N/{file,ro,forced_eject}
//! ```
//!
//! A port (UDC) takes one gadget, so keyboard, mouse and drives of a host are functions of the same one: built together, once, by who is root. What runs
//! afterwards never takes the gadget off its port, so that a disc that is changed interrupts no key. A drive is empty until a file is put into it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hal::Error;

use crate::fail;

/// Of the Linux Foundation, and its number for composite gadgets.
const VENDOR: &str = "0x1d6b";
const PRODUCT: &str = "0x0104";
/// The language of strings: English (United States).
const LANGUAGE: &str = "0x409";
/// What the gadget may draw from the port, in mA; it draws nothing, and a host refuses some that say so.
const MAX_POWER: &str = "250";
/// Drives of one mass-storage function at most; the kernel has 16.
const LUNS_MAX: u8 = 8;

/// What a host sees at one of its USB ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gadget {
    /// Its folder in configfs.
    pub name: String,
    /// The port, as `/sys/class/udc` calls it.
    pub udc: String,
    /// What it is made of.
    pub functions: Vec<Function>,
}

/// One function of a gadget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// A keyboard, a mouse (HID 1.11).
    Hid {
        /// Its name among those of its kind.
        name: String,
        /// `bInterfaceSubClass`: 1 for what firmware understands.
        subclass: u8,
        /// `bInterfaceProtocol`: 1 for keyboards, 2 for mice.
        protocol: u8,
        /// Bytes of a report at most.
        report_length: u16,
        /// The report descriptor.
        descriptor: Vec<u8>,
    },
    /// Drives with a medium that can be changed.
    MassStorage {
        /// Its name among those of its kind.
        name: String,
        /// What each drive is.
        luns: Vec<Drive>,
    },
}

/// What a drive of a mass-storage function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// A drive of CDs and DVDs: what is in it is read only, in blocks of 2,048 bytes.
    Cd,
    /// A stick, in blocks of 512 bytes.
    Disk,
}

impl Function {
    /// Its folder below `functions`.
    #[must_use]
    pub fn folder(&self) -> String {
        match self {
            Self::Hid { name, .. } => format!("hid.{name}"),
            Self::MassStorage { name, .. } => format!("mass_storage.{name}"),
        }
    }
}

/// A gadget that is at its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    folder: PathBuf,
}

impl Built {
    /// The numbers of the device that reports of a [`Function::Hid`] go through; `None` where there is none.
    #[must_use]
    pub fn hid(&self, name: &str) -> Option<(u32, u32)> {
        let text = fs::read_to_string(self.folder.join(format!("functions/hid.{name}/dev"))).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// A drive of a [`Function::MassStorage`].
    #[must_use]
    pub fn lun(&self, name: &str, lun: u8) -> Lun {
        Lun { folder: self.folder.join(format!("functions/mass_storage.{name}/lun.{lun}")) }
    }
}

/// Where the gadget of this name is, below a folder that is laid out as `/sys/kernel/config`.
fn folder(configfs: &Path, name: &str) -> PathBuf {
    configfs.join("usb_gadget").join(name)
}

/// The drive of a gadget that was built by another process.
#[must_use]
pub fn lun(configfs: &Path, gadget: &str, function: &str, lun: u8) -> Lun {
    Built { folder: folder(configfs, gadget) }.lun(function, lun)
}

/// Makes a gadget and puts it at its port. One that stands there as it is wanted stays as it is, with what is in its drives and on its keys; what is
/// other is taken away first.
///
/// # Errors
/// [`Error::Invalid`] for a gadget that cannot be, [`Error::Unavailable`] while there is no such port; what the system says.
pub fn build(configfs: &Path, gadget: &Gadget) -> Result<Built, Error> {
    check(gadget)?;
    let at = folder(configfs, &gadget.name);
    let built = Built { folder: at.clone() };
    if is_as_wanted(&at, gadget) {
        return Ok(built);
    }
    remove(configfs, &gadget.name)?;
    make(&at)?;
    for (file, value) in [
        ("idVendor", VENDOR),
        ("idProduct", PRODUCT),
        ("bcdDevice", "0x0100"),
        ("bcdUSB", "0x0200"),
        // The class is that of each interface, which belong together in pairs (USB ECN: Interface Association Descriptors).
        ("bDeviceClass", "0xef"),
        ("bDeviceSubClass", "0x02"),
        ("bDeviceProtocol", "0x01"),
    ] {
        put(&at.join(file), value)?;
    }
    let strings = at.join("strings").join(LANGUAGE);
    make(&strings)?;
    for (file, value) in
        [("manufacturer", "u-bmc"), ("product", "Virtual keyboard, mouse and media"), ("serialnumber", "1")]
    {
        put(&strings.join(file), value)?;
    }
    let config = at.join("configs/c.1");
    make(&config)?;
    put(&config.join("MaxPower"), MAX_POWER)?;
    let strings = config.join("strings").join(LANGUAGE);
    make(&strings)?;
    put(&strings.join("configuration"), "u-bmc")?;
    for function in &gadget.functions {
        let folder = at.join("functions").join(function.folder());
        make(&folder)?;
        write(&folder, function)?;
        let link = config.join(function.folder());
        symlink(&folder, &link).map_err(|source| fail::at("link", &link, source))?;
    }
    match put(&at.join("UDC"), &gadget.udc) {
        // So it says of a port that is not there, or not there yet.
        Err(Error::Io { source, .. })
            if source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
        {
            Err(Error::Unavailable { what: format!("USB port {}", gadget.udc) })
        }
        other => other,
    }?;
    Ok(built)
}

/// Takes a gadget off its port and away, with all that is in it. One that is not there is no error.
///
/// # Errors
/// What the system says.
pub fn remove(configfs: &Path, name: &str) -> Result<(), Error> {
    let at = folder(configfs, name);
    if !at.exists() {
        return Ok(());
    }
    if !bound_to(&at).is_empty() {
        put(&at.join("UDC"), "\n")?;
    }
    for config in below(&at.join("configs"))? {
        for entry in below(&config)? {
            if entry.is_symlink() {
                fs::remove_file(&entry).map_err(|source| fail::at("remove", &entry, source))?;
            }
        }
        take_folders(&config.join("strings"))?;
        take(&config)?;
    }
    for function in below(&at.join("functions"))? {
        // The first drive is the kernel's own, and goes with the function.
        for lun in below(&function)?.into_iter().filter(|entry| is_lun(entry) && !entry.ends_with("lun.0")) {
            take(&lun)?;
        }
        take(&function)?;
    }
    take_folders(&at.join("strings"))?;
    take(&at)
}

fn check(gadget: &Gadget) -> Result<(), Error> {
    let bad = |reason: &str| {
        Err(Error::Invalid { what: format!("USB gadget {}", gadget.name), reason: reason.to_owned() })
    };
    let is_name = |name: &str| {
        !name.is_empty() && !name.starts_with('.') && !name.contains(|c: char| c == '/' || c.is_control())
    };
    if !is_name(&gadget.name) || gadget.udc.is_empty() || gadget.udc.contains(char::is_control) {
        return bad("its name or its port is none");
    }
    if gadget.functions.is_empty() {
        return bad("it has no functions");
    }
    for (index, function) in gadget.functions.iter().enumerate() {
        let (Function::Hid { name, .. } | Function::MassStorage { name, .. }) = function;
        if !is_name(name) {
            return bad("a function's name is none");
        }
        if gadget.functions.iter().take(index).any(|other| other.folder() == function.folder()) {
            return bad("two functions have one name");
        }
        if let Function::MassStorage { luns, .. } = function
            && (luns.is_empty() || luns.len() > usize::from(LUNS_MAX))
        {
            return bad("a mass-storage function has one to eight drives");
        }
    }
    Ok(())
}

/// What a function's files say once it is made.
fn wanted(function: &Function) -> Vec<(String, Vec<u8>)> {
    let text = |file: &str, value: String| (file.to_owned(), value.into_bytes());
    match function {
        Function::Hid { subclass, protocol, report_length, descriptor, .. } => vec![
            text("subclass", subclass.to_string()),
            text("protocol", protocol.to_string()),
            text("report_length", report_length.to_string()),
            ("report_desc".to_owned(), descriptor.clone()),
        ],
        Function::MassStorage { luns, .. } => {
            // Without it a host that stalls an endpoint may wait for one that does not.
            let mut files = vec![text("stall", "0".to_owned())];
            for (index, drive) in luns.iter().enumerate() {
                let cdrom = u8::from(*drive == Drive::Cd);
                files.push(text(&format!("lun.{index}/removable"), "1".to_owned()));
                files.push(text(&format!("lun.{index}/cdrom"), cdrom.to_string()));
            }
            files
        }
    }
}

fn write(folder: &Path, function: &Function) -> Result<(), Error> {
    if let Function::MassStorage { luns, .. } = function {
        for index in 0..luns.len() {
            make(&folder.join(format!("lun.{index}")))?;
        }
    }
    for (file, value) in wanted(function) {
        put(&folder.join(file), &value)?;
    }
    if let Function::MassStorage { luns, .. } = function {
        for index in 0..luns.len() {
            put(&folder.join(format!("lun.{index}/ro")), "1")?;
        }
    }
    Ok(())
}

fn is_as_wanted(at: &Path, gadget: &Gadget) -> bool {
    let names = |folder: &Path| {
        let mut names: Vec<_> = below(folder)
            .unwrap_or_default()
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_owned()))
            .collect();
        names.sort();
        names
    };
    let mut folders: Vec<_> =
        gadget.functions.iter().map(|function| OsString::from(function.folder())).collect();
    folders.sort();
    let is_written = |function: &Function| {
        let folder = at.join("functions").join(function.folder());
        let luns = match function {
            Function::MassStorage { luns, .. } => luns.len(),
            Function::Hid { .. } => 0,
        };
        let count = below(&folder).unwrap_or_default().iter().filter(|entry| is_lun(entry)).count();
        count == luns
            && at.join("configs/c.1").join(function.folder()).is_symlink()
            && wanted(function).iter().all(|(file, value)| {
                let found = fs::read(folder.join(file)).unwrap_or_default();
                found == *value || found.trim_ascii_end() == value.as_slice()
            })
    };
    bound_to(at) == gadget.udc
        && names(&at.join("functions")) == folders
        && gadget.functions.iter().all(is_written)
}

/// The port that a gadget is at.
fn bound_to(at: &Path) -> String {
    fs::read_to_string(at.join("UDC")).unwrap_or_default().trim().to_owned()
}

fn is_lun(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"lun."))
}

fn make(folder: &Path) -> Result<(), Error> {
    // Made one by one: configfs has folders at some places only, and says so.
    let mut missing = Vec::new();
    let mut at = folder;
    while !at.exists() {
        missing.push(at);
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fail::at("make", folder, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn put(path: &Path, value: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, value).map_err(|source| fail::at("write", path, source))
}

fn below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(fail::at("read", folder, error)),
    };
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

fn take_folders(folder: &Path) -> Result<(), Error> {
    below(folder)?.iter().filter(|entry| entry.is_dir()).try_for_each(|entry| take(entry))
}

/// Removes one folder of configfs, whose files and fixed folders go with it. In a folder that only looks so they have to be removed.
fn take(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(folder),
        other => other,
    }
    .map_err(|source| fail::at("remove", folder, source))
}

/// One drive of a mass-storage function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lun {
    folder: PathBuf,
}

/// What is in a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// The file or block device.
    pub file: PathBuf,
    /// The host cannot write it.
    pub is_read_only: bool,
}

impl Lun {
    /// The files that who changes the medium needs to write.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 3] {
        ["file", "ro", "forced_eject"].map(|file| self.folder.join(file))
    }

    /// What is in it, if anything is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without such a drive; what the system says.
    pub fn medium(&self) -> Result<Option<Medium>, Error> {
        let text = |file: &str| {
            let path = self.folder.join(file);
            fs::read_to_string(&path).map_err(|source| fail::at("read", &path, source))
        };
        let file = text("file")?;
        let is_read_only = text("ro")?.trim() != "0";
        let file = file.trim_end_matches('\n');
        Ok((!file.is_empty()).then(|| Medium { file: file.into(), is_read_only }))
    }

    /// Puts a medium into it, in place of what is there.
    ///
    /// # Errors
    /// What the system says: the drive is empty then.
    pub fn insert(&self, medium: &Medium) -> Result<(), Error> {
        // What was there has to be out before `ro` may change.
        self.eject()?;
        put(&self.folder.join("ro"), if medium.is_read_only { "1" } else { "0" })?;
        put(&self.folder.join("file"), medium.file.as_os_str().as_encoded_bytes())
    }

    /// Takes the medium out, even where the host has locked the drive.
    ///
    /// # Errors
    /// What the system says.
    pub fn eject(&self) -> Result<(), Error> {
        if self.medium()?.is_none() {
            return Ok(());
        }
        let forced = self.folder.join("forced_eject");
        if forced.exists() {
            put(&forced, "1")?;
            if self.medium()?.is_none() {
                return Ok(());
            }
        }
        // Kernels before 5.18 have no such file; there a host that has locked the drive keeps it (`EBUSY`).
        put(&self.folder.join("file"), "\n")
    }
}

/// A [`Lun`] as a drive. Calls are made by a thread of its own: the kernel waits for the host's requests to end before it changes a medium.
#[cfg(feature = "gpio")]
#[derive(Debug)]
pub struct LunDrive {
    lun: Lun,
    worker: std::sync::Arc<crate::Worker>,
    /// It has put a medium in and not taken it out: that it is gone is the host's doing then, and else a gadget that was made anew.
    is_in: std::sync::atomic::AtomicBool,
}

#[cfg(feature = "gpio")]
impl LunDrive {
    /// The drive of this LUN. Nothing is opened yet.
    ///
    /// # Errors
    /// What the system says when there is no thread.
    pub fn new(lun: Lun) -> io::Result<Self> {
        let worker = std::sync::Arc::new(crate::Worker::start("media")?);
        Ok(Self { lun, worker, is_in: std::sync::atomic::AtomicBool::new(false) })
    }

    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(Lun) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let lun = self.lun.clone();
        let what = lun.folder.display().to_string();
        self.worker.call(operation, what, crate::WITHIN, move || call(lun)).await
    }
}

#[cfg(feature = "gpio")]
#[async_trait::async_trait]
impl hal::MediaDrive for LunDrive {
    async fn insert(&self, medium: &hal::DriveMedium) -> Result<(), Error> {
        let medium = Medium { file: medium.path.clone(), is_read_only: medium.is_read_only };
        let insert = move |lun: Lun| {
            if lun.medium()?.as_ref() == Some(&medium) { Ok(()) } else { lun.insert(&medium) }
        };
        self.call("insert", insert).await?;
        self.is_in.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    async fn eject(&self) -> Result<(), Error> {
        self.call("eject", |lun| lun.eject()).await?;
        self.is_in.store(false, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    async fn look(&self) -> Result<hal::Inside, Error> {
        let inside = self.call("read", |lun| lun.medium()).await?;
        let was_in = self.is_in.load(std::sync::atomic::Ordering::Relaxed);
        Ok(match inside {
            Some(_) => hal::Inside::Medium,
            // The kernel empties the file when the host takes the medium out.
            None if was_in => hal::Inside::EjectedByHost,
            None => hal::Inside::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gadget() -> Gadget {
        Gadget {
            name: "u-bmc-system".to_owned(),
            udc: "dummy_udc.0".to_owned(),
            functions: vec![
                Function::Hid {
                    name: "keyboard".to_owned(),
                    subclass: 1,
                    protocol: 1,
                    report_length: 8,
                    descriptor: vec![5, 1, 9, 6, 0x0a],
                },
                Function::MassStorage { name: "media".to_owned(), luns: vec![Drive::Cd, Drive::Disk] },
            ],
        }
    }

    fn read(at: &Path, file: &str) -> String {
        fs::read_to_string(at.join(file)).unwrap()
    }

    #[test]
    fn a_gadget_is_made_whole_and_stays_as_it_is_when_it_is_wanted_again() {
        let dir = tempfile::tempdir().unwrap();
        let built = build(dir.path(), &gadget()).unwrap();
        let at = dir.path().join("usb_gadget/u-bmc-system");
        assert_eq!(read(&at, "UDC"), "dummy_udc.0");
        assert_eq!(read(&at, "functions/hid.keyboard/protocol"), "1");
        assert_eq!(fs::read(at.join("functions/hid.keyboard/report_desc")).unwrap(), [5, 1, 9, 6, 0x0a]);
        assert_eq!(read(&at, "functions/mass_storage.media/lun.0/cdrom"), "1");
        assert_eq!(read(&at, "functions/mass_storage.media/lun.1/cdrom"), "0");
        assert_eq!(read(&at, "functions/mass_storage.media/lun.1/removable"), "1");
        assert!(at.join("configs/c.1/mass_storage.media").is_symlink());
        assert_eq!(built.hid("keyboard"), None, "a folder has no devices");
        fs::write(at.join("functions/hid.keyboard/dev"), "237:1\n").unwrap();
        assert_eq!(built.hid("keyboard"), Some((237, 1)));

        let lun = built.lun("media", 0);
        fs::write(at.join("functions/mass_storage.media/lun.0/file"), "").unwrap();
        lun.insert(&Medium { file: "/a".into(), is_read_only: true }).unwrap();
        build(dir.path(), &gadget()).unwrap();
        assert_eq!(
            lun.medium().unwrap(),
            Some(Medium { file: "/a".into(), is_read_only: true }),
            "it was left alone"
        );
        assert_eq!(super::lun(dir.path(), "u-bmc-system", "media", 0), lun);
    }

    #[test]
    fn a_gadget_that_is_other_than_wanted_is_made_anew_and_one_that_is_not_wanted_goes() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), &gadget()).unwrap();
        let mut other = gadget();
        other.functions.remove(0);
        other.functions.push(Function::MassStorage { name: "more".to_owned(), luns: vec![Drive::Disk] });
        build(dir.path(), &other).unwrap();
        let at = dir.path().join("usb_gadget/u-bmc-system");
        assert!(
            !at.join("functions/hid.keyboard").exists() && !at.join("configs/c.1/hid.keyboard").is_symlink()
        );
        assert!(at.join("functions/mass_storage.more/lun.0").is_dir());
        remove(dir.path(), "u-bmc-system").unwrap();
        assert!(!at.exists());
        remove(dir.path(), "u-bmc-system").unwrap();
    }

    #[test]
    fn what_cannot_be_a_gadget_is_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let with = |change: &dyn Fn(&mut Gadget)| {
            let mut gadget = gadget();
            change(&mut gadget);
            gadget
        };
        for bad in [
            with(&|gadget| gadget.name = "../x".to_owned()),
            with(&|gadget| gadget.name = String::new()),
            with(&|gadget| gadget.udc = String::new()),
            with(&|gadget| gadget.functions.clear()),
            with(&|gadget| {
                let again = gadget.functions[0].clone();
                gadget.functions.push(again);
            }),
            with(&|gadget| {
                gadget
                    .functions
                    .push(Function::MassStorage { name: "x".to_owned(), luns: vec![Drive::Cd; 9] });
            }),
        ] {
            assert!(matches!(build(dir.path(), &bad), Err(Error::Invalid { .. })), "{bad:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_medium_is_changed_and_ejected_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let built = build(dir.path(), &gadget()).unwrap();
        let at = dir.path().join("usb_gadget/u-bmc-system/functions/mass_storage.media/lun.1");
        let lun = built.lun("media", 1);
        assert!(matches!(built.lun("media", 7).medium(), Err(Error::Unavailable { .. })));
        fs::write(at.join("file"), "").unwrap();
        assert_eq!(lun.medium().unwrap(), None);
        lun.insert(&Medium { file: "/dev/nbd0".into(), is_read_only: false }).unwrap();
        assert_eq!((read(&at, "ro"), read(&at, "file")), ("0".to_owned(), "/dev/nbd0".to_owned()));
        // The kernel empties `file` when it is forced to; a folder does not, so what is left is taken out in the other way.
        fs::write(at.join("forced_eject"), "").unwrap();
        lun.insert(&Medium { file: "/b".into(), is_read_only: true }).unwrap();
        assert_eq!(
            (read(&at, "forced_eject"), read(&at, "ro"), read(&at, "file")),
            ("1".into(), "1".into(), "/b".into())
        );
        lun.eject().unwrap();
        assert_eq!(lun.medium().unwrap(), None);
        lun.eject().unwrap();
        assert!(lun.files().iter().all(|file| file.exists()));
    }
}
