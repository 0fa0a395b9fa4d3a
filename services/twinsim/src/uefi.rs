//! The firmware of a guest that is UEFI: OVMF's program, and the file in which each host's keeps its variables.
//!
//! That file is the host's own and lasts as the mailbox of its firmware does. Between two runs of the guest it is read and may be changed: whether the next
//! boot enters the set-up is said to UEFI firmware by a bit of the variable `OsIndications` (UEFI 2.10, 8.5.4), which the firmware clears as it enters.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use efivars::{BOOT_TO_SETUP, GLOBAL, KEPT, OS_INDICATIONS, Variable, Volume};

use crate::files;

/// Where Debian's package `ovmf` has its files.
pub(crate) const FOLDER: &str = "/usr/share/OVMF";

/// The program, and the variables as the factory has them, of one build each. The larger is what newer packages have.
const BUILDS: [(&str, &str); 2] = [("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd")];

/// The `count` of an `OsIndications` that was written here. It means nothing in a variable that nobody signs; EDK2 writes zero, so that what the system in the
/// guest asks for is told from what was asked for here and no boot has used.
const OURS: u64 = u64::from_le_bytes(*b"u-bmc\0\0\0");

/// Whether a boot enters the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// It does.
    Enter,
    /// It does not: something else was asked for.
    Skip,
    /// Nothing was asked for here: when the system in the guest has.
    AsTheSystemWants,
}

/// The files of one host's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uefi {
    code: PathBuf,
    template: PathBuf,
    variables: PathBuf,
}

impl Uefi {
    /// The firmware in `folder`, which keeps its variables in the file `variables`; `None` when it is not there.
    pub(crate) fn find(folder: &Path, variables: PathBuf) -> Option<Self> {
        BUILDS.iter().find_map(|(code, template)| {
            let (code, template) = (folder.join(code), folder.join(template));
            (code.is_file() && template.is_file()).then(|| Self {
                code,
                template,
                variables: variables.clone(),
            })
        })
    }

    /// The program, which a guest only reads.
    pub(crate) fn code(&self) -> &Path {
        &self.code
    }

    /// The variables, which a guest writes.
    pub(crate) fn variables(&self) -> &Path {
        &self.variables
    }

    /// Makes the variables ready for a boot. Those that are not there are as the factory has them; so are those in a file that is damaged or of another
    /// build, which is kept aside. No guest has them meanwhile.
    ///
    /// The file is the old one or the new one, whenever the twin dies.
    ///
    /// # Errors
    /// What the system says, or that the factory's are not understood.
    pub(crate) fn prepare(&self, setup: Setup) -> io::Result<()> {
        let template = read(&self.template)?;
        let kept = self.kept(template.len())?;
        let is_new = kept.is_none();
        let mut volume = match kept {
            Some(volume) => volume,
            None => Volume::parse(template).map_err(|damage| self.unusable(&damage))?,
        };
        let is_changed = ask(&mut volume, setup).map_err(|full| self.unusable(&full))?;
        if is_new || is_changed {
            self.keep(volume.bytes())?;
        }
        Ok(())
    }

    /// What an earlier guest left, of this length; `None` where that is nothing that can be used.
    fn kept(&self, length: usize) -> io::Result<Option<Volume>> {
        let bytes = match read(&self.variables) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damage = match Volume::parse(bytes) {
            Ok(volume) if volume.bytes().len() == length => return Ok(Some(volume)),
            Ok(_) => "it is of another build of the firmware".to_owned(),
            Err(damage) => damage.to_string(),
        };
        let aside = self.beside("damaged");
        tracing::warn!(
            path = %self.variables.display(), aside = %aside.display(), damage,
            "UEFI variables of simulated host are lost"
        );
        std::fs::rename(&self.variables, &aside)?;
        Ok(None)
    }

    fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.beside("new");
        files::remove(&new)?;
        let mut file = files::create(&new, 0o600)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.variables)
    }

    /// The file of that name with one more ending.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.variables.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }

    fn unusable(&self, error: &dyn std::error::Error) -> io::Error {
        let what = if self.variables.is_file() { &self.variables } else { &self.template };
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", what.display()))
    }
}

