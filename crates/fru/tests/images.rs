//! Images: worked bytes, changes, damage, and what others read in them.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::process::Command;

use fru::{Area, Board, Chassis, Details, Encoding, Error, Field, Fru, Image, Name, Product, Record};
use proptest::prelude::*;

/// Made by frugy 0.5.4 from the values below: an opinion that is not ours.
const MADE_BY_ANOTHER: &[u8] = b"\
    \x01\x00\x01\x03\x09\x00\x00\xf2\
    \x01\x02\x17\xc4CH-1\xc5C0815\xc1\xa2\
    \x01\x06\x00\x30\x0b\xe2\xc4ACME\xccMainboard 2S\xc6MB0001\xc8100-2000\xc0\xc1\x00\x00\x00\x00\x00\x25\
    \x01\x07\x00\xc4ACME\xcbServer 1000\xc6P-1000\xc3A01\xc7SN-4711\xc6rack 7\xc0\xc1\x00\x00\x00\x00\x00\x00\x00\xf1";

fn text(text: &str) -> Field {
    Field::text(text, 0).unwrap()
}

fn nothing() -> Field {
    Field::new(Encoding::Text, &[]).unwrap()
}

fn server() -> Fru {
    Fru {
        internal: None,
        chassis: Some(Chassis {
            kind: 0x17,
            part_number: text("CH-1"),
            serial_number: text("C0815"),
            custom: Vec::new(),
        }),
        board: Some(Board {
            language: 0,
            // 2024-03-01 12:00 UTC.
            made: Board::made_from(1_709_294_400).unwrap(),
            manufacturer: text("ACME"),
            product_name: text("Mainboard 2S"),
            serial_number: text("MB0001"),
            part_number: text("100-2000"),
            file_id: nothing(),
            custom: Vec::new(),
        }),
        product: Some(Product {
            language: 0,
            manufacturer: text("ACME"),
            product_name: text("Server 1000"),
            part_number: text("P-1000"),
            version: text("A01"),
            serial_number: text("SN-4711"),
            asset_tag: text("rack 7"),
            file_id: nothing(),
            custom: Vec::new(),
        }),
        records: Vec::new(),
    }
}

/// The image in an EEPROM of 256 bytes, which is blank where nothing was written.
fn eeprom(image: &[u8]) -> Vec<u8> {
    let mut bytes = image.to_vec();
    bytes.resize(256, 0xff);
    bytes
}

/// Sections 8, 10, 11 and 12: header, areas and their checksums, byte by byte as another program writes them.
#[test]
fn our_bytes_are_those_of_another() {
    assert_eq!(server().pack(256).unwrap(), MADE_BY_ANOTHER);
    let image = Image::read(&eeprom(MADE_BY_ANOTHER)).unwrap();
    assert_eq!(image.damaged(), []);
    assert_eq!(*image.fru(), server());
    assert_eq!(image.fru().board.as_ref().unwrap().made_at(), Some(1_709_294_400));
    assert_eq!(image.field(Area::Product, Name::AssetTag).unwrap().shown(0), "rack 7");
    assert_eq!(image.field(Area::Board, Name::AssetTag), None);
}

