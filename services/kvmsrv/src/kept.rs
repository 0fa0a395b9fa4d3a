//! What hosts showed before they went off or were reset: a look at each from time to time, of which the last is kept when that happens.
//!
//! ```text
//!  a look, each keep_secs ──► a sample of each screen ──┐
//!  event.host.<id>: off, reset ─────────────────────────┴─► kept/<id>/<when>-<taken>-<why>.png, the last four ──► event.kvm.<id>.kept
//! ```
//!
//! At a start they are looked at once: what is in the way of a folder or a picture is put aside, a picture that is not whole goes, and both are told.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::v1alpha1 as v1;
use schema::v1alpha1::event::Payload;
use service::Folder;
use units::{Allowance, Millis, Mono};

/// The folder, in the daemon's own.
const FOLDER: &str = "kept";
/// Pictures of a host.
const KEPT_MAX: usize = 4;
/// Bytes of one at most, as of a screenshot.
const BYTES_MAX: usize = 1024 * 1024;
/// A host that goes off and on all the time wears no flash out: one more is kept in this time.
const EACH: Millis = Millis::from_secs(600);

/// What was on a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) taken: SystemTime,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_png: bool,
}

/// One that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Milliseconds since 1970: when the host went off or was reset, by which it is called, and when it was on the screen.
    kept_ms: u64,
    taken_ms: u64,
    is_reset: bool,
    is_png: bool,
    size: u64,
}

impl Entry {
    fn parse(name: &str, size: u64) -> Option<Self> {
        let (stem, kind) = name.split_once('.')?;
        let mut parts = stem.split('-');
        let (kept_ms, taken_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let is_reset = match parts.next()? {
            "off" => false,
            "reset" => true,
            _ => return None,
        };
        let is_png = match kind {
            "png" => true,
            "jpg" => false,
            _ => return None,
        };
        parts.next().is_none().then_some(Self { kept_ms, taken_ms, is_reset, is_png, size })
    }

    fn file(&self) -> String {
        let Self { kept_ms, taken_ms, .. } = self;
        let why = if self.is_reset { "reset" } else { "off" };
        let kind = if self.is_png { "png" } else { "jpg" };
        format!("{kept_ms}-{taken_ms}-{why}.{kind}")
    }

    /// As it is shown.
    pub(crate) fn shown(&self, screen: &str) -> v1::KeptScreen {
        let at = |ms| Some((UNIX_EPOCH + Duration::from_millis(ms)).into());
        v1::KeptScreen {
            screen_name: screen.to_owned(),
            id: self.kept_ms.to_string(),
            taken_at: at(self.taken_ms),
            kept_at: at(self.kept_ms),
            reason: if self.is_reset { v1::KeptScreenReason::Reset } else { v1::KeptScreenReason::Off }
                .into(),
            size_bytes: self.size,
        }
    }

    pub(crate) fn is_png(&self) -> bool {
        self.is_png
    }

    /// For people.
    pub(crate) fn said(&self) -> &'static str {
        if self.is_reset { "was reset" } else { "went off" }
    }
}

/// The files. Calls block.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    state_dir: PathBuf,
}

impl Files {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    fn folder(&self, host: &str) -> PathBuf {
        self.state_dir.join(FOLDER).join(host)
    }

