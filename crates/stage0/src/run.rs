//! The stages of a boot, in order.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use boot::{
    BootConfig, COPY_OFFSETS, DataState, Found, HandOver, OtherSlot, PublicKey, RECORD_LEN, Record,
    RecordPlace, Stage, Storage,
};
use hal_linux::block::{self, Partition};
use hal_linux::module::{self, Loaded};

use crate::choose::{Chosen, choose};
use crate::console::{milliseconds, say};
use crate::data;
use crate::device::Data;
use crate::fault::{Fatal, chain};
use crate::partitions::{self, Partitions};
use crate::slots::{Machine, write_record};
use crate::system::{self, Dog};

/// When each stage began.
#[derive(Debug, Default)]
struct Stages(Vec<Stage>);

impl Stages {
    fn begin(&mut self, name: &str) {
        self.0.push(Stage { name: name.to_owned(), ms: milliseconds() });
    }
}

/// Boots. Comes back only with the reason why it did not.
pub(crate) fn run() -> Result<Infallible, Fatal> {
    let mut stages = Stages::default();
    stages.begin("stage0");
    gather_randomness();
    system::mount_basics()?;
    let mut dog = Dog::arm();
    let (config, storage, keys) = configuration()?;
    say(&format!("{} on {storage}", config.board));

    stages.begin("modules");
    load_modules(&config, storage);
    stages.begin("storage");
    let mut partitions = partitions::wait(&config, storage);
    if !partitions.any_slot() {
        return Err(Fatal::NoStorage(storage));
    }
    dog.pet();

    stages.begin("slot");
    let found = read_record(partitions.record.as_ref());
    if found == Found::Newer {
        // Another release's: it is left as it is, and this boot is not counted.
        partitions.record = None;
    }
    let mut record = found.or_default();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut machine = Machine {
        partitions: &partitions,
        keys: &keys,
        board: &config.board,
        kernel: &kernel,
        dog: &mut dog,
    };
    let chosen = choose(&mut record, &mut machine).ok_or(Fatal::NoSlot)?;
    let slot = record.slot(chosen.slot);
    say(&format!("slot {} ({}), version {}", chosen.slot, slot.state, chosen.manifest.version));

    stages.begin("data");
    let (state, told) = prepare_data(&partitions, record.factory_reset(), &mut dog)?;
    if state == DataState::FactoryReset {
        record.clear_factory_reset();
        write_record(&partitions, &mut record);
    }
    say(&format!("data {}", name_of(state)));

    stages.begin("hand-over");
    let other = partitions.slot(chosen.slot.other()).map(|partition| other_slot(partition, &keys));
    let record = partitions.record.map(|partition| partition.node.to_string_lossy().into_owned());
    let hand_over =
        HandOver { other, ..hand_over(storage, chosen, record.unwrap_or_default(), state, &told, stages.0) };
    write_hand_over(&hand_over).map_err(Fatal::step(format!("write {}", HandOver::PATH)))?;
    dog.pet();
    system::switch_root()
}

/// Has the kernel gather what its randomness lacks, beside everything else. Without a device for it that takes a second of waiting for
/// timers, and the operator's first start would have to.
fn gather_randomness() {
    // It ends with this program, and what was gathered stays with the kernel.
    let _ = std::thread::Builder::new()
        .name("randomness".into())
        .spawn(|| rustix::rand::getrandom(&mut [0_u8; 1], rustix::rand::GetRandomFlags::empty()));
}

fn configuration() -> Result<(BootConfig, Storage, Vec<PublicKey>), Fatal> {
    let json = fs::read("/boot.json").map_err(|source| Fatal::Initrd { name: "/boot.json", source })?;
    let config = BootConfig::parse(&json)?;
    let command_line = fs::read_to_string("/proc/cmdline").map_err(Fatal::step("read the command line"))?;
    let storage = config.storage_of(&command_line)?;
    let keys = read_keys(Path::new("/keys")).map_err(|source| Fatal::Initrd { name: "/keys", source })?;
    if keys.is_empty() { Err(Fatal::NoKey) } else { Ok((config, storage, keys)) }
}

