//! The smaller files: `boot.json`, the hand-over, the template of the data partition.

use boot::{
    BootConfig, ConfigError, DataState, HandOver, Manifest, ManifestError, OtherSlot, RecordPlace, Root,
    SlotId, Stage, Storage, Template, TemplateError, TemplateWriter,
};
use proptest::prelude::*;

const BOOT_JSON: &str = r#"{"board":"aspeed/ast2600-evb","storage":["emmc","nor"],
    "modules":{"common":["dm-mod.ko"],"emmc":["sdhci.ko"],"nor":["spi-nor.ko","mtdblock.ko"]},
    "emmc":{"device":"mmcblk0"},"nor":{"device":"bmc"}}"#;

#[test]
fn the_first_storage_is_the_usual_one_and_the_command_line_chooses_another() {
    let config = BootConfig::parse(BOOT_JSON.as_bytes()).unwrap();
    assert_eq!(config.storage_of("console=ttyS4 quiet").unwrap(), Storage::Emmc);
    assert_eq!(config.storage_of("quiet ubmc.storage=nor").unwrap(), Storage::Nor);
    assert!(matches!(config.storage_of("ubmc.storage=usb"), Err(ConfigError::Unknown(_))));
    assert_eq!(config.modules_of(Storage::Nor), ["spi-nor.ko", "mtdblock.ko"]);
    assert_eq!(config.modules_of(Storage::Emmc), ["sdhci.ko"]);
}

