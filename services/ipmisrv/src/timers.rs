//! What the next process of this daemon goes on with: the watchdog timer, boot flags that are to be taken back, and how far the log was filtered.
//!
//! It lies in memory (the run directory), written only when something of it changes, and names the boot it belongs to: the counts begin anew with the next
//! process, so no time of a clock is kept, and a start of the controller ends the timers.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use service::Folder;

use crate::boot_flags::BootOptions;
use crate::sel_log::Looked;
use crate::watch::{Runs, Watch};

const FILE: &str = "timers";
/// Bytes that name a boot.
const BOOT: usize = 36;
/// Longest content.
const LONGEST: usize = 4096;

/// What is kept. Keys that are not known are skipped, so that the release before and after can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Timers {
    /// How the watchdog timer is set; `None` before it ever was.
    watchdog: Option<[u8; 6]>,
    /// A user does not let it run.
    forbidden: bool,
    /// It runs, or what its end wants is not taken yet.
    pub(crate) runs: Option<Runs>,
    /// Boot flags that are to be taken back: whose, and the override's id.
    flags: Option<(String, String)>,
    /// Flags outlast a client that sends no Chassis Control.
    outlasts: bool,
    /// How far the log was filtered.
    pub(crate) looked: Looked,
}

impl Timers {
    /// As it is now; `reboots` is how often the machine has begun, and `looked` how far the log was filtered.
    pub(crate) fn of(
        watch: &Watch,
        boot: &BootOptions,
        looked: Looked,
        reboots: impl FnOnce() -> Option<u32>,
    ) -> Self {
        let is_running = watch.timer.deadline().is_some() || watch.pursuit.wants_something();
        Self {
            watchdog: watch.timer.saved(),
            forbidden: !watch.timer.is_allowed(),
            runs: watch.resumes.or_else(|| is_running.then(|| Runs { reboots: reboots() })),
            flags: boot.to_be_taken_back(),
            outlasts: boot.outlasts,
            looked,
        }
    }

    /// Whether something waits for time to pass.
    pub(crate) fn waits(&self) -> bool {
        self.runs.is_some() || self.flags.is_some()
    }

    /// Goes on with it: the timer is set, and runs again once the machine is known to be the one it ran for.
    pub(crate) fn restore(self, now: units::Mono, watch: &mut Watch, boot: &mut BootOptions) {
        let timer = self.watchdog.and_then(ipmi::watchdog::Watchdog::restored);
        watch.resumes = self.runs.filter(|_| timer.is_some() && !self.forbidden);
        watch.timer = timer.unwrap_or_default();
        watch.timer.allow(now, !self.forbidden);
        boot.outlasts = self.outlasts;
        if let Some((host, id)) = self.flags {
            boot.set(now, host, id);
        }
    }
}

/// The file, and the boot it is good for.
#[derive(Debug)]
pub(crate) struct TimersFile {
    place: Option<(Folder, [u8; BOOT])>,
    /// What it says.
    saved: Timers,
    /// Saving failed last time.
    failing: bool,
}

impl TimersFile {
    /// Opens the daemon's own folder of the run directory; where there is no such place, which is told, nothing is kept.
    pub(crate) fn open(folder: &Path) -> Self {
        let opened = Folder::create(folder).and_then(|folder| {
            let id = service::boot_id()?;
            let boot = id.as_bytes().first_chunk();
            Ok((folder, *boot.ok_or_else(|| io::Error::other("the kernel does not name its boot"))?))
        });
        let place = opened.inspect_err(
            |error| tracing::warn!(%error, "cannot save timers of IPMI: lost when ipmisrv restarts"),
        );
        let mut file = Self { place: place.ok(), saved: Timers::default(), failing: false };
        file.saved = file.load();
        file
    }

    fn load(&self) -> Timers {
        let Some((folder, boot)) = &self.place else { return Timers::default() };
        let read = folder.read(FILE, LONGEST).and_then(|bytes| match bytes.strip_prefix(boot) {
            Some(rest) => serde_json::from_slice(rest).map_err(io::Error::from),
            None => Ok(Timers::default()),
        });
        match read {
            Ok(timers) => timers,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Timers::default(),
            Err(error) => {
                tracing::warn!(%error, "cannot read saved timers of IPMI: the watchdog is stopped until it is set");
                Timers::default()
            }
        }
    }

    /// What an earlier process of this boot left.
    pub(crate) fn saved(&self) -> &Timers {
        &self.saved
    }

    /// Replaces it, where it says something else. Whether it is kept: where it is not, the next process goes on with what was kept before.
    pub(crate) fn save(&mut self, timers: Timers) -> bool {
        if self.saved == timers && !self.failing {
            return true;
        }
        let Some((folder, boot)) = &self.place else { return false };
        let bytes = serde_json::to_vec(&timers).map_err(io::Error::from);
        let saved = bytes.and_then(|bytes| folder.replace(FILE, &[&boot[..], &bytes].concat(), 0o600));
        if let Err(error) = &saved
            && !self.failing
        {
            tracing::warn!(%error, "cannot save timers of IPMI: lost when ipmisrv restarts");
        }
        (self.saved, self.failing) = (timers, saved.is_err());
        !self.failing
    }
}