/// Reads no more of a file than shows that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(efivars::BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Asks for the set-up, or takes that back; whether anything had to be changed.
fn ask(volume: &mut Volume, setup: Setup) -> Result<bool, efivars::Full> {
    let now = volume.get(GLOBAL, OS_INDICATIONS);
    let is_ours = now.is_some_and(|now| now.count == OURS);
    let bits = now.and_then(|now| Some(u64::from_le_bytes(*now.data.first_chunk()?))).unwrap_or(0);
    let is_asked = bits & BOOT_TO_SETUP != 0;
    let (bits, count) = match setup {
        Setup::Enter if !(is_asked && is_ours) => (bits | BOOT_TO_SETUP, OURS),
        Setup::Skip if is_asked => (bits & !BOOT_TO_SETUP, 0),
        Setup::AsTheSystemWants if is_asked && is_ours => (bits & !BOOT_TO_SETUP, 0),
        Setup::Enter | Setup::Skip | Setup::AsTheSystemWants => return Ok(false),
    };
    let data = bits.to_le_bytes();
    volume.set(GLOBAL, OS_INDICATIONS, Variable { attributes: KEPT, count, data: &data })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as of a package, and those of two hosts.
    fn installed(dir: &Path) -> [Uefi; 2] {
        let template = Volume::empty(64 * 1024, 32 * 1024).unwrap();
        std::fs::write(dir.join("OVMF_CODE.fd"), b"code").unwrap();
        std::fs::write(dir.join("OVMF_VARS.fd"), template.bytes()).unwrap();
        ["a", "b"].map(|host| Uefi::find(dir, dir.join(format!("guest-{host}.vars"))).unwrap())
    }

    fn kept(uefi: &Uefi) -> Volume {
        Volume::parse(std::fs::read(uefi.variables()).unwrap()).unwrap()
    }

    /// What is asked of the firmware, if anything is.
    fn bits(uefi: &Uefi) -> Option<u64> {
        let volume = kept(uefi);
        let variable = volume.get(GLOBAL, OS_INDICATIONS)?;
        Some(u64::from_le_bytes(variable.data.try_into().unwrap()))
    }

    /// The firmware, or a system in the guest, sets it.
    fn guest_sets(uefi: &Uefi, bits: u64) {
        let mut volume = kept(uefi);
        let data = bits.to_le_bytes();
        volume.set(GLOBAL, OS_INDICATIONS, Variable { attributes: KEPT, count: 0, data: &data }).unwrap();
        std::fs::write(uefi.variables(), volume.bytes()).unwrap();
    }

    #[test]
    fn firmware_is_found_whole_or_not_and_the_larger_build_first() {
        let dir = tempfile::tempdir().unwrap();
        let variables = || dir.path().join("guest-a.vars");
        assert_eq!(Uefi::find(dir.path(), variables()), None);
        let [older, _] = installed(dir.path());
        assert_eq!(Uefi::find(dir.path(), variables()), Some(older.clone()));
        assert!(older.code().ends_with("OVMF_CODE.fd"));
        std::fs::write(dir.path().join("OVMF_CODE_4M.fd"), b"").unwrap();
        assert_eq!(Uefi::find(dir.path(), variables()), Some(older));
        std::fs::write(dir.path().join("OVMF_VARS_4M.fd"), b"").unwrap();
        let newer = Uefi::find(dir.path(), variables()).unwrap();
        assert!(newer.code().ends_with("OVMF_CODE_4M.fd"));
        assert_eq!(newer.prepare(Setup::Skip).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(!newer.variables().exists());
    }

    #[test]
    fn the_set_up_is_asked_for_once_by_the_host_it_is_of() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = installed(dir.path());
        a.prepare(Setup::AsTheSystemWants).unwrap();
        b.prepare(Setup::Enter).unwrap();
        assert_eq!((bits(&a), bits(&b)), (None, Some(1)));
        // Its power was cut before it entered: the next boot does not, whoever restarted meanwhile.
        b.prepare(Setup::AsTheSystemWants).unwrap();
        assert_eq!(bits(&b), Some(0));
        b.prepare(Setup::Enter).unwrap();
        b.prepare(Setup::Enter).unwrap();
        assert_eq!(bits(&b), Some(1));
        b.prepare(Setup::Skip).unwrap();
        assert_eq!(bits(&b), Some(0));
        // What the system in the guest asks for stays, but where the boot is for something else; its other bits always do.
        guest_sets(&b, 5);
        b.prepare(Setup::AsTheSystemWants).unwrap();
        assert_eq!(bits(&b), Some(5));
        b.prepare(Setup::Enter).unwrap();
        assert_eq!(bits(&b), Some(5));
        b.prepare(Setup::AsTheSystemWants).unwrap();
        assert_eq!(bits(&b), Some(4));
        guest_sets(&b, 1);
        b.prepare(Setup::Skip).unwrap();
        assert_eq!(bits(&b), Some(0));
        // It is entered, and asked for anew.
        b.prepare(Setup::Enter).unwrap();
        guest_sets(&b, 0);
        b.prepare(Setup::Enter).unwrap();
        assert_eq!(bits(&b), Some(1));
        assert_eq!(bits(&a), None);
    }

    #[test]
    fn damaged_variables_are_kept_aside_and_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = installed(dir.path());
        let other = Volume::empty(128 * 1024, 32 * 1024).unwrap();
        let mut cut = Volume::empty(64 * 1024, 32 * 1024).unwrap().bytes().to_vec();
        cut[0..4096].fill(0xff);
        for damaged in [&b""[..], cut.as_slice(), other.bytes(), vec![0; efivars::BYTES_MAX + 9].as_slice()] {
            std::fs::write(a.variables(), damaged).unwrap();
            a.prepare(Setup::Enter).unwrap();
            assert_eq!(bits(&a), Some(1));
            assert_eq!(std::fs::read(a.beside("damaged")).unwrap(), damaged);
        }
        // A twin that died as it wrote.
        std::fs::write(b.beside("new"), b"half").unwrap();
        b.prepare(Setup::AsTheSystemWants).unwrap();
        assert_eq!(kept(&b), Volume::empty(64 * 1024, 32 * 1024).unwrap());
        assert!(!b.beside("new").exists() && !b.beside("damaged").exists());
    }

    #[test]
    fn what_cannot_be_written_is_told_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [a, _] = installed(dir.path());
        a.prepare(Setup::Skip).unwrap();
        let before = kept(&a);
        // Whoever the test runs as, a folder cannot be written as a file.
        std::fs::create_dir(a.beside("new")).unwrap();
        assert!(a.prepare(Setup::Enter).is_err());
        assert_eq!(kept(&a), before);
        // Nothing is to be written.
        a.prepare(Setup::AsTheSystemWants).unwrap();
        let nowhere = Uefi::find(dir.path(), dir.path().join("gone/guest-a.vars")).unwrap();
        assert!(nowhere.prepare(Setup::Skip).is_err());
    }
}
