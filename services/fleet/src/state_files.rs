//! What the link keeps on the medium: its id, and how far the fleet has the events. One damaged bit costs neither the link nor an event.

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ipc::EventBuilder;
use schema::v1alpha1::{Event, EventSeverity};
use service::{Clock, ErrorChain, Folder};
use units::Lasting;

use crate::config::is_id;

/// The id in the clear, and its copy behind a checksum.
const ID: &str = "id";
const ID_COPY: &str = "id.copy";
const CURSOR: &str = "cursor";
/// No file here is longer.
const FILE_MAX: usize = 256;
const MODE: u32 = 0o600;

/// A file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) file: &'static str,
    pub(crate) what: String,
}

impl Finding {
    fn new(file: &'static str, what: impl Into<String>) -> Self {
        Self { file, what: what.into() }
    }

    /// The event that tells it: `event.fleet.<file>.damaged`.
    pub(crate) fn event(&self, clock: &Clock) -> Event {
        EventBuilder::new("fleet", "fleet", &self.file.replace('.', "-"), "damaged")
            .severity(EventSeverity::Warning)
            .message(format!("fleet/{}: {}", self.file, self.what))
            .at(clock.wall())
    }
}

/// What a file holds: nothing, something else, what the medium does not tell now, or what it should.
#[derive(Debug, PartialEq, Eq)]
enum FileState<T> {
    Nothing,
    Damaged,
    Unreadable(String),
    Sound(T),
}

fn read<T>(dir: &Path, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> FileState<T> {
    match Folder::open(dir).and_then(|folder| folder.read(name, FILE_MAX)) {
        Ok(bytes) => {
            std::str::from_utf8(&bytes).ok().and_then(parse).map_or(FileState::Damaged, FileState::Sound)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Nothing,
        // Something else than a file of this size stands there.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => FileState::Damaged,
        Err(error) => FileState::Unreadable(format!("it cannot be read: {}", ErrorChain(&error))),
    }
}

fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    Folder::create(dir)?.replace_durably(name, text.as_bytes(), MODE)
}

/// `<kind> <value> <checksum of both>`. The kind keeps a damaged file from looking like one of an older release, which had the value alone.
fn seal(kind: &str, value: &str) -> String {
    let text = format!("{kind} {value}");
    format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
}

fn unseal<'a>(kind: &str, text: &'a str) -> Option<&'a str> {
    let value = text.strip_prefix(kind)?.strip_prefix(' ')?.split(' ').next()?;
    (seal(kind, value) == text).then_some(value)
}

/// The id kept from an earlier start, or a new random one. It is kept twice; what is wrong with the files is found and mended, and never keeps
/// the link from starting.
///
/// # Errors
/// Only when there are no random numbers for a new one.
pub(crate) fn id(dir: &Path, findings: &mut Vec<Finding>) -> io::Result<String> {
    let plain = |text: &str| Some(text.trim()).filter(|id| is_id(id)).map(str::to_owned);
    let sealed = |text: &str| unseal(ID, text).filter(|id| is_id(id)).map(str::to_owned);
    let (first, second) = (read(dir, ID, plain), read(dir, ID_COPY, sealed));
    let damaged = |kept: &FileState<String>| match kept {
        FileState::Unreadable(why) => why.clone(),
        FileState::Nothing => "it is missing".to_owned(),
        FileState::Damaged | FileState::Sound(_) => "it is damaged".to_owned(),
    };
    let (id, mend, mend_copy) = match (first, second) {
        (FileState::Sound(id), FileState::Sound(same)) if id == same => (id, false, false),
        // Of a release that kept it once.
        (FileState::Sound(id), FileState::Nothing) => (id, false, true),
        (FileState::Sound(id), bad @ (FileState::Damaged | FileState::Unreadable(_))) => {
            findings.push(Finding::new(ID_COPY, format!("{}; it is made anew", damaged(&bad))));
            (id, false, true)
        }
        (FileState::Sound(_), FileState::Sound(id)) => {
            findings.push(Finding::new(ID, "it differs from its copy, which has a checksum and counts"));
            (id, true, false)
        }
        (bad, FileState::Sound(id)) => {
            findings.push(Finding::new(ID, format!("{}; its copy counts", damaged(&bad))));
            (id, true, false)
        }
        (FileState::Nothing, FileState::Nothing) => (new_id()?, true, true),
        // The id is there, perhaps, and can be read another time: nothing is written in its place.
        (FileState::Unreadable(why), _) | (_, FileState::Unreadable(why)) => {
            let what = format!("{why}, and there is no sound copy; this BMC has another id for this run");
            findings.push(Finding::new(ID, what));
            (new_id()?, false, false)
        }
        (FileState::Damaged, _) | (_, FileState::Damaged) => {
            let what = "it is damaged, and there is no sound copy; this BMC has a new id in the fleet";
            findings.push(Finding::new(ID, what));
            (new_id()?, true, true)
        }
    };
    let files = [(mend, ID, format!("{id}\n")), (mend_copy, ID_COPY, seal(ID, &id))];
    for (_, name, text) in files.into_iter().filter(|(mend, ..)| *mend) {
        if let Err(error) = write(dir, name, &text) {
            findings.push(Finding::new(name, format!("it cannot be kept: {}", ErrorChain(&error))));
        }
    }
    Ok(id)
}