    /// Those of a host, newest first.
    pub(crate) fn list(&self, host: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let files = match std::fs::read_dir(self.folder(host)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            files => files?,
        };
        for file in files {
            let file = file?;
            let about = match file.metadata() {
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                about => about?,
            };
            let name = file.file_name();
            let entry = name.to_str().and_then(|name| Entry::parse(name, about.len()));
            entries.extend(entry.filter(|_| about.is_file()));
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.kept_ms));
        Ok(entries)
    }

    /// Looks at what is kept of these hosts, and says what is wrong with which file. What would keep pictures from being kept or listed is put aside; a picture
    /// that is not whole is removed.
    pub(crate) fn inspect(&self, hosts: &[String]) -> Vec<(String, String)> {
        let mut told = Vec::new();
        told.extend(clear(&self.state_dir, FOLDER).map(|what| (FOLDER.to_owned(), what)));
        for host in hosts {
            let of = clear(&self.state_dir.join(FOLDER), host);
            told.extend(of.map(|what| (format!("{FOLDER}/{host}"), what)));
            let path = self.folder(host);
            let (Ok(folder), Ok(files)) = (Folder::open(&path), std::fs::read_dir(&path)) else { continue };
            let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
            // Others are no pictures: what was put aside before, and what a write left that was cut off.
            let entries: Vec<(String, Entry)> =
                names.filter_map(|name| Entry::parse(&name, 0).map(|entry| (name, entry))).collect();
            for (name, entry) in entries {
                let what = damage(&folder, &name, &entry);
                told.extend(what.map(|what| (format!("{FOLDER}/{host}/{name}"), what)));
            }
        }
        told
    }

    /// Keeps one; it is on the medium when this returns, and the oldest ones are gone.
    pub(crate) fn keep(
        &self,
        host: &str,
        sample: &Sample,
        at: SystemTime,
        is_reset: bool,
    ) -> io::Result<Entry> {
        let entry = Entry {
            kept_ms: schema::time::unix_ms(at),
            taken_ms: schema::time::unix_ms(sample.taken),
            is_reset,
            is_png: sample.is_png,
            size: u64::try_from(sample.bytes.len()).unwrap_or(u64::MAX),
        };
        let folder = self.folder(host);
        std::fs::create_dir_all(&folder)?;
        // Room first: there are never more than that.
        for old in self.list(host)?.iter().skip(KEPT_MAX - 1) {
            std::fs::remove_file(folder.join(old.file()))?;
        }
        Folder::open(&folder)?.replace_durably(&entry.file(), &sample.bytes, 0o600)?;
        Ok(entry)
    }

    /// The one called so, or the newest.
    pub(crate) fn get(&self, host: &str, id: &str) -> io::Result<Option<(Entry, Vec<u8>)>> {
        let entries = self.list(host)?;
        let mut entries = entries.into_iter();
        let Some(entry) = entries.find(|entry| id.is_empty() || entry.kept_ms.to_string() == id) else {
            return Ok(None);
        };
        let bytes = Folder::open(&self.folder(host))?.read(&entry.file(), BYTES_MAX)?;
        Ok(Some((entry, bytes)))
    }
}

/// Puts aside what is in the way of a folder; what is to be told of that.
fn clear(parent: &Path, name: &str) -> Option<String> {
    match Folder::open(parent).and_then(|parent| parent.make_way_for_folder(name)) {
        Ok(false) => None,
        Ok(true) => Some("is no folder; put aside".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("cannot be looked at, nothing is kept there: {error}")),
    }
}

/// What is wrong with a picture that is kept, and became of it.
fn damage(folder: &Folder, name: &str, entry: &Entry) -> Option<String> {
    let what = match folder.read(name, BYTES_MAX) {
        Ok(bytes) if is_whole(entry, &bytes) => return None,
        Ok(_) => "is no whole picture".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
        // The medium may tell another time.
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let became = match folder.make_way_for_file(name) {
        Ok(true) => "put aside".to_owned(),
        Ok(false) => folder
            .remove(name)
            .map_or_else(|error| format!("cannot be removed: {error}"), |()| "removed".to_owned()),
        Err(error) => format!("cannot be put aside: {error}"),
    };
    Some(format!("{what}; {became}"))
}

/// Whether a picture is all there. Of a JPEG only its marks of beginning and end tell that (T.81, B.1.1.3): it has no sum.
fn is_whole(entry: &Entry, bytes: &[u8]) -> bool {
    if entry.is_png() {
        return rfb::is_png(bytes);
    }
    bytes.starts_with(&[0xff, 0xd8]) && bytes.windows(2).any(|pair| pair == [0xff, 0xd9])
}

/// What is known of one host's screen.
#[derive(Debug)]
pub(crate) struct Last {
    sample: Mutex<Option<Sample>>,
    allowance: Mutex<Allowance>,
    is_off: AtomicBool,
}

impl Default for Last {
    fn default() -> Self {
        let allowance = Allowance::new(u32::try_from(KEPT_MAX).unwrap_or(u32::MAX), 1, EACH);
        Self { sample: Mutex::default(), allowance: Mutex::new(allowance), is_off: AtomicBool::new(false) }
    }
}

impl Last {
    /// Whether there may be something to be seen.
    pub(crate) fn is_on(&self) -> bool {
        !self.is_off.load(Ordering::Relaxed)
    }

    pub(crate) fn saw(&self, sample: Sample) {
        *self.sample.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample);
    }

    /// Something happened to its host: what is to be kept for that.
    pub(crate) fn heard(&self, happened: &Happened, now: Mono) -> Option<Sample> {
        self.is_off.store(matches!(happened, Happened::Off { .. }), Ordering::Relaxed);
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match happened {
            Happened::On => return None,
            Happened::Off { at } => *at,
            // What was on the screen since it began is another boot's.
            Happened::Reset { begun, .. } => *begun,
        };
        let last = sample.take_if(|sample| sample.taken <= before)?;
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now).then_some(last)
    }
}

