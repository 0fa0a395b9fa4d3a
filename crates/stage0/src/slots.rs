//! Verifying and mounting a slot.

use std::fs::File;
use std::io;
use std::path::Path;

use boot::{AREA_LEN, Attempt, Fault, Manifest, ManifestError, PublicKey, Record, SlotId};
use hal_linux::block::{self, Partition};
use hal_linux::dm::{DeviceMapper, Mapped};

use crate::check;
use crate::choose::{Refused, Slots};
use crate::console::{milliseconds, say};
use crate::fault::chain;
use crate::partitions::Partitions;
use crate::system::{self, Dog};

/// What a root must have for a boot to make sense.
const NEEDED: [&str; 3] = [OPERATOR, "/newroot/etc/u-bmc/board.toml", system::DATA];
/// What the boot ends with.
const OPERATOR: &str = "/newroot/sbin/u-bmc";

/// The slots of this machine.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) partitions: &'a Partitions,
    pub(crate) keys: &'a [PublicKey],
    pub(crate) board: &'a str,
    pub(crate) kernel: &'a str,
    pub(crate) dog: &'a mut Dog,
}

fn refuse(fault: Fault, why: impl Into<String>) -> Refused {
    Refused { fault, why: why.into() }
}

/// Makes the record durable, where there is a place for it, and says whether it is. When the place of one copy does not take it, the
/// other one has to.
pub(crate) fn write_record(partitions: &Partitions, record: &mut Record) -> bool {
    let Some(place) = &partitions.record else { return false };
    (0..2).any(|_| {
        let write = record.advance();
        match block::write_durably(&place.node, write.offset, &write.bytes) {
            Ok(()) => true,
            Err(error) => {
                say(&format!("copy {} of the boot record is not written: {}", write.copy, chain(&error)));
                false
            }
        }
    })
}

impl Slots for Machine<'_> {
    fn write(&mut self, record: &mut Record) -> bool {
        write_record(self.partitions, record)
    }

    fn open(&mut self, attempt: &Attempt) -> Result<Manifest, Refused> {
        let slot = attempt.slot;
        let partition = self.partitions.slot(slot);
        let partition = partition.ok_or_else(|| refuse(Fault::Unreadable, "there is no such partition"))?;
        let manifest = self.manifest(partition)?;
        self.dog.pet();
        let mapper = DeviceMapper::open().map_err(|error| refuse(Fault::Verity, chain(&error)))?;
        let mapped = map(&mapper, slot, partition, &manifest)?;
        let opened = self.mount(&mapped, attempt.wants_full_check());
        if opened.is_err()
            && let Err(error) = mapper.remove(&mapped.name)
        {
            say(&format!("slot {slot} stays mapped: {}", chain(&error)));
        }
        opened.map(|()| manifest)
    }

    fn say(&mut self, text: &str) {
        say(text);
    }
}

impl Machine<'_> {
    fn manifest(&self, partition: &Partition) -> Result<Manifest, Refused> {
        let offset = partition.size.checked_sub(AREA_LEN as u64);
        let offset = offset.ok_or_else(|| refuse(Fault::Manifest, "its partition is too small"))?;
        let area = block::read_at(&partition.node, offset, AREA_LEN);
        let area = area.map_err(|error| refuse(Fault::Unreadable, chain(&error)))?;
        let manifest = Manifest::open(&area, self.keys)
            .map_err(|error: ManifestError| refuse(Fault::Manifest, chain(&error)))?;
        let checked = manifest.check(self.board, self.kernel, partition.size);
        checked.map_err(|error| refuse(Fault::Mismatch, chain(&error)))?;
        Ok(manifest)
    }

    fn mount(&mut self, mapped: &Mapped, whole: bool) -> Result<(), Refused> {
        system::mount_root(&mapped.node).map_err(|error| {
            let fault = if is_broken(&error) { Fault::Verity } else { Fault::Root };
            refuse(fault, format!("cannot mount its root: {error}"))
        })?;
        let looked = self.look_at_root(whole);
        if looked.is_err()
            && let Err(error) = system::unmount_root()
        {
            say(&format!("a root stays mounted: {error}"));
        }
        looked
    }

    /// Whether the mounted root can be run, by its first looks or by every byte of it.
    fn look_at_root(&mut self, whole: bool) -> Result<(), Refused> {
        let root = Path::new(system::NEW_ROOT);
        if whole {
            let started = milliseconds();
            let read = check::files_below(root).and_then(|files| check::read(&files, || self.dog.pet()));
            let read = read.map_err(|error| {
                let fault = if is_broken(&error) { Fault::Verity } else { Fault::Root };
                refuse(fault, format!("its root does not verify: {error}"))
            })?;
            let took = milliseconds().saturating_sub(started);
            say(&format!("all {} KiB of the root verify ({took} ms)", read >> 10));
        } else if let Ok(program) = File::open(OPERATOR) {
            // What runs next is read in one go while the data is looked at, not page by page when it runs.
            let _ = rustix::fs::fadvise(&program, 0, None, rustix::fs::Advice::WillNeed);
        }
        if let Some(missing) = NEEDED.into_iter().find(|path| !Path::new(path).exists()) {
            return Err(refuse(Fault::Root, format!("{missing} is missing")));
        }
        Ok(())
    }
}

/// Whether reading failed because a block is not what was signed: an input/output error, and only that.
fn is_broken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

fn map(
    mapper: &DeviceMapper,
    slot: SlotId,
    partition: &Partition,
    manifest: &Manifest,
) -> Result<Mapped, Refused> {
    let table = manifest.root.verity_table(&partition.node.to_string_lossy());
    let mapped = mapper.create_verity(&format!("u-bmc-root-{slot}"), manifest.root.data_len() / 512, &table);
    mapped.map_err(|error| refuse(Fault::Verity, chain(&error)))
}
