//! The image this was booted from: what stage0 handed over, and the boot record.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use boot::{AREA_LEN, Found, HandOver, OtherSlot, PATIENCE, SlotState};
use hal_linux::block;
use rustix::rand::GetRandomFlags;
use schema::v1alpha1 as pb;
use service::{Clock, ErrorChain};
use tokio::task::JoinHandle;
use units::Lasting;

use super::modules::{self, Modules};
use super::record::{RecordError, RecordFile};
use super::{about, seed, shell, time};

/// What is known of the boot. There is one only on a machine that was booted from an image of ours: everywhere else the first
/// process touches neither clock nor modules nor flash.
#[derive(Debug)]
pub(crate) struct Image {
    hand_over: HandOver,
    record: RecordFile,
    /// The confirmation that is being written.
    confirming: Option<JoinHandle<Result<(), RecordError>>>,
    /// A factory reset that was refused is being taken back.
    settling: Option<JoinHandle<()>>,
    /// Why the last attempt to write it failed.
    unconfirmed: Option<String>,
    unwritten: Lasting,
    /// The slot had not worked before this boot, and the boots of it are counted.
    on_trial: bool,
    /// The record calls the slot good, from an earlier boot.
    confirmed_before: bool,
    /// Boot after boot came to nothing, whichever slot was tried.
    hopeless: bool,
    state_dir: PathBuf,
    noted: Option<SystemTime>,
    /// The modules that are not loaded yet.
    late: Vec<String>,
    works: bool,
    /// The version of the image in the other slot, once that is known, and what the record says of it.
    other: Arc<OnceLock<String>>,
    other_state: Option<SlotState>,
}

impl Image {
    /// Reads the hand-over and makes the machine ready for the daemons. `None` without a hand-over.
    pub(crate) fn start(state_dir: &Path) -> Option<Self> {
        let text = fs::read(HandOver::PATH).ok()?;
        let hand_over = match HandOver::parse(&text) {
            Ok(hand_over) => hand_over,
            Err(error) => {
                tracing::error!(%error, "cannot read stage0 handover: boot will not be confirmed");
                return None;
            }
        };
        if let Err(error) = hal_linux::net::loopback_up() {
            tracing::error!(error = %service::ErrorChain(&error), "cannot bring up loopback interface");
        }
        let directory = Path::new(modules::DIRECTORY);
        let modules = Modules::of_image(directory).unwrap_or_default();
        load_beside("of the network", modules.network);
        modules::load(directory, &modules.early);
        set_clock(state_dir);
        exchange_seed(state_dir);
        shell::start();
        let record = RecordFile::new(&hand_over.record.device);
        let found = record.read();
        if matches!(found, Found::Unreadable | Found::Newer) {
            tracing::error!(?found, "boot record unreadable");
        }
        let (on_trial, hopeless) = judge(found, &hand_over);
        let confirmed_before = matches!(found, Found::Known(record) if record.slot(hand_over.slot).state == SlotState::Confirmed);
        tracing::info!(
            slot = %hand_over.slot,
            version = %hand_over.version,
            flavour = %hand_over.flavour,
            data = ?hand_over.data,
            on_trial,
            "booted from an image"
        );
        let other = Arc::new(OnceLock::new());
        look_at_other(&hand_over, &other);
        let other_state = match found {
            Found::Known(record) => Some(record.slot(hand_over.slot.other()).state),
            // A new record calls all slots unconfirmed.
            Found::New => Some(SlotState::Unconfirmed),
            Found::Unreadable | Found::Newer => None,
        };
        if let Some(from) = hand_over.fell_back_from {
            tracing::error!(slot = %hand_over.slot, %from, reason = %hand_over.reason, "booted fallback slot");
        }
        Some(Self {
            hand_over,
            record,
            confirming: None,
            settling: None,
            unconfirmed: None,
            unwritten: Lasting::default(),
            on_trial,
            confirmed_before,
            hopeless,
            state_dir: state_dir.to_owned(),
            noted: None,
            late: modules.late,
            works: false,
            other,
            other_state,
        })
    }

    /// Whether the slot had not worked before this boot and its tries run out. Where boots are not counted nothing is on trial:
    /// a restart would be one of many without an end.
    pub(crate) fn on_trial(&self) -> bool {
        self.on_trial
    }