/// What happened to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    On,
    Off { at: SystemTime },
    Reset { begun: SystemTime, at: SystemTime },
}

impl Happened {
    /// What an event says of a host, and which.
    pub(crate) fn of(event: &v1::Event) -> Option<(&str, Self)> {
        let time = |stamp: Option<&_>| stamp.copied().and_then(|stamp| SystemTime::try_from(stamp).ok());
        match event.payload.as_ref()? {
            Payload::HostStateChange(change) => {
                let happened = match change.current_status() {
                    v1::HostStatus::Off => Self::Off { at: time(change.changed_at.as_ref())? },
                    v1::HostStatus::On => Self::On,
                    _ => return None,
                };
                Some((&change.host_name, happened))
            }
            Payload::PowerOperationResult(done)
                if done.action() == v1::HostAction::ForceRestart
                    && done.result() == v1::OperationResult::Done
                    && done.current_status() == v1::HostStatus::On =>
            {
                let at = time(done.completed_at.as_ref())?;
                let took = done.duration.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default();
                let begun = at.checked_sub(took).unwrap_or(at);
                Some((&done.component_name, Self::Reset { begun, at }))
            }
            _ => None,
        }
    }

    /// When, and whether by a reset.
    pub(crate) fn when(self) -> Option<(SystemTime, bool)> {
        match self {
            Self::On => None,
            Self::Off { at } => Some((at, false)),
            Self::Reset { at, .. } => Some((at, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn sample(seconds: u64) -> Sample {
        Sample { taken: at(seconds), bytes: seconds.to_string().into_bytes(), is_png: true }
    }

    #[test]
    fn the_last_four_are_kept_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        assert_eq!(files.list("system").unwrap(), []);
        assert_eq!(files.get("system", "").unwrap(), None);
        for nth in 0..6 {
            files.keep("system", &sample(nth * 10), at(nth * 10 + 1), nth == 5).unwrap();
        }
        std::fs::write(dir.path().join("kept/system/x.png"), "none of ours").unwrap();
        let files = Files::new(dir.path());
        let kept = files.list("system").unwrap();
        let ids: Vec<String> = kept.iter().map(|entry| entry.shown("system").id).collect();
        assert_eq!(ids, ["51000", "41000", "31000", "21000"]);
        let (newest, bytes) = files.get("system", "").unwrap().unwrap();
        assert_eq!((newest.shown("system").reason(), &bytes[..]), (v1::KeptScreenReason::Reset, &b"50"[..]));
        let (entry, bytes) = files.get("system", "31000").unwrap().unwrap();
        assert_eq!((entry.shown("system").taken_at, &bytes[..]), (Some(at(30).into()), &b"30"[..]));
        assert_eq!(files.get("system", "1").unwrap(), None);
        assert_eq!(files.list("other").unwrap(), []);
    }

    #[test]
    fn damage_is_told_once_and_keeps_nothing_from_being_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (time, at) = (at, |path: &str| dir.path().join(path));
        let (files, hosts) = (Files::new(dir.path()), ["system".to_owned(), "other".to_owned()]);
        assert_eq!(files.inspect(&hosts), [], "a first start");
        let png = rfb::png(&rfb::Screen::new(8, 8).unwrap(), 1).unwrap();
        let jpeg = vec![0xff, 0xd8, 1, 2, 3, 0xff, 0xd9, 0];
        let picture =
            |seconds, bytes: &[u8], is_png| Sample { taken: time(seconds), bytes: bytes.to_vec(), is_png };
        let keep = |seconds, bytes: &[u8], is_png| {
            files.keep("system", &picture(seconds, bytes, is_png), time(seconds), false).unwrap().file()
        };
        let names = [keep(1, &png, true), keep(2, &jpeg, false), keep(3, &png, true), keep(4, &jpeg, false)];
        let path = |name: &str| at("kept/system").join(name);
        assert_eq!(files.inspect(&hosts), []);

        // Two are cut, in place of one is a folder, one is whole.
        std::fs::write(path(&names[0]), &png[..png.len() / 2]).unwrap();
        std::fs::write(path(&names[1]), &jpeg[..4]).unwrap();
        std::fs::remove_file(path(&names[2])).unwrap();
        std::fs::create_dir(path(&names[2])).unwrap();
        assert_eq!(files.list("system").unwrap().len(), 3, "a folder is no picture");
        let mut told = files.inspect(&hosts);
        told.sort();
        let about = |name: &str, what: &str| (format!("kept/system/{name}"), what.to_owned());
        let mut wanted = vec![
            about(&names[0], "is no whole picture; removed"),
            about(&names[1], "is no whole picture; removed"),
            about(&names[2], "it is no file; put aside"),
        ];
        wanted.sort();
        assert_eq!(told, wanted);
        assert_eq!(files.inspect(&hosts), []);
        let kept: Vec<String> = files.list("system").unwrap().iter().map(Entry::file).collect();
        assert_eq!(kept, [names[3].clone()]);

        // A file where a host's folder is to be, and where all of them are: to list and to keep failed for good.
        for (place, told) in [("kept/system", "kept/system"), ("kept", "kept")] {
            std::fs::remove_dir_all(at(place)).unwrap();
            std::fs::write(at(place), "no folder").unwrap();
            assert!(files.list("system").is_err());
            assert_eq!(files.inspect(&hosts), [(told.to_owned(), "is no folder; put aside".to_owned())]);
            assert_eq!(files.list("system").unwrap(), []);
            keep(9, &png, true);
            assert_eq!(files.list("system").unwrap().len(), 1);
        }
    }

    #[test]
    fn what_was_seen_before_is_kept_once_and_what_was_seen_since_is_not() {
        let last = Last::default();
        assert_eq!(last.heard(&Happened::Off { at: at(5) }, Mono::ZERO), None, "nothing was seen");
        assert!(!last.is_on());
        assert_eq!(last.heard(&Happened::On, Mono::ZERO), None);
        assert!(last.is_on());
        last.saw(sample(10));
        assert_eq!(last.heard(&Happened::Off { at: at(11) }, Mono::ZERO), Some(sample(10)));
        assert_eq!(last.heard(&Happened::Off { at: at(12) }, Mono::ZERO), None, "it is kept");
        last.saw(sample(20));
        let reset = |begun, end| Happened::Reset { begun: at(begun), at: at(end) };
        assert_eq!(last.heard(&reset(19, 21), Mono::ZERO), None, "that is the boot after it");
        assert_eq!(last.heard(&reset(20, 21), Mono::ZERO), Some(sample(20)));
        // A host that comes and goes all the time.
        let kept = (30..90).filter(|second| {
            last.saw(sample(*second));
            last.heard(&Happened::Off { at: at(*second) }, Mono::ZERO).is_some()
        });
        assert_eq!(kept.count(), KEPT_MAX - 2);
    }

    #[test]
    fn an_event_says_what_happened_to_which_host() {
        let event = |payload| v1::Event { payload: Some(payload), ..v1::Event::default() };
        let state = |status: v1::HostStatus| {
            event(Payload::HostStateChange(v1::HostStateChange {
                host_name: "system".to_owned(),
                current_status: status.into(),
                changed_at: Some(at(7).into()),
                ..v1::HostStateChange::default()
            }))
        };
        assert_eq!(Happened::of(&state(v1::HostStatus::Off)), Some(("system", Happened::Off { at: at(7) })));
        assert_eq!(Happened::of(&state(v1::HostStatus::On)), Some(("system", Happened::On)));
        assert_eq!(Happened::of(&state(v1::HostStatus::Transitioning)), None);
        let done = |action: v1::HostAction| {
            event(Payload::PowerOperationResult(v1::PowerOperationResult {
                component_name: "system".to_owned(),
                action: action.into(),
                result: v1::OperationResult::Done.into(),
                current_status: v1::HostStatus::On.into(),
                completed_at: Some(at(7).into()),
                duration: Some(Duration::from_secs(2).try_into().unwrap()),
                ..v1::PowerOperationResult::default()
            }))
        };
        let reset = Happened::Reset { begun: at(5), at: at(7) };
        assert_eq!(Happened::of(&done(v1::HostAction::ForceRestart)), Some(("system", reset)));
        assert_eq!(Happened::of(&done(v1::HostAction::PowerCycle)), None, "it went off, which is told");
        assert_eq!(Happened::of(&v1::Event::default()), None);
    }
}