/// Sections 8 to 12 as a maker of boards has worked them out: Quanta QSSC-S99K 2U, user's manual, page 110 (header, internal use and chassis area, with
/// their checksums f3h and a6h), page 111 (board area, deh) and page 112 (product area, fch). The date of the board is open there; it is taken so that the
/// checksum of the manual holds.
#[test]
fn the_worked_image_of_a_manual() {
    let worked = b"\
        \x01\x01\x02\x03\x06\x00\x00\xf3\
        \x01\x00\x00\x00\x00\x00\x00\x00\
        \x01\x01\x17\xc0\xc0\xc1\x00\xa6\
        \x01\x03\x19\xe8\x00\x00\xc0\xc0\xc0\xcb3QS99FB0000\xc0\xc1\xde\
        \x01\x02\x00\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc1\x00\x00\x00\x00\xfc";
    let image = Image::read(&eeprom(worked)).unwrap();
    assert_eq!(image.damaged(), []);
    let fru = image.fru();
    let (chassis, board) = (fru.chassis.as_ref().unwrap(), fru.board.as_ref().unwrap());
    assert_eq!((chassis.kind, board.language), (0x17, 0x19));
    assert_eq!(image.field(Area::Board, Name::PartNumber).unwrap().shown(0x19), "3QS99FB0000");
    assert!(image.field(Area::Board, Name::SerialNumber).unwrap().shown(0x19).is_empty());
    assert_eq!(fru.product.as_ref().unwrap().custom, []);
    assert_eq!(fru.pack(256).unwrap(), worked, "written as it was read");
    let last = worked.len() - 1;
    for at in [7, 23, 47, last] {
        let mut wrong = worked.to_vec();
        wrong[at] ^= 1;
        let image = Image::read(&eeprom(&wrong));
        assert!(image.map_or(true, |image| !image.damaged().is_empty()), "the checksum at {at} counts");
    }
}

/// Section 11: minutes from 1996-01-01 00:00, in three bytes; zero is "unspecified" since revision 1.1.
#[test]
fn dates_of_manufacture() {
    assert_eq!(Board::default().made_at(), None);
    assert_eq!(Board::made_from(820_454_399), None);
    assert_eq!(Board::made_from(820_454_400), None, "the first minute cannot be said");
    assert_eq!(Board::made_from(820_454_460), Some(1));
    assert_eq!(Board { made: 0xff_ffff, ..Board::default() }.made_at(), Some(1_827_087_300));
    assert_eq!(Board::made_from(1_827_087_360), None);
}

/// Section 16 and 18: heads (16.1, page 19: bit 7 of the second byte ends the list), checksums and the records that are known.
#[test]
fn records() {
    let mut supply = vec![0xbc, 0x02];
    supply.resize(24, 0);
    supply[13] = 0x08;
    let uuid: Vec<u8> = (1..=16).collect();
    let records = vec![
        Record { kind: 0x00, version: 2, data: supply },
        Record { kind: 0x01, version: 2, data: vec![1, 0xb0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x27] },
        Record { kind: 0x03, version: 2, data: [&[7], &uuid[..]].concat() },
        Record { kind: 0x03, version: 2, data: b"\x01https://bmc/".to_vec() },
        Record { kind: 0xc0, version: 2, data: vec![1, 2, 3] },
    ];
    let packed = Fru { records: records.clone(), ..server() }.pack(512).unwrap();
    let image = Image::read(&packed).unwrap();
    assert_eq!(image.damaged(), []);
    assert_eq!(image.fru().records, records);
    let (mut at, mut ends) = (usize::from(packed[5]) * 8, Vec::new());
    for _ in &records {
        ends.push(packed[at + 1] & 0x80 != 0);
        at += 5 + usize::from(packed[at + 2]);
    }
    assert_eq!(ends, [false, false, false, false, true]);
    let details: Vec<_> = image.fru().records.iter().map(Record::details).collect();
    assert_eq!(
        details,
        [
            Some(Details::PowerSupply { watts: 700, hot_swap: true }),
            Some(Details::DcOutput { number: 1, centivolts: 1_200, milliamps: 10_000 }),
            Some(Details::Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])),
            Some(Details::Management(1, "https://bmc/".to_owned())),
            None,
        ]
    );
}

#[test]
fn a_change_that_fits_touches_its_area_only() {
    let before = eeprom(MADE_BY_ANOTHER);
    let image = Image::read(&before).unwrap();
    let after = image.with(Area::Product, Name::AssetTag, "rack 8b").unwrap();
    assert_eq!(after.field(Area::Product, Name::AssetTag).unwrap().shown(0), "rack 8b");
    let product = 9 * 8..16 * 8;
    for at in (0..256).filter(|at| !product.contains(at)) {
        assert_eq!(after.bytes()[at], before[at], "byte {at}");
    }
    let back = after.with(Area::Product, Name::AssetTag, "rack 7").unwrap();
    assert_eq!(back.bytes(), before);
}

