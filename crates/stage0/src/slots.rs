//! Verifying and mounting a slot.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use boot::{AREA_LEN, Attempt, Fault, Manifest, ManifestError, PublicKey, SlotId, Write};
use hal_linux::block::{self, Partition};
use hal_linux::dm::{DeviceMapper, Mapped};

use crate::choose::{Refused, Slots};
use crate::console::{milliseconds, say};
use crate::fault::chain;
use crate::partitions::Partitions;
use crate::system::{self, Dog};

/// What a root must have for a boot to make sense.
const NEEDED: [&str; 3] = ["/newroot/sbin/u-bmc", "/newroot/etc/u-bmc/board.toml", system::DATA];
/// Bytes read at once in a full check.
const PIECE: usize = 256 << 10;

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

/// Makes the record durable, where there is a place for it.
pub(crate) fn write_record(partitions: &Partitions, write: &Write) {
    let Some(record) = &partitions.record else { return };
    if let Err(error) = block::write_durably(&record.node, write.offset, &write.bytes) {
        say(&format!("the boot record is not written: {}", chain(&error)));
    }
}

impl Slots for Machine<'_> {
    fn write(&mut self, write: &Write) {
        write_record(self.partitions, write);
    }

    fn open(&mut self, attempt: &Attempt) -> Result<Manifest, Refused> {
        let slot = attempt.slot;
        let partition = self.partitions.slot(slot);
        let partition = partition.ok_or_else(|| refuse(Fault::Unreadable, "there is no such partition"))?;
        let manifest = self.manifest(partition)?;
        self.dog.pet();
        let mapper = DeviceMapper::open().map_err(|error| refuse(Fault::Verity, chain(&error)))?;
        let mapped = map(&mapper, slot, partition, &manifest)?;
        let opened = self.mount(&mapped, &manifest, attempt.wants_full_check());
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

    fn mount(&mut self, mapped: &Mapped, manifest: &Manifest, whole: bool) -> Result<(), Refused> {
        if whole {
            let started = milliseconds();
            self.read_whole(&mapped.node, manifest.root.data_len())
                .map_err(|error| refuse(Fault::Verity, format!("its root does not verify: {error}")))?;
            let took = milliseconds().saturating_sub(started);
            say(&format!("all {} KiB of the root verify ({took} ms)", manifest.root.data_len() >> 10));
        }
        system::mount_root(&mapped.node).map_err(|error| {
            // A broken block is an input/output error, and only that.
            let broken = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
            refuse(
                if broken { Fault::Verity } else { Fault::Root },
                format!("cannot mount its root: {error}"),
            )
        })?;
        let Some(missing) = NEEDED.into_iter().find(|path| !Path::new(path).exists()) else { return Ok(()) };
        if let Err(error) = system::unmount_root() {
            say(&format!("a root stays mounted: {error}"));
        }
        Err(refuse(Fault::Root, format!("{missing} is missing")))
    }

    /// Reads a device to its end, which makes dm-verity check every block.
    fn read_whole(&mut self, node: &Path, length: u64) -> io::Result<()> {
        let mut device = File::open(node)?.take(length);
        let mut piece = vec![0; PIECE];
        let mut left = length;
        while left > 0 {
            let read = device.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(read as u64);
            self.dog.pet();
        }
        // The file system keeps what it reads on its own.
        let _ = rustix::fs::fadvise(device.get_ref(), 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }
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
