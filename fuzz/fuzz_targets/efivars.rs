//! Any bytes as the flash of UEFI firmware, and as the records of a store that is else whole: read or refused, and what is set then is read.
#![no_main]

use efivars::{Full, GLOBAL, KEPT, OS_INDICATIONS, Variable, Volume};
use libfuzzer_sys::fuzz_target;

/// The bytes before the first record of an image that [`Volume::empty`] makes, and of its store.
const HEAD: usize = 100;
const ROOM: usize = 2048;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (records, value) = input;
    let mut image = Volume::empty(4096, ROOM).unwrap().bytes().to_vec();
    let count = records.len().min(ROOM - 28);
    image[HEAD..HEAD + count].copy_from_slice(&records[..count]);
    for bytes in [records.to_vec(), image] {
        let Ok(mut volume) = Volume::parse(bytes) else { continue };
        let before = volume.clone();
        let variable = Variable { attributes: KEPT, count: 0, data: value };
        match volume.set(GLOBAL, OS_INDICATIONS, variable) {
            Ok(()) => assert_eq!(volume.get(GLOBAL, OS_INDICATIONS), Some(variable)),
            Err(Full) => assert_eq!(volume, before),
        }
        assert_eq!(Volume::parse(volume.bytes().to_vec()).as_ref(), Ok(&volume));
        assert_eq!(volume.get(GLOBAL, OS_INDICATIONS).is_some(), volume.remove(GLOBAL, OS_INDICATIONS));
        assert_eq!(volume.get(GLOBAL, OS_INDICATIONS), None);
        assert_eq!(Volume::parse(volume.bytes().to_vec()).as_ref(), Ok(&volume));
    }
});
