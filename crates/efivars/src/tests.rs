//! Images as OVMF has them, whole, cut off and damaged, beside a map that keeps the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// As OVMF of 4 MiB has it.
const LENGTH: usize = 540_672;
const STORE: usize = 262_072;

fn ovmf() -> Volume {
    Volume::empty(LENGTH, STORE).unwrap()
}

fn value(data: &[u8]) -> Variable<'_> {
    Variable { attributes: KEPT, count: 0, data }
}

/// An image whose store has room for `room` bytes of records.
fn small(room: usize) -> Volume {
    Volume::empty(4096, STORE_HEADER + room).unwrap()
}

/// What is under a name, owned.
fn data(volume: &Volume, name: &str) -> Option<Vec<u8>> {
    volume.get(GLOBAL, name).map(|variable| variable.data.to_vec())
}

#[test]
fn an_image_begins_as_that_of_ovmf_does() {
    let volume = ovmf();
    assert_eq!(volume.bytes().len(), LENGTH);
    // Length, signature, attributes, length of the header, checksum, revision, blocks: as Debian's package has them.
    assert_eq!(u16_at(volume.bytes(), 50), Some(47_279));
    assert_eq!(volume.bytes()[56..72], [132, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((volume.first, volume.limit), (0x64, 0x4_0000));
    for (length, store) in [(4096, 4096), (4095, 28), (4096, 27), (BYTES_MAX + 4096, 28)] {
        assert_eq!(Volume::empty(length, store), None, "{length} {store}");
    }
}

#[test]
fn a_record_is_what_the_firmware_writes() {
    // Written by OVMF 2022.11, as it had shown its set-up.
    let mut written = vec![0xaa, 0x55, 0x3f, 0, 7, 0, 0, 0];
    written.extend([0; 28]);
    written.extend([0x1c, 0, 0, 0, 8, 0, 0, 0]);
    written.extend(GLOBAL.0);
    for letter in b"OsIndications\0" {
        written.extend([*letter, 0]);
    }
    written.extend([0; 8]);
    let mut volume = ovmf();
    volume.set(GLOBAL, OS_INDICATIONS, value(&[0; 8])).unwrap();
    assert_eq!(volume.bytes()[0x64..][..written.len()], written);
    assert!(volume.bytes()[0x64 + written.len()..].iter().all(|byte| *byte == EMPTY));
}

#[test]
fn what_is_set_is_read_and_what_was_before_is_deleted() {
    let mut volume = ovmf();
    assert_eq!(volume.get(GLOBAL, OS_INDICATIONS), None);
    volume.set(GLOBAL, "Lang", value(b"eng\0")).unwrap();
    let first = Variable { attributes: KEPT, count: 9, data: &[1, 0, 0, 0, 0, 0, 0, 0] };
    volume.set(GLOBAL, OS_INDICATIONS, first).unwrap();
    assert_eq!(volume.get(GLOBAL, OS_INDICATIONS), Some(first));
    volume.set(GLOBAL, OS_INDICATIONS, value(&[0; 8])).unwrap();
    let read = Volume::parse(volume.bytes().to_vec()).unwrap();
    assert_eq!(read, volume);
    assert_eq!(read.get(GLOBAL, OS_INDICATIONS), Some(value(&[0; 8])));
    let states: Vec<u8> = read.records.iter().map(|record| read.state(*record)).collect();
    assert_eq!(states, [ADDED, ADDED & !DELETED, ADDED]);
    // A name is one vendor's, and no beginning of another.
    assert_eq!(read.get(Guid([0; 16]), OS_INDICATIONS), None);
    assert_eq!(read.get(GLOBAL, "OsIndication"), None);
    assert!(volume.remove(GLOBAL, "Lang") && !volume.remove(GLOBAL, "Lang"));
    assert_eq!(data(&volume, "Lang"), None);
}

#[test]
fn a_variable_that_was_being_written_when_power_was_cut_is_none() {
    let mut volume = ovmf();
    volume.set(GLOBAL, "A", value(&[1])).unwrap();
    let (at, next) = (volume.first, volume.end);
    // The header is there, the value may be in part: no variable, and its place is taken.
    let mut bytes = volume.bytes().to_vec();
    bytes[at + 2] = 0x7f;
    let cut = Volume::parse(bytes).unwrap();
    assert_eq!((data(&cut, "A"), cut.end), (None, next));
}

#[test]
fn a_header_that_was_cut_off_takes_its_own_place_only() {
    let mut bytes = ovmf().bytes().to_vec();
    bytes[0x64..0x66].copy_from_slice(&START.to_le_bytes());
    bytes[0x67] = 0;
    let mut cut = Volume::parse(bytes).unwrap();
    assert_eq!((cut.records.len(), cut.end), (1, 0x64 + HEADER));
    cut.set(GLOBAL, "A", value(&[1])).unwrap();
    assert_eq!(Volume::parse(cut.bytes().to_vec()), Ok(cut.clone()));
    assert_eq!(data(&cut, "A"), Some(vec![1]));
}

#[test]
fn one_that_is_being_replaced_counts_until_the_other_is_complete() {
    let mut volume = ovmf();
    volume.set(GLOBAL, "A", value(&[1])).unwrap();
    let at = volume.first;
    volume.bytes[at + 2] &= !LEAVING;
    assert_eq!(data(&volume, "A"), Some(vec![1]));
    // Both are there when power is cut before the first is marked as deleted.
    let record = volume.record(GLOBAL, &encoded("A"), value(&[2])).unwrap();
    volume.append(&record);
    assert_eq!(data(&volume, "A"), Some(vec![2]));
    volume.set(GLOBAL, "A", value(&[3])).unwrap();
    assert_eq!(data(&volume, "A"), Some(vec![3]));
    assert_eq!(volume.records.iter().filter(|record| volume.counts(**record)).count(), 1);
}

#[test]
fn what_is_not_understood_is_refused() {
    let mut volume = ovmf();
    volume.set(GLOBAL, "A", value(&[1])).unwrap();
    let (at, end) = (volume.first, volume.end);
    let with = |at: usize, bytes: &[u8]| {
        let mut image = volume.bytes().to_vec();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Volume::parse(image)
    };
    assert!(with(0, &[]).is_ok());
    for (place, bytes, damage) in [
        (16, &[0][..], Damage::NoVolume),
        (32, &[1][..], Damage::NoVolume),
        (40, b"_FVX", Damage::NoVolume),
        (45, &[0xf6], Damage::NoVolume),
        (48, &[70], Damage::NoVolume),
        (48, &[0xfc, 0xff], Damage::Checksum),
        (50, &[0], Damage::Checksum),
        (72, &[0], Damage::NoStore),
        (88, &[0xff, 0xff, 0xff, 0x7f], Damage::NoStore),
        (88, &[0, 0, 0, 0], Damage::NoStore),
        (92, &[0xff], Damage::NoStore),
        (93, &[0xfc], Damage::NoStore),
        (at + 36, &[0xfe, 0xff, 0xff, 0xff], Damage::Overrun(at)),
        (at + 40, &[0xfe, 0xff, 0xff, 0xff], Damage::Overrun(at)),
        (at, &[0], Damage::NotEmpty(at)),
        (end, &[0xaa], Damage::NotEmpty(end)),
        (0x3_ffff, &[0], Damage::NotEmpty(end)),
    ] {
        assert_eq!(with(place, bytes), Err(damage), "{place:#x} {bytes:x?}");
    }
    // What is behind the store is none of its business.
    assert!(with(0x4_0000, &[0]).is_ok());
    assert_eq!(Volume::parse(Vec::new()), Err(Damage::NoVolume));
    assert_eq!(Volume::parse(volume.bytes()[..LENGTH / 2].to_vec()), Err(Damage::NoVolume));
    assert_eq!(Volume::parse(vec![0; BYTES_MAX + 1]), Err(Damage::TooLong(BYTES_MAX + 1)));
}

/// A list of writes as OVMF 2022.11 has it, with one that has this state.
fn with_write(state: u8) -> Vec<u8> {
    let mut bytes = ovmf().bytes().to_vec();
    let list = &mut bytes[0x4_1000..];
    list[..16].copy_from_slice(&WRITES.0);
    list[16..32]
        .copy_from_slice(&[0x95, 0x2c, 0xaf, 0x2c, 0xfe, 0xff, 0xff, 0xff, 0xe0, 0x0f, 0, 0, 0, 0, 0, 0]);
    list[32] = state;
    // One write, of which its caller says nothing more.
    list[56..72].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn a_store_that_is_being_written_anew_is_refused() {
    let at = 0x4_1020;
    for (state, wanted) in [
        (0xff, None),
        // Begun, also with its place in the list taken: power was cut before it was complete.
        (0xfe, Some(at)),
        (0xfc, Some(at)),
        // Complete.
        (0xf8, None),
    ] {
        let read = Volume::parse(with_write(state)).map(drop);
        assert_eq!(read, wanted.map_or(Ok(()), |at| Err(Damage::Unfinished(at))), "{state:#x}");
    }
    // One behind a complete one.
    let mut bytes = with_write(0xf8);
    bytes[at + 80] = 0xfc;
    assert_eq!(Volume::parse(bytes).map(drop), Err(Damage::Unfinished(at + 80)));
    // More than the list holds.
    for place in [24, 31, 33, 39] {
        let mut bytes = with_write(0xf8);
        bytes[at + place] = 0xff;
        assert_eq!(Volume::parse(bytes).map(drop), Err(Damage::Unfinished(at)), "{place}");
    }
}

#[test]
fn deleted_ones_make_room_and_what_does_not_fit_changes_nothing() {
    // Each record of a name of one letter and four bytes takes 68.
    let mut volume = small(3 * 68);
    for number in 0..100_u32 {
        volume.set(GLOBAL, "A", value(&number.to_le_bytes())).unwrap();
        volume.set(GLOBAL, "B", value(&number.to_be_bytes())).unwrap();
        assert_eq!(Volume::parse(volume.bytes().to_vec()), Ok(volume.clone()));
        assert_eq!(data(&volume, "A"), Some(number.to_le_bytes().to_vec()));
    }
    volume.set(GLOBAL, "C", value(&[7; 4])).unwrap();
    let before = volume.clone();
    assert_eq!(volume.set(GLOBAL, "D", value(&[])), Err(Full));
    assert_eq!(volume.set(GLOBAL, "A", value(&[0; 5])), Err(Full));
    assert_eq!(volume.set(GLOBAL, "A", value(&[0; 300])), Err(Full));
    assert_eq!(volume, before);
    volume.set(GLOBAL, "A", value(&[9; 4])).unwrap();
    assert_eq!(data(&volume, "C"), Some(vec![7; 4]));
    assert_eq!(data(&volume, "B"), Some(99_u32.to_be_bytes().to_vec()));
}

proptest! {
    #[test]
    fn it_keeps_what_a_map_keeps(
        room in 0..900_usize,
        steps in prop::collection::vec(("[a-d]{0,3}", prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..60),
    ) {
        let mut volume = small(room);
        let mut map: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, step) in steps {
            match step {
                None => prop_assert_eq!(volume.remove(GLOBAL, &name), map.remove(&name).is_some()),
                Some(new) => {
                    let before = volume.clone();
                    match volume.set(GLOBAL, &name, value(&new)) {
                        Ok(()) => drop(map.insert(name, new)),
                        Err(Full) => prop_assert_eq!(&volume, &before),
                    }
                }
            }
            prop_assert_eq!(Volume::parse(volume.bytes().to_vec()), Ok(volume.clone()));
            for (name, kept) in &map {
                prop_assert_eq!(data(&volume, name), Some(kept.clone()));
            }
            prop_assert_eq!(volume.records.iter().filter(|record| volume.counts(**record)).count(), map.len());
        }
    }

    #[test]
    fn any_bytes_as_records_are_read_or_refused_and_then_changed(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        starts in prop::collection::vec(0..100_usize, 0..6),
    ) {
        let mut bytes = small(500).bytes().to_vec();
        bytes[100..100 + noise.len()].copy_from_slice(&noise);
        for start in starts {
            bytes[100 + 4 * start..][..2].copy_from_slice(&START.to_le_bytes());
        }
        if let Ok(mut volume) = Volume::parse(bytes) {
            let before = volume.clone();
            match volume.set(GLOBAL, OS_INDICATIONS, value(&[1; 8])) {
                Ok(()) => prop_assert_eq!(data(&volume, OS_INDICATIONS), Some(vec![1; 8])),
                Err(Full) => prop_assert_eq!(&volume, &before),
            }
            prop_assert_eq!(Volume::parse(volume.bytes().to_vec()), Ok(volume));
        }
    }
}