    /// Whether restarts have been tried often enough: then what serves is better kept than started again.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.hopeless
    }

    /// Loads the drivers that may come later, beside everything else. To be called once the daemons are ready, or will not be soon;
    /// only the first call does it.
    pub(crate) fn load_late(&mut self) {
        load_beside("of everything else", std::mem::take(&mut self.late));
    }

    /// Begins to write down that this boot works, in a thread: a flash may take its time to fail. [`Image::confirmed`] has the outcome.
    pub(crate) fn confirm(&mut self) {
        let (record, slot) = (self.record.clone(), self.hand_over.slot);
        if self.confirming.is_none() {
            self.confirming = Some(tokio::task::spawn_blocking(move || record.confirm(slot)));
        }
    }

    /// Whether the confirmation has come to be on the medium since it was last asked; a failure is told and left to be tried again.
    pub(crate) async fn confirmed(&mut self) -> bool {
        let Some(confirming) = self.confirming.take_if(|confirming| confirming.is_finished()) else {
            return false;
        };
        let failure = match confirming.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(service::ErrorChain(&error).to_string()),
            Err(error) => Some(error.to_string()),
        };
        match &failure {
            None => tracing::info!("boot confirmed: slot marked good"),
            Some(error) => {
                if let Some(said) = self.unwritten.fails(Clock::boot()) {
                    tracing::error!(
                        error,
                        times = said.times,
                        "boot works but slot cannot be marked good yet: retrying"
                    );
                }
            }
        }
        self.works = failure.is_none();
        self.unconfirmed = failure;
        self.works
    }

    /// What is wrong with the boot, for people.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.record.is_in_doubt() {
            let text = "a factory reset was refused and may be done at the next boot: the boot record cannot be written";
            return Some(text.to_owned());
        }
        self.unconfirmed.as_ref().map(|error| {
            format!(
                "slot {} works but could not be confirmed in the boot record yet: {error}",
                self.hand_over.slot
            )
        })
    }

    /// Asks stage0 to make the data partition anew at the next boot.
    pub(crate) fn request_factory_reset(&self) -> Result<(), RecordError> {
        self.record.request_factory_reset()
    }

    /// Takes a factory reset back that was refused and may be on the medium, in a thread.
    pub(crate) fn settle(&mut self) {
        self.settling.take_if(|settling| settling.is_finished());
        if self.record.is_in_doubt() && self.settling.is_none() {
            let record = self.record.clone();
            self.settling = Some(tokio::task::spawn_blocking(move || record.settle()));
        }
    }

    /// Before which no time is believed, whoever says it, Unix time in seconds: when the image was built. What was noted of the clock may have been wrong.
    pub(crate) fn time_floor() -> Option<u64> {
        let built = time::built(Path::new(about::FILE))?;
        built.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    /// Notes the time down when it is due.
    pub(crate) fn note_time(&mut self, now: SystemTime) {
        if time::is_due(self.noted, now) {
            self.noted = Some(now);
            time::note(&time::note_file(&self.state_dir));
        }
    }

    /// Notes the time down for the next boot: the last thing before the file systems are left.
    pub(crate) fn finish(&self) {
        time::note(&time::note_file(&self.state_dir));
    }

    /// The slots that hold an image, the one that runs first.
    pub(crate) fn slots(&self) -> Vec<pb::FirmwareSlot> {
        let other = self.other.get().map(|version| (version.as_str(), self.other_state));
        slots(&self.hand_over, self.works || self.confirmed_before, other)
    }

    /// What clients may know of the boot, as entries of the system's metadata.
    pub(crate) fn tell(&self, into: &mut BTreeMap<String, String>) {
        let about = &self.hand_over;
        let mut put = |key: &str, value: String| into.insert(format!("boot.{key}"), value);
        put("slot", about.slot.to_string());
        put("version", about.version.clone());
        put("flavour", about.flavour.clone());
        put("storage", about.storage.to_string());
        put("data", data(about.data).to_owned());
        put("confirmed", (self.works || self.confirmed_before).to_string());
        if let Some(from) = about.fell_back_from {
            put("fell_back_from", from.to_string());
        }
        if !about.reason.is_empty() {
            put("reason", about.reason.clone());
        }
        for stage in &about.stages {
            put(&format!("stage.{}_ms", stage.name), stage.ms.to_string());
        }
    }
}

/// The slots as clients are told of them: the one that runs, and the other one's version with what the record says of it, where it holds an image.
fn slots(
    running: &HandOver,
    confirmed: bool,
    other: Option<(&str, Option<SlotState>)>,
) -> Vec<pb::FirmwareSlot> {
    use pb::FirmwareSlotState as State;
    let state = if confirmed { State::Confirmed } else { State::Unconfirmed };
    let mut slots = vec![pb::FirmwareSlot {
        name: running.slot.to_string(),
        version: running.version.clone(),
        active: true,
        state: state.into(),
    }];
    if let Some((version, state)) = other {
        let state = match state {
            // It is being written: what its manifest says is not there yet, or not any more.
            Some(SlotState::Empty) => return slots,
            Some(SlotState::Unconfirmed) => State::Unconfirmed,
            Some(SlotState::Confirmed) => State::Confirmed,
            Some(SlotState::Bad) => State::Bad,
            None => State::Unspecified,
        };
        let name = running.slot.other().to_string();
        slots.push(pb::FirmwareSlot {
            name,
            version: version.to_owned(),
            active: false,
            state: state.into(),
        });
    }
    slots
}