#[cfg(test)]
mod tests {
    use ipmi::Command;
    use units::Mono;

    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn the_next_process_goes_on_with_both_and_the_one_after_it_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, mut boot) = (Watch::default(), BootOptions::default());
        let mut file = TimersFile::open(dir.path());
        assert!(!file.saved().waits());
        // SMS/OS, hard reset, 10 s.
        watch.timer.set(at(0), &[0x04, 0x01, 0, 0, 100, 0]).unwrap();
        file.save(Timers::of(&watch, &boot, Looked::default(), || panic!("it does not run")));
        assert!(!TimersFile::open(dir.path()).saved().waits(), "it is set, and does not run");
        watch.timer.reset(at(1)).unwrap();
        boot.set(at(2), "system".to_owned(), "b1".to_owned());
        file.save(Timers::of(&watch, &boot, Looked::default(), || Some(7)));
        // Killed twice, before anything was known of the machine.
        for _ in 0..2 {
            (watch, boot) = (Watch::default(), BootOptions::default());
            file = TimersFile::open(dir.path());
            assert!(file.saved().waits());
            file.saved().clone().restore(at(100), &mut watch, &mut boot);
            assert_eq!(watch.resumes, Some(Runs { reboots: Some(7) }));
            assert_eq!(watch.timer.deadline(), None, "nothing is known of the machine");
            assert_eq!(watch.timer.get(at(100)), [0x04, 0x01, 0, 0, 100, 0, 100, 0]);
            // The minute of the flags begins anew.
            assert_eq!(boot.deadline(), Some(at(160)));
            file.save(Timers::of(&watch, &boot, Looked::default(), || panic!("it is not asked for")));
        }
        // Flags that are being taken back are, until that is done.
        let request = boot.due(at(160)).unwrap();
        file.save(Timers::of(&watch, &boot, Looked::default(), || None));
        assert!(TimersFile::open(dir.path()).saved().flags.is_some());
        boot.not_taken_back(at(161), request);
        assert!(boot.due(at(166)).is_some());
        boot.taken_back();
        // Whoever sets it himself lives, and wants what he says.
        watch.used(Command::SetWatchdog);
        file.save(Timers::of(&watch, &boot, Looked::default(), || panic!("it does not run")));
        assert!(!TimersFile::open(dir.path()).saved().waits());
    }

    #[test]
    fn a_timer_that_was_switched_off_stays_so_in_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, mut boot) = (Watch::default(), BootOptions::default());
        for is_set in [false, true] {
            let mut file = TimersFile::open(dir.path());
            if is_set {
                watch.timer.set(at(0), &[0x04, 0x01, 0, 0, 100, 0]).unwrap();
            }
            watch.timer.allow(at(0), false);
            file.save(Timers::of(&watch, &boot, Looked::default(), || panic!("it does not run")));
            watch = Watch::default();
            let saved = TimersFile::open(dir.path()).saved().clone();
            assert!(!saved.waits());
            saved.restore(at(0), &mut watch, &mut boot);
            assert_eq!((watch.timer.is_allowed(), watch.timer.saved().is_some()), (false, is_set));
        }
        // A file of the release before, which knows no such switch.
        let path = dir.path().join(FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&bytes[..BOOT], br#"{"watchdog":[4,1,0,0,100,0]}"#].concat()).unwrap();
        TimersFile::open(dir.path()).saved().clone().restore(at(0), &mut watch, &mut boot);
        assert!(watch.timer.is_allowed() && watch.timer.saved().is_some());
    }

    #[test]
    fn what_cannot_be_kept_says_so_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("ipmisrv");
        let mut file = TimersFile::open(&place);
        let timers = |is_allowed: bool| {
            let mut watch = Watch::default();
            watch.timer.allow(at(0), is_allowed);
            Timers::of(&watch, &BootOptions::default(), Looked::default(), || None)
        };
        assert!(file.save(timers(false)));
        std::fs::remove_dir_all(&place).unwrap();
        assert!(file.save(timers(false)), "it says so already");
        assert!(!file.save(timers(true)));
        assert!(!file.save(timers(true)), "nor is it by asking twice");
    }

    #[test]
    fn what_is_of_another_boot_or_damaged_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut boot = BootOptions::default();
        boot.set(at(0), "system".to_owned(), "b1".to_owned());
        let mut file = TimersFile::open(dir.path());
        file.save(Timers::of(&Watch::default(), &boot, Looked::default(), || None));
        assert!(TimersFile::open(dir.path()).saved().waits());
        let path = dir.path().join(FILE);
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [
            &bytes[..20],
            &bytes[..BOOT],
            &bytes[..bytes.len() - 1],
            &[&[b'0'; BOOT], &bytes[BOOT..]].concat(),
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert!(!TimersFile::open(dir.path()).saved().waits(), "{}", damaged.len());
        }
        let newer = [&bytes[..bytes.len() - 1], br#","newer":1}"#].concat();
        std::fs::write(&path, newer).unwrap();
        assert!(TimersFile::open(dir.path()).saved().waits());
        // Settings of a watchdog that are none.
        let odd = [&bytes[..BOOT], br#"{"watchdog":[9,7,9,9,9,9],"runs":{"reboots":1}}"#].concat();
        std::fs::write(&path, odd).unwrap();
        let mut watch = Watch::default();
        TimersFile::open(dir.path()).saved().clone().restore(at(0), &mut watch, &mut boot);
        assert_eq!((watch.resumes, watch.timer.saved()), (None, None));
    }
}
