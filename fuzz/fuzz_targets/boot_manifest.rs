//! Any bytes as a manifest area: nothing unsigned is accepted, and any signed JSON is read or refused.
#![no_main]

use boot::{Manifest, public_key_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|area: &[u8]| {
    assert!(Manifest::open(area, &[public_key_of(&[7; 32])]).is_err());
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(area) {
        let fits = manifest.check(&manifest.board, &manifest.kernel_release, 64 << 20).is_ok();
        if fits {
            assert!(manifest.root.data_len() < 64 << 20);
        }
    }
});