/// Reads what the other slot holds, in a thread of its own: a flash may take its time to fail.
fn look_at_other(hand_over: &HandOver, into: &Arc<OnceLock<String>>) {
    let Some(other) = hand_over.other.clone() else { return };
    let (board, into) = (hand_over.board.clone(), Arc::clone(into));
    let started = std::thread::Builder::new().name("other slot".into()).spawn(move || {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        match version_of(&other, &board, &kernel) {
            // It is set once.
            Ok(version) => _ = into.set(version),
            Err(why) => tracing::info!(%why, "other slot holds no image that could be booted"),
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "cannot start thread to look at other slot");
    }
}

/// The version of the image in a slot, by its signed manifest.
fn version_of(slot: &OtherSlot, board: &str, kernel: &str) -> Result<String, String> {
    let at = slot.area().ok_or("its partition is too small")?;
    let area = block::read_at(Path::new(&slot.device), at, AREA_LEN);
    let area = area.map_err(|error| ErrorChain(&error).to_string())?;
    let manifest = slot.manifest(&area, board, kernel);
    manifest.map(|manifest| manifest.version).map_err(|error| ErrorChain(&error).to_string())
}

/// Loads modules in a thread of its own.
fn load_beside(what: &'static str, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let started = std::thread::Builder::new().name("modules".into()).spawn(move || {
        modules::load(Path::new(modules::DIRECTORY), &names);
        tracing::info!(modules = names.len(), needed_by = what, "drivers loaded");
    });
    if let Err(error) = started {
        tracing::error!(%error, needed_by = what, "cannot load drivers");
    }
}

fn data(state: boot::DataState) -> &'static str {
    match state {
        boot::DataState::Ok => "ok",
        boot::DataState::Repaired => "repaired",
        boot::DataState::Recreated => "recreated",
        boot::DataState::FactoryReset => "factory-reset",
        boot::DataState::Volatile => "volatile",
    }
}

/// Whether the running slot is on trial, and whether restarts are known not to help. stage0 counted this boot before it began; where it
/// could not, nobody would notice that restarts do not end, so none is asked for.
fn judge(found: Found, hand_over: &HandOver) -> (bool, bool) {
    let Found::Known(record) = found else { return (false, true) };
    if !hand_over.record.counted {
        return (false, true);
    }
    let slot = record.slot(hand_over.slot);
    let other = record.slot(hand_over.slot.other());
    let on_trial = slot.state == SlotState::Unconfirmed;
    let no_better = other.state != SlotState::Confirmed || other.failures >= PATIENCE;
    (on_trial, slot.failures > PATIENCE && no_better)
}

fn set_clock(state_dir: &Path) {
    let Some(floor) = time::floor(Path::new(about::FILE), &time::note_file(state_dir)) else { return };
    if time::set_forward(service::Clock::new().wall(), floor) {
        tracing::warn!("clock set forward to last known time; it may still be behind");
    }
}