/// The keys of a folder. A file that holds none is told and passed over.
fn read_keys(folder: &Path) -> io::Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pub") {
            continue;
        }
        match PublicKey::from_hex(&fs::read_to_string(&path)?) {
            Ok(key) => keys.push(key),
            Err(error) => say(&format!("{}: {error}", path.display())),
        }
    }
    Ok(keys)
}

/// Loads what finds the storage, and beside it the rest.
fn load_modules(config: &BootConfig, storage: Storage) {
    let loaded = std::thread::scope(|scope| {
        let common = scope.spawn(|| load(&config.modules.common));
        load(config.modules_of(storage)) + common.join().unwrap_or_default()
    });
    say(&format!("{loaded} modules loaded"));
}

/// Loads modules in order, and says how many were not there before. One that does not load is told; whether it was needed shows soon
/// enough.
fn load(names: &[String]) -> u32 {
    let mut loaded = 0;
    for name in names {
        match module::load_without_waiting(&Path::new("/modules").join(name)) {
            Ok(Loaded::Now) => loaded += 1,
            Ok(Loaded::Before) => {}
            Err(error) => say(&chain(&error)),
        }
    }
    loaded
}

fn read_record(partition: Option<&Partition>) -> Found {
    let Some(partition) = partition else {
        say("there is no partition for the boot record, boots are not counted");
        return Found::New;
    };
    let copies = COPY_OFFSETS.map(|offset| {
        block::read_at(&partition.node, offset, RECORD_LEN).inspect_err(|error| say(&chain(error))).ok()
    });
    let found = Record::found(copies.each_ref().map(Option::as_deref));
    if !matches!(found, Found::Known(_)) {
        say(&format!("no boot record ({found:?}), the defaults count"));
    }
    found
}

fn prepare_data(
    partitions: &Partitions,
    reset: bool,
    dog: &mut Dog,
) -> Result<(DataState, Vec<String>), Fatal> {
    let mut device = Data { partition: partitions.data.as_ref(), dog, told: Vec::new() };
    let state = data::prepare(&mut device, reset).ok_or_else(|| Fatal::Step {
        step: "mount anything for the data".to_owned(),
        source: io::ErrorKind::Other.into(),
    })?;
    Ok((state, device.told))
}

fn name_of(state: DataState) -> &'static str {
    match state {
        DataState::Ok => "ok",
        DataState::Repaired => "repaired",
        DataState::Recreated => "made anew",
        DataState::FactoryReset => "made anew: factory reset",
        DataState::Volatile => "in memory only",
    }
}

fn hand_over(
    storage: Storage,
    chosen: Chosen,
    record: String,
    data: DataState,
    told: &[String],
    stages: Vec<Stage>,
) -> HandOver {
    let mut reasons = Vec::new();
    let fell_back_from = chosen.fell_back.map(|(slot, why)| {
        reasons.push(format!("slot {slot}: {why}"));
        slot
    });
    reasons.extend(told.iter().map(|text| format!("data: {text}")));
    HandOver {
        slot: chosen.slot,
        version: chosen.manifest.version,
        board: chosen.manifest.board,
        flavour: chosen.manifest.flavour,
        storage,
        record: RecordPlace { device: record, counted: chosen.counted },
        data,
        fell_back_from,
        reason: reasons.join("; "),
        stages,
        other: None,
    }
}

/// What the operator needs to look at the slot that does not run.
fn other_slot(partition: &Partition, keys: &[PublicKey]) -> OtherSlot {
    OtherSlot {
        device: partition.node.to_string_lossy().into_owned(),
        size: partition.size,
        keys: keys.iter().map(PublicKey::to_hex).collect(),
    }
}

fn write_hand_over(hand_over: &HandOver) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(HandOver::PATH)?;
    file.write_all(&hand_over.to_json()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_what_is_no_key_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let key = boot::public_key_of(&[3; 32]);
        fs::write(folder.path().join("good.pub"), format!("{}\n", key.to_hex())).unwrap();
        fs::write(folder.path().join("bad.pub"), "no key").unwrap();
        fs::write(folder.path().join("note.txt"), key.to_hex()).unwrap();
        assert_eq!(read_keys(folder.path()).unwrap(), [key]);
        assert!(read_keys(&folder.path().join("none")).is_err());
    }
}