#[test]
fn a_boot_json_without_storage_or_with_a_path_is_refused() {
    let none = BootConfig::parse(br#"{"board":"x/y","storage":[]}"#);
    assert!(matches!(none, Err(ConfigError::NoStorage)));
    let path = BootConfig::parse(BOOT_JSON.replace("dm-mod.ko", "../dm-mod.ko").as_bytes());
    assert!(matches!(path, Err(ConfigError::Name(_))));
    assert!(matches!(BootConfig::parse(b"{"), Err(ConfigError::Json(_))));
}

#[test]
fn the_hand_over_is_frozen() {
    let hand_over = HandOver {
        slot: SlotId::A,
        version: "0.1.0".to_owned(),
        board: "aspeed/ast2600-evb".to_owned(),
        flavour: "release".to_owned(),
        storage: Storage::Emmc,
        record: RecordPlace { device: "/dev/mmcblk0p1".to_owned(), counted: true },
        data: DataState::FactoryReset,
        fell_back_from: Some(SlotId::B),
        reason: "why".to_owned(),
        stages: vec![Stage { name: "stage0".to_owned(), ms: 1234 }],
        other: None,
    };
    let text = r#"{"slot":"a","version":"0.1.0","board":"aspeed/ast2600-evb","flavour":"release","storage":"emmc","record":{"device":"/dev/mmcblk0p1"},"data":"factory-reset","fell_back_from":"b","reason":"why","stages":[{"name":"stage0","ms":1234}]}"#;
    assert_eq!(hand_over.to_json().unwrap(), text.as_bytes());
    assert_eq!(HandOver::parse(text.as_bytes()).unwrap(), hand_over);
    let other = OtherSlot { device: "/dev/mmcblk0p3".to_owned(), size: 65_536, keys: vec!["00".to_owned()] };
    let with_other = HandOver { other: Some(other), ..hand_over };
    let more = r#","other":{"device":"/dev/mmcblk0p3","size":65536,"keys":["00"]}}"#;
    let text = text.replace("}]}", &format!("}}]{more}"));
    assert_eq!(with_other.to_json().unwrap(), text.as_bytes());
    assert_eq!(HandOver::parse(text.as_bytes()).unwrap(), with_other);
}

#[test]
fn the_other_slot_counts_if_its_manifest_is_signed_and_fits_here() {
    let root =
        Root { data_blocks: 1, hash_start_block: 1, hash_blocks: 1, root_hash: [0; 32], salt: [0; 32] };
    let manifest = Manifest {
        board: "x/y".to_owned(),
        version: "2".to_owned(),
        kernel_release: "6".to_owned(),
        flavour: "release".to_owned(),
        epoch: 0,
        root,
    };
    let area = boot::seal(&manifest, &[3; 32]).unwrap();
    let keys = |seed: u8| vec!["no key".to_owned(), boot::public_key_of(&[seed; 32]).to_hex()];
    let other = OtherSlot { device: "/dev/null".to_owned(), size: 1 << 20, keys: keys(3) };
    assert_eq!(other.area(), Some((1 << 20) - 16_384));
    assert_eq!(other.manifest(&area, "x/y", "6").unwrap().version, "2");
    assert!(matches!(other.manifest(&area, "x/z", "6"), Err(ManifestError::Board { .. })));
    assert!(matches!(other.manifest(&area, "x/y", "7"), Err(ManifestError::Kernel { .. })));
    let foreign = OtherSlot { keys: keys(4), ..other.clone() };
    assert!(matches!(foreign.manifest(&area, "x/y", "6"), Err(ManifestError::Signature)));
    let small = OtherSlot { size: 16_000, ..other };
    assert_eq!(small.area(), None);
    assert!(matches!(small.manifest(&area, "x/y", "6"), Err(ManifestError::Size(16_000))));
}

#[test]
fn a_template_is_frozen() {
    let mut writer = TemplateWriter::new(4096);
    writer.add(1024, b"super");
    let bytes = writer.finish();
    assert_eq!(bytes, b"UBMCDATA\0\x10\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x05\0\0\0super");
    let template = Template::parse(&bytes).unwrap();
    assert_eq!(template.total(), 4096);
    assert_eq!(template.records().collect::<Vec<_>>(), [(1024, b"super".as_slice())]);
}

#[test]
fn a_template_that_leaves_the_partition_or_goes_back_is_refused() {
    let made = |records: &[(u64, &[u8])]| {
        let mut writer = TemplateWriter::new(4096);
        records.iter().for_each(|(offset, bytes)| writer.add(*offset, bytes));
        writer.finish()
    };
    let refused = |bytes: &[u8]| Template::parse(bytes).unwrap_err();
    assert_eq!(refused(&made(&[(4092, b"12345")])), TemplateError::Bounds(4092));
    assert_eq!(refused(&made(&[(u64::MAX, b"12345")])), TemplateError::Bounds(u64::MAX));
    assert_eq!(refused(&made(&[(8, b"1234"), (10, b"1")])), TemplateError::Bounds(10));
    let whole = made(&[(8, b"1234")]);
    assert_eq!(refused(&whole[..whole.len() - 1]), TemplateError::Cut);
    assert_eq!(refused(b"UBMCDATB00000000"), TemplateError::Header);
    assert_eq!(refused(b""), TemplateError::Header);
}

proptest! {
    #[test]
    fn a_template_gives_the_image_back(blocks in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..40), tail in 0_usize..7) {
        let mut image: Vec<u8> = blocks.iter().flat_map(|byte| [0, 0, *byte, 0, 0, 0, 0, 0]).collect();
        image.resize(image.len() + tail, 1);
        let bytes = TemplateWriter::of_image(&image, 8).finish();
        let template = Template::parse(&bytes).unwrap();
        let mut copy = vec![0; image.len()];
        for (offset, bytes) in template.records() {
            let offset = usize::try_from(offset).unwrap();
            copy[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        prop_assert_eq!(copy, image);
    }

    #[test]
    fn any_bytes_are_a_template_within_its_bounds_or_none(rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [b"UBMCDATA".as_slice(), &rest].concat();
        if let Ok(template) = Template::parse(&bytes) {
            for (offset, bytes) in template.records() {
                prop_assert!(offset + bytes.len() as u64 <= template.total());
            }
        }
    }
}