fn exchange_seed(state_dir: &Path) {
    // The system call itself: it has the kernel gather what it lacks. A library that waits for /dev/random to be readable, as some do
    // where they find no such call, waits for interrupts to come by, which can take minutes on a machine at its start.
    let fresh = |bytes: &mut [u8], wait: bool| {
        let flags = if wait { GetRandomFlags::empty() } else { GetRandomFlags::INSECURE };
        rustix::rand::getrandom(bytes, flags).map_err(io::Error::from).map(drop)
    };
    let credit = |bytes: &[u8], trusted: bool| {
        if trusted {
            return hal_linux::entropy::add_seed(bytes).map_err(io::Error::other);
        }
        fs::File::options().write(true).open("/dev/urandom").and_then(|mut pool| pool.write_all(bytes))
    };
    match seed::exchange(&state_dir.join("seed"), fresh, credit) {
        Ok(outcome) => tracing::debug!(?outcome, "the random seed is exchanged"),
        Err(error) => tracing::error!(%error, "cannot replace random seed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot::{Record, SlotId};

    fn hand_over(slot: SlotId) -> HandOver {
        let text = format!(
            r#"{{"slot":"{slot}","version":"1","board":"x/y","flavour":"release","storage":"emmc",
                "record":{{"device":"/dev/null"}},"data":"ok"}}"#
        );
        HandOver::parse(text.as_bytes()).unwrap()
    }

    /// The record after `boots` boots in a row that came to nothing.
    fn failing(record: &mut Record, boots: usize) -> SlotId {
        (0..boots).map(|_| record.begin_boot(boot::Tried::default()).unwrap().slot).last().unwrap()
    }

    #[test]
    fn the_other_slot_is_told_by_its_manifest_and_the_record() {
        let root = boot::Root {
            data_blocks: 1,
            hash_start_block: 1,
            hash_blocks: 1,
            root_hash: [0; 32],
            salt: [0; 32],
        };
        let manifest = boot::Manifest {
            board: "x/y".to_owned(),
            version: "2".to_owned(),
            kernel_release: "6".to_owned(),
            flavour: "release".to_owned(),
            epoch: 0,
            root,
        };
        let mut partition = vec![0_u8; 65_536];
        partition.extend(boot::seal(&manifest, &[3; 32]).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("u-bmc-b");
        fs::write(&file, &partition).unwrap();
        let other = OtherSlot {
            device: file.to_string_lossy().into_owned(),
            size: partition.len() as u64,
            keys: vec![boot::public_key_of(&[3; 32]).to_hex()],
        };
        assert_eq!(version_of(&other, "x/y", "6").as_deref(), Ok("2"));
        // Of another kernel it cannot be booted; and what was never written has no manifest.
        assert!(version_of(&other, "x/y", "7").is_err());
        fs::write(&file, vec![0_u8; partition.len()]).unwrap();
        assert!(version_of(&other, "x/y", "6").is_err());
        fs::write(&file, b"short").unwrap();
        assert!(version_of(&other, "x/y", "6").is_err());

        use pb::FirmwareSlotState as State;
        let told = |confirmed, other| -> Vec<(String, String, bool, State)> {
            let slots = slots(&hand_over(SlotId::A), confirmed, other);
            let told = slots.into_iter();
            told.map(|one| (one.name.clone(), one.version.clone(), one.active, one.state())).collect()
        };
        let running = |state| ("a".to_owned(), "1".to_owned(), true, state);
        assert_eq!(told(false, None), [running(State::Unconfirmed)]);
        for (record, state) in [
            (Some(SlotState::Confirmed), State::Confirmed),
            (Some(SlotState::Unconfirmed), State::Unconfirmed),
            (Some(SlotState::Bad), State::Bad),
            (None, State::Unspecified),
        ] {
            let backup = ("b".to_owned(), "2".to_owned(), false, state);
            assert_eq!(told(true, Some(("2", record))), [running(State::Confirmed), backup]);
        }
        assert_eq!(told(true, Some(("2", Some(SlotState::Empty)))), [running(State::Confirmed)]);
    }

    #[test]
    fn a_new_slot_is_on_trial_on_each_of_its_tries() {
        let mut record = Record::default();
        for _ in 0..boot::GRANTED_TRIES {
            let slot = failing(&mut record, 1);
            assert_eq!(
                (slot, judge(Found::Known(record), &hand_over(slot))),
                (SlotId::A, (true, false)),
                "{record:?}"
            );
        }
    }

    #[test]
    fn a_slot_that_worked_is_not_on_trial() {
        let mut record = Record::default();
        failing(&mut record, 1);
        record.confirm(SlotId::A);
        let slot = failing(&mut record, 1);
        assert_eq!(judge(Found::Known(record), &hand_over(slot)), (false, false));
    }

    #[test]
    fn where_boots_are_not_counted_nothing_is_restarted() {
        let mut record = Record::default();
        let slot = failing(&mut record, 1);
        let mut uncounted = hand_over(slot);
        uncounted.record.counted = false;
        assert_eq!(judge(Found::Known(record), &uncounted), (false, true));
        for found in [Found::Unreadable, Found::New, Found::Newer] {
            assert_eq!(judge(found, &hand_over(slot)), (false, true), "{found:?}");
        }
    }

    #[test]
    fn restarts_are_hopeless_only_when_neither_slot_gets_anywhere() {
        let mut record = Record::default();
        record.confirm(SlotId::A);
        record.mark_bad(SlotId::B, boot::Fault::Verity);
        let slot = failing(&mut record, usize::from(PATIENCE));
        assert_eq!(judge(Found::Known(record), &hand_over(slot)), (false, false));
        let slot = failing(&mut record, 1);
        assert_eq!(judge(Found::Known(record), &hand_over(slot)), (false, true));
    }
}