fn new_id() -> io::Result<String> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("bmc-{}", HEXLOWER.encode(&random)))
}

/// The cursor's file.
#[derive(Debug)]
pub(crate) struct CursorFile {
    dir: PathBuf,
    saved: Option<u64>,
    unsaved: Lasting,
    clock: Clock,
}

impl CursorFile {
    /// Reads it. One that is damaged or cannot be read counts as none: everything in the log is sent again, and a fleet that keeps a stream drops
    /// what it has.
    pub(crate) fn open(dir: &Path, findings: &mut Vec<Finding>) -> Self {
        // A bare number is of a release that had no checksum.
        let number = |text: &str| {
            let value = unseal(CURSOR, text).unwrap_or(text.trim());
            value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
        };
        let again = "; every event in the log is sent again";
        let saved = match read(dir, CURSOR, number) {
            FileState::Sound(cursor) => Some(cursor),
            FileState::Nothing => None,
            FileState::Damaged => {
                findings.push(Finding::new(CURSOR, format!("it is damaged{again}")));
                None
            }
            FileState::Unreadable(why) => {
                findings.push(Finding::new(CURSOR, format!("{why}{again}")));
                None
            }
        };
        Self { dir: dir.to_owned(), saved, unsaved: Lasting::default(), clock: Clock::new() }
    }

    /// The number that was kept; zero for none.
    pub(crate) fn cursor(&self) -> u64 {
        self.saved.unwrap_or(0)
    }

    /// Keeps it, unless it is kept already. A failure is logged once a minute and tried again with the next save.
    pub(crate) async fn save(&mut self, cursor: u64) {
        if cursor == self.cursor() {
            return;
        }
        let dir = self.dir.clone();
        let writing = move || write(&dir, CURSOR, &seal(CURSOR, &cursor.to_string()));
        // A medium that takes its time holds only this.
        let written = tokio::task::spawn_blocking(writing).await.unwrap_or_else(|error| Err(error.into()));
        match written {
            Ok(()) => {
                self.saved = Some(cursor);
                if let Some(said) = self.unsaved.works(self.clock.now()) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "cursor saved again");
                }
            }
            Err(error) => {
                if let Some(said) = self.unsaved.fails(self.clock.now()) {
                    let file = self.dir.join(CURSOR);
                    tracing::warn!(%error, file = %file.display(), times = said.times, lasts = %said.lasts, "cannot save cursor");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id_of(dir: &Path) -> (String, usize) {
        let mut findings = Vec::new();
        (id(dir, &mut findings).unwrap(), findings.len())
    }

    fn cursor_of(dir: &Path) -> (u64, usize) {
        let mut findings = Vec::new();
        (CursorFile::open(dir, &mut findings).cursor(), findings.len())
    }

    /// Every file that one bad bit, a cut, a zeroed block or a folder in its place makes of this one.
    fn damages(sound: &[u8]) -> Vec<Vec<u8>> {
        let mut all =
            vec![Vec::new(), vec![0; sound.len()], vec![0xff; 4096], sound[..sound.len() / 2].to_vec()];
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            all.push(bytes);
        }
        all
    }

    #[test]
    fn an_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("not-there-yet");
        let (id, found) = id_of(&dir);
        assert!(is_id(&id), "{id}");
        assert_eq!((id_of(&dir), found), ((id, 0), 0));
    }