#[test]
fn a_change_that_does_not_fit_moves_what_follows() {
    let mut fru = server();
    fru.internal = Some(vec![7; 15]);
    fru.records = vec![Record { kind: 0xc0, version: 2, data: vec![9; 20] }];
    let image = Image::read(&eeprom(&fru.pack(256).unwrap())).unwrap();
    let name = "a board with a name that is longer than its area has room for";
    let after = image.with(Area::Board, Name::ProductName, name).unwrap();
    assert_eq!(after.damaged(), []);
    assert_eq!(after.bytes().len(), 256);
    fru.board.as_mut().unwrap().product_name = text(name);
    assert_eq!(*after.fru(), fru);
    assert_eq!(after.with(Area::Board, Name::Manufacturer, name), Err(Error::NoRoom));
}

#[test]
fn a_change_that_cannot_be_is_refused() {
    let image = Image::read(&eeprom(MADE_BY_ANOTHER)).unwrap();
    assert_eq!(image.with(Area::Board, Name::AssetTag, "x"), Err(Error::NoField(Name::AssetTag)));
    assert_eq!(image.with(Area::MultiRecord, Name::AssetTag, "x"), Err(Error::NoField(Name::AssetTag)));
    assert_eq!(image.with(Area::Product, Name::Custom(1), "x"), Err(Error::NoField(Name::Custom(1))));
    assert!(image.with(Area::Product, Name::Custom(0), "x").is_ok());
    assert_eq!(image.with(Area::Product, Name::AssetTag, "大"), Err(Error::Character));
    assert_eq!(image.with(Area::Product, Name::AssetTag, &"x".repeat(64)), Err(Error::TooLong));
    let small = Fru { board: None, ..server() }.pack(256).unwrap();
    let small = Image::read(&small).unwrap();
    assert_eq!(small.with(Area::Board, Name::Manufacturer, "x"), Err(Error::NoArea(Area::Board)));
}

/// I-8: what is damaged is told, never shown, and never written over.
#[test]
fn a_damaged_area_hides_no_other() {
    let mut bytes = eeprom(MADE_BY_ANOTHER);
    bytes[30] ^= 0x20;
    let image = Image::read(&bytes).unwrap();
    assert_eq!(image.damaged(), [(Area::Board, Error::Checksum)]);
    assert_eq!(image.fru().board, None);
    assert_eq!(image.fru().product, server().product);
    assert_eq!(image.with(Area::Product, Name::AssetTag, "x"), Err(Error::Damaged(Area::Board)));
}

#[test]
fn what_is_no_image() {
    assert_eq!(Image::read(&[]), Err(Error::NoHeader));
    assert_eq!(Image::read(&[0xff; 256]), Err(Error::NoHeader), "a blank EEPROM");
    assert_eq!(Image::read(&[0; 256]), Err(Error::NoHeader));
    assert_eq!(Image::read(&vec![1; 65_537]), Err(Error::TooLarge));
    let mut bytes = MADE_BY_ANOTHER.to_vec();
    bytes[7] ^= 1;
    assert_eq!(Image::read(&bytes), Err(Error::NoHeader));
    let cut = Image::read(&MADE_BY_ANOTHER[..100]).unwrap();
    assert_eq!(cut.damaged(), [(Area::Product, Error::OutOfImage)]);
    // Two areas at one place.
    let shared = [1, 0, 1, 1, 0, 0, 0, 0xfd, 1, 1, 0, 0xc1, 0, 0, 0, 0x3d];
    let image = Image::read(&shared).unwrap();
    assert!(image.damaged().contains(&(Area::Board, Error::Overlap)), "{:?}", image.damaged());
}

