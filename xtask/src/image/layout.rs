//! The images of whole storages: everything at the place the layout gives it.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::gpt;
use super::root::Slot;
use super::spec::{self, Emmc, NorLayout, Partition};

/// An erased block of a NOR flash.
const ERASED: u8 = 0xff;

/// A new boot record: both copies, slot A wanted, nothing confirmed yet.
fn record() -> Vec<(u64, [u8; boot::RECORD_LEN])> {
    let mut record = boot::Record::default();
    (0..boot::COPY_OFFSETS.len())
        .map(|_| {
            let write = record.advance();
            (write.offset, write.bytes)
        })
        .collect()
}

/// Writes the image of an eMMC. What is zero stays a hole in the file.
pub(crate) fn emmc(layout: &Emmc, board: &str, slot: &Slot, data: &[u8], out: &Path) -> Result<()> {
    let mut file = fs::File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    file.set_len(layout.size.0)?;
    let mut write = |offset: u64, bytes: &[u8]| -> Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)?;
        Ok(())
    };
    let table = gpt::table(layout.size.0, &layout.partition, board)?;
    write(0, &table.head)?;
    write(layout.size.0 - table.tail.len() as u64, &table.tail)?;
    let at = |label: &str| spec::find(&layout.partition, label);
    for (offset, bytes) in record() {
        write(at(spec::RECORD)?.offset.0 + offset, &bytes)?;
    }
    for label in [spec::SLOT_A, spec::SLOT_B] {
        let partition = at(label)?;
        write(partition.offset.0, &slot.body)?;
        write(partition.offset.0 + partition.size.0 - slot.area.len() as u64, &slot.area)?;
    }
    let partition = at(spec::DATA)?;
    let template = boot::Template::parse(data)?;
    ensure!(template.total() == partition.size.0, "the data template is for another partition");
    for (offset, bytes) in template.records() {
        write(partition.offset.0 + offset, bytes)?;
    }
    Ok(())
}

/// Makes the image of a NOR flash. The data partition is erased, which is an empty jffs2; the boot loader's is left to it.
pub(crate) fn nor(layout: &NorLayout, board: &str, slot: &Slot, fit: &[u8]) -> Result<Vec<u8>> {
    let mut flash = vec![ERASED; usize::try_from(layout.size.0)?];
    let mut write = |partition: &Partition, offset: u64, bytes: &[u8]| -> Result<()> {
        ensure!(
            offset + bytes.len() as u64 <= partition.size.0,
            "targets/{board}/image.toml: nor.layout {:?}: {:?} has {} bytes, {} are wanted",
            layout.name,
            partition.label,
            partition.size.0,
            offset + bytes.len() as u64
        );
        let start = usize::try_from(partition.offset.0 + offset)?;
        flash
            .get_mut(start..start + bytes.len())
            .context("a partition ends after the flash")?
            .copy_from_slice(bytes);
        Ok(())
    };
    let at = |label: &str| spec::find(&layout.partition, label);
    for (offset, bytes) in record() {
        write(at(spec::RECORD)?, offset, &bytes)?;
    }
    write(at(spec::KERNEL)?, 0, fit)?;
    let bytes = slot.bytes(ERASED)?;
    for label in [spec::SLOT_A, spec::SLOT_B] {
        write(at(label)?, 0, &bytes)?;
    }
    Ok(flash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_is_valid_and_wants_slot_a() {
        let copies = record();
        assert_eq!(copies.len(), 2);
        let mut partition = vec![ERASED; 128 << 10];
        for (offset, bytes) in copies {
            let at = usize::try_from(offset).unwrap();
            partition[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        let [zero, one] = boot::COPY_OFFSETS.map(|at| usize::try_from(at).unwrap());
        let mut record = boot::Record::newest(&partition[zero..], &partition[one..]).unwrap();
        let attempt = record.begin_boot(boot::Tried::default()).unwrap();
        assert_eq!(attempt.slot, boot::SlotId::A);
    }
}