    #[test]
    fn whatever_happens_to_one_file_of_the_id_it_stays_and_the_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (id, _) = id_of(dir.path());
        for name in [ID, ID_COPY] {
            let path = dir.path().join(name);
            let sound = fs::read(&path).unwrap();
            for bytes in damages(&sound) {
                fs::write(&path, &bytes).unwrap();
                let (now, found) = id_of(dir.path());
                assert_eq!(now, id, "{name}: {bytes:?}");
                // White space after the clear id means nothing.
                let same = name == ID && std::str::from_utf8(&bytes).is_ok_and(|text| text.trim() == id);
                assert_eq!(found, usize::from(!same), "{name}: {bytes:?}");
                fs::write(&path, &sound).unwrap();
            }
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert_eq!(id_of(dir.path()), (id.clone(), 1), "a folder in the place of {name}");
            assert_eq!(fs::read(&path).unwrap(), sound, "it is put aside");
            assert_eq!(id_of(dir.path()), (id.clone(), 0), "and told once");
        }
    }

    #[test]
    fn two_damaged_files_make_a_new_id_that_is_kept_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let (id, _) = id_of(dir.path());
        fs::write(dir.path().join(ID), [0xff; 8]).unwrap();
        fs::write(dir.path().join(ID_COPY), "id x 00000000").unwrap();
        let (new, found) = id_of(dir.path());
        assert!(is_id(&new) && new != id && found == 1);
        assert_eq!(id_of(dir.path()), (new, 0));
    }

    #[test]
    fn the_id_of_a_release_that_kept_it_once_stays_and_gets_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(ID), "rack7-3\n").unwrap();
        assert_eq!(id_of(dir.path()), ("rack7-3".to_owned(), 0));
        fs::remove_file(dir.path().join(ID)).unwrap();
        assert_eq!(id_of(dir.path()), ("rack7-3".to_owned(), 1));
    }

    #[tokio::test]
    async fn a_damaged_cursor_is_told_and_never_leads_past_an_event() {
        let dir = tempfile::tempdir().unwrap();
        for cursor in [7, 48, 4_000_123, u64::MAX] {
            CursorFile::open(dir.path(), &mut Vec::new()).save(cursor).await;
            assert_eq!(cursor_of(dir.path()), (cursor, 0));
            let path = dir.path().join(CURSOR);
            let sound = fs::read(&path).unwrap();
            for bytes in damages(&sound) {
                fs::write(&path, &bytes).unwrap();
                assert_eq!(cursor_of(dir.path()), (0, 1), "{cursor}: {bytes:?}");
            }
            fs::write(&path, &sound).unwrap();
        }
    }

    #[tokio::test]
    async fn a_cursor_of_a_release_without_checksum_is_read_and_sealed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CURSOR), "42\n").unwrap();
        let mut file = CursorFile::open(dir.path(), &mut Vec::new());
        assert_eq!(file.cursor(), 42);
        file.save(43).await;
        assert!(fs::read_to_string(dir.path().join(CURSOR)).unwrap().starts_with("cursor 43 "));
    }

    #[tokio::test]
    async fn a_cursor_that_could_not_be_kept_is_kept_when_that_works_again() {
        let dir = tempfile::tempdir().unwrap();
        // In the place of their folder nothing can be kept.
        let state = dir.path().join("fleet");
        fs::write(&state, "").unwrap();
        let mut file = CursorFile::open(&state, &mut Vec::new());
        file.save(5).await;
        assert_eq!(file.cursor(), 0);
        fs::remove_file(&state).unwrap();
        file.save(5).await;
        assert_eq!(cursor_of(&state), (5, 0));
        // A folder in its place is told, and put aside when it is written.
        let path = state.join(CURSOR);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let mut findings = Vec::new();
        let mut file = CursorFile::open(&state, &mut findings);
        assert_eq!((file.cursor(), findings.len()), (0, 1));
        file.save(6).await;
        assert_eq!(cursor_of(&state), (6, 0));
    }
}