/// Images of ours, new and changed, are read by a program that is not ours.
#[test]
fn others_read_our_images() {
    let changed = Image::read(&eeprom(&server().pack(256).unwrap()))
        .and_then(|image| image.with(Area::Board, Name::ProductName, "Mainboard with a longer name"))
        .and_then(|image| image.with(Area::Product, Name::AssetTag, "row 3, rack 12"))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fru.bin");
    std::fs::write(&file, changed.bytes()).unwrap();
    let frugy = std::env::var_os("UBMC_TEST_FRUGY").unwrap_or_else(|| "frugy".into());
    let Ok(output) = Command::new(frugy).arg("-d").arg(&file).output() else {
        println!("SKIP: frugy is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    for value in ["Mainboard with a longer name", "row 3, rack 12", "SN-4711", "C0815", "2024-03-01 12:00:00"]
    {
        assert!(said.contains(value), "frugy does not say {value}: {said}");
    }
}

fn field() -> impl Strategy<Value = Field> {
    let encoding = prop_oneof![
        Just(Encoding::Binary),
        Just(Encoding::BcdPlus),
        Just(Encoding::SixBit),
        Just(Encoding::Text)
    ];
    (encoding, prop::collection::vec(any::<u8>(), 0..30))
        .prop_filter_map("one byte of text", |(encoding, bytes)| Field::new(encoding, &bytes).ok())
}

fn custom() -> impl Strategy<Value = Vec<Field>> {
    prop::collection::vec(field().prop_filter("padding", |field| !field.is_empty()), 0..4)
}

fn any_fru() -> impl Strategy<Value = Fru> {
    let chassis =
        (any::<u8>(), field(), field(), custom()).prop_map(|(kind, part_number, serial_number, custom)| {
            Chassis { kind, part_number, serial_number, custom }
        });
    let board = (any::<u8>(), 0u32..1 << 24, prop::array::uniform5(field()), custom()).prop_map(
        |(language, made, [manufacturer, product_name, serial_number, part_number, file_id], custom)| Board {
            language,
            made,
            manufacturer,
            product_name,
            serial_number,
            part_number,
            file_id,
            custom,
        },
    );
    let record = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..=255)).prop_map(|(kind, data)| Record {
        kind,
        version: 2,
        data,
    });
    (
        prop::option::of(prop::collection::vec(any::<u8>(), 7..=7)),
        prop::option::of(chassis),
        prop::option::of(board),
        prop::collection::vec(record, 0..5),
    )
        .prop_map(|(internal, chassis, board, records)| Fru {
            internal,
            chassis,
            board,
            product: None,
            records,
        })
}

proptest! {
    #[test]
    fn what_is_packed_reads_the_same(fru in any_fru()) {
        let packed = fru.pack(fru::MAX_IMAGE).unwrap();
        let image = Image::read(&packed).unwrap();
        prop_assert_eq!(image.damaged(), []);
        prop_assert_eq!(image.fru(), &fru);
    }

    /// I-7: any bytes, and any good image with bytes changed, are read or refused.
    #[test]
    fn no_bytes_panic(
        fru in any_fru(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        mend: bool,
        name in prop::sample::select(vec![Name::Manufacturer, Name::SerialNumber, Name::Custom(0)]),
        tag in ".{0,20}",
    ) {
        let mut bytes = fru.pack(4_096).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if mend {
            bytes[7] = 0u8.wrapping_sub(bytes[..7].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        }
        if let Ok(image) = Image::read(&bytes) {
            for area in [Area::Chassis, Area::Board, Area::Product] {
                if let Ok(changed) = image.with(area, name, &tag) {
                    prop_assert_eq!(changed.bytes().len(), bytes.len());
                    prop_assert_eq!(changed.damaged(), []);
                }
            }
        }
    }

    /// A change changes its field and nothing else that the image says.
    #[test]
    fn a_change_changes_one_field(tag in "[ -~]{0,40}[!-~]", serial in "[A-Z0-9]{2,40}") {
        let image = Image::read(&eeprom(MADE_BY_ANOTHER)).unwrap();
        let changed = image.with(Area::Product, Name::AssetTag, &tag);
        let changed = changed.and_then(|image| image.with(Area::Chassis, Name::SerialNumber, &serial)).unwrap();
        let mut wanted = server();
        wanted.product.as_mut().unwrap().asset_tag = text(&tag);
        wanted.chassis.as_mut().unwrap().serial_number = text(&serial);
        prop_assert_eq!(changed.fru(), &wanted);
    }
}
