//! The manifest area: its frozen bytes, and what is refused.

use boot::{AREA_LEN, Manifest, ManifestError, PublicKey, Root, public_key_of, seal};
use data_encoding::HEXLOWER;
use proptest::prelude::*;

const SEED: [u8; 32] = [7; 32];
const PARTITION: u64 = 32 << 20;

fn manifest() -> Manifest {
    Manifest {
        board: "aspeed/ast2600-evb".to_owned(),
        version: "0.1.0".to_owned(),
        kernel_release: "6.12.0".to_owned(),
        flavour: "release".to_owned(),
        epoch: 1_700_000_000,
        root: Root {
            data_blocks: 2000,
            hash_start_block: 2000,
            hash_blocks: 17,
            root_hash: [0xab; 32],
            salt: [0x01; 32],
        },
    }
}

#[test]
fn the_bytes_are_frozen() {
    let area = seal(&manifest(), &SEED).unwrap();
    let json = format!(
        "{{\"board\":\"aspeed/ast2600-evb\",\"version\":\"0.1.0\",\"kernel_release\":\"6.12.0\",\"flavour\":\"release\",\
         \"epoch\":1700000000,\"root\":{{\"data_blocks\":2000,\"hash_start_block\":2000,\"hash_blocks\":17,\
         \"root_hash\":\"{}\",\"salt\":\"{}\"}}}}",
        "ab".repeat(32),
        "01".repeat(32)
    );
    assert_eq!(area.len(), AREA_LEN);
    assert_eq!(&area[..8], b"UBMCMANI");
    assert_eq!(&area[8..16], [[1, 0, 0, 0], u32::try_from(json.len()).unwrap().to_le_bytes()].concat());
    let signature = HEXLOWER.encode(&area[16..80]);
    assert_eq!(
        signature,
        "e711586f89c6a4f39e4aeed74e17eb60fef78a06ebfda2d04c34b9e9ad80b3ee\
         410b9486aa931908750ac39ccaf465471221120067fa90b4bdb1f3679e08070f"
    );
    assert_eq!(&area[80..80 + json.len()], json.as_bytes());
    assert!(area[80 + json.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(
        public_key_of(&SEED).to_hex(),
        "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
    );
}

#[test]
fn a_signed_manifest_is_read_back() {
    let area = seal(&manifest(), &SEED).unwrap();
    let keys = [public_key_of(&[1; 32]), public_key_of(&SEED)];
    assert_eq!(Manifest::open(&area, &keys).unwrap(), manifest());
}

#[test]
fn a_manifest_of_an_unknown_key_is_refused() {
    let area = seal(&manifest(), &SEED).unwrap();
    let opened = Manifest::open(&area, &[public_key_of(&[1; 32])]);
    assert!(matches!(opened, Err(ManifestError::Signature)));
    assert!(matches!(Manifest::open(&area, &[]), Err(ManifestError::Signature)));
}

#[test]
fn fields_of_later_versions_are_ignored() {
    let text = serde_json::to_string(&manifest()).unwrap().replacen('{', "{\"later\":{\"x\":[1]},", 1);
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest());
}

#[test]
fn a_slot_that_was_never_written_has_no_manifest() {
    for area in [vec![0; AREA_LEN], vec![0xff; AREA_LEN], Vec::new()] {
        assert!(matches!(Manifest::open(&area, &[public_key_of(&SEED)]), Err(ManifestError::Missing)));
    }
}

#[test]
fn a_length_beyond_the_area_is_refused() {
    let mut area = seal(&manifest(), &SEED).unwrap();
    area[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Manifest::open(&area, &[public_key_of(&SEED)]), Err(ManifestError::Header)));
}

#[test]
fn a_manifest_boots_only_where_it_belongs() {
    let manifest = manifest();
    manifest.check("aspeed/ast2600-evb", "6.12.0", PARTITION).unwrap();
    let board = manifest.check("ibm/rainier", "6.12.0", PARTITION);
    assert!(matches!(board, Err(ManifestError::Board { .. })));
    let kernel = manifest.check("aspeed/ast2600-evb", "6.12.1", PARTITION);
    assert!(matches!(kernel, Err(ManifestError::Kernel { .. })));
}

#[test]
fn parts_that_overlap_or_do_not_fit_are_refused() {
    let exact = (2000 + 17) * 4096 + AREA_LEN as u64;
    let fits =
        |manifest: &Manifest, partition| manifest.check("aspeed/ast2600-evb", "6.12.0", partition).is_ok();
    assert!(fits(&manifest(), exact));
    assert!(!fits(&manifest(), exact - 1));
    for change in [
        |root: &mut Root| root.hash_start_block = 1999,
        |root: &mut Root| root.data_blocks = 0,
        |root: &mut Root| root.hash_blocks = u64::MAX,
        |root: &mut Root| root.hash_start_block = u64::MAX,
    ] {
        let mut manifest = manifest();
        change(&mut manifest.root);
        assert!(!fits(&manifest, PARTITION));
    }
}

#[test]
fn the_verity_table_is_the_kernels() {
    let table = manifest().root.verity_table("179:2");
    let (hash, salt) = ("ab".repeat(32), "01".repeat(32));
    assert_eq!(table, format!("1 179:2 179:2 4096 4096 2000 2000 sha256 {hash} {salt}"));
}

#[test]
fn a_key_file_is_a_point_in_hexadecimal() {
    let key = public_key_of(&SEED);
    assert_eq!(PublicKey::from_hex(&format!("{}\n", key.to_hex())).unwrap(), key);
    for text in ["", "ab", &"zz".repeat(32), &"00".repeat(32)] {
        assert!(PublicKey::from_hex(text).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_of_header_or_json_is_noticed(at in 0_usize..400, change in 1_u8..) {
        let mut area = seal(&manifest(), &SEED).unwrap();
        let end = 80 + usize::from(u16::from_le_bytes([area[12], area[13]]));
        let at = at % end;
        area[at] ^= change;
        prop_assert!(Manifest::open(&area, &[public_key_of(&SEED)]).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::open(&bytes, &[public_key_of(&SEED)]).is_err());
    }
}
