//! What the parts of the played machine say of themselves: FRU images, and the tables its firmware hands over.

use fru::{Board, Chassis, Encoding, Error, Field, Fru, Product, Record};
use smbios::Builder;

use crate::firmware;

/// 2024-03-01 12:00 UTC.
const MADE: i64 = 1_709_294_400;

/// What an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FruPart {
    /// A board, with what it says of its chassis and of the product it is sold as.
    Board,
    /// A power supply.
    PowerSupply,
    /// Anything else.
    Other,
}

/// The image of a part as its factory wrote it, in an EEPROM of `size` bytes that is blank behind it. `id` tells two of a kind apart.
///
/// # Errors
/// A text has characters that an image cannot hold, or is too long, or the EEPROM is too small.
pub fn image(part: FruPart, vendor: &str, model: &str, id: &str, size: usize) -> Result<Vec<u8>, Error> {
    let text = |text: &str| Field::text(text, 0);
    let none = || Field::new(Encoding::Text, &[]);
    let serial = |prefix: &str| text(&format!("{prefix}-{:06}", number(id)));
    let board = Board {
        language: 0,
        made: Board::made_from(MADE).unwrap_or_default(),
        manufacturer: text(vendor)?,
        product_name: text(model)?,
        serial_number: serial("B")?,
        part_number: text("SIM-100")?,
        file_id: none()?,
        custom: Vec::new(),
    };
    let product = Product {
        language: 0,
        manufacturer: text(vendor)?,
        product_name: text(model)?,
        part_number: text("SIM-200")?,
        version: text("A")?,
        serial_number: serial("P")?,
        asset_tag: none()?,
        file_id: none()?,
        custom: Vec::new(),
    };
    let fru = match part {
        FruPart::Board => Fru {
            chassis: Some(Chassis {
                kind: 0x17,
                part_number: text("SIM-300")?,
                serial_number: serial("C")?,
                custom: Vec::new(),
            }),
            board: Some(board),
            product: Some(product),
            ..Fru::default()
        },
        FruPart::PowerSupply => {
            let mut supply = vec![0; 24];
            if let Some(capacity) = supply.first_chunk_mut() {
                *capacity = 800_u16.to_le_bytes();
            }
            if let Some(flags) = supply.get_mut(13) {
                *flags = 0x08;
            }
            let record = Record { kind: 0x00, version: 2, data: supply };
            Fru { product: Some(product), records: vec![record], ..Fru::default() }
        }
        FruPart::Other => Fru { product: Some(product), ..Fru::default() },
    };
    let mut image = fru.pack(size)?;
    image.resize(size, 0xff);
    Ok(image)
}

/// The serial number of a part: two of a kind have others, and each the same in every run.
#[must_use]
pub fn serial_number(prefix: &str, id: &str) -> String {
    format!("{prefix}-{:06}", number(id))
}

/// Two of a kind have other numbers, and each the same in every run.
fn number(id: &str) -> u32 {
    id.bytes().fold(7, |number, byte| (number * 31 + u32::from(byte)) % 1_000_000)
}

/// The body of a structure: zeros, and bytes at offsets of the specification.
fn body(length: usize, values: &[(usize, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; length.saturating_sub(4)];
    for (at, bytes) in values {
        let place = at.checked_sub(4).and_then(|from| body.get_mut(from..from + bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }
    body
}

/// The tables the firmware of a host hands over once it runs, as one file: two processors, eight memory modules, two drives and a network
/// interface. `id` is the host's.
#[must_use]
pub fn tables(vendor: &str, model: &str, id: &str) -> Vec<u8> {
    let serial = format!("P-{:06}", number(id));
    let mut uuid = [0x40; 16];
    for (place, byte) in uuid.iter_mut().zip(id.bytes()) {
        *place = byte;
    }
    let mut tables = Builder::default()
        .add(0, &body(0x18, &[(4, &[1, 2]), (8, &[3])]), &["u-bmc", firmware::VERSION, firmware::DATE])
        .add(
            1,
            &body(0x1b, &[(4, &[1, 2, 3, 4]), (8, &uuid), (0x18, &[6]), (0x19, &[5])]),
            &[vendor, model, "A", serial.as_str(), "SIM-1"],
        )
        .add(3, &body(0x15, &[(4, &[1, 0x17, 0, 2])]), &[vendor, serial.as_str()]);
    for socket in 0..2 {
        let processor = body(
            0x30,
            &[
                // A Xeon, by its family; of 64 bits.
                (4, &[1, 3, 0xb3, 2]),
                (0x10, &[3]),
                (0x14, &3_600_u16.to_le_bytes()),
                (0x18, &[0x41]),
                (0x20, &[4, 0, 5, 32, 32, 64, 0xfc, 0]),
                (0x2a, &[32, 0, 32, 0, 64, 0]),
            ],
        );
        let (name, serial) = (format!("CPU{socket}"), format!("CPU-{:06}", number(&format!("{id}{socket}"))));
        let strings = [name.as_str(), vendor, "Simulated processor 32C", serial.as_str(), "SIM-CPU"];
        tables = tables.add(4, &processor, &strings);
    }
    let array = tables.next_handle();
    let room = (2_u32 << 30).to_le_bytes();
    tables = tables.add(16, &body(0x17, &[(4, &[3, 3, 6]), (7, &room), (0x0d, &[8, 0])]), &[]);
    for (slot, name) in ["A1", "A2", "B1", "B2", "C1", "C2", "D1", "D2"].into_iter().enumerate() {
        let module = body(
            0x22,
            &[
                (4, &array.to_le_bytes()),
                (6, &[0xfe, 0xff, 80, 0, 64, 0]),
                (0x0c, &0x7fff_u16.to_le_bytes()),
                (0x0e, &[9, 0, 1, 2, 0x22]),
                (0x15, &5_600_u16.to_le_bytes()),
                (0x17, &[3, 4, 0, 5]),
                (0x1c, &32_768_u32.to_le_bytes()),
                (0x20, &5_600_u16.to_le_bytes()),
            ],
        );
        let serial = format!("DIMM-{:06}", number(&format!("{id}{slot}")));
        let (name, bank) = (format!("DIMM {name}"), format!("BANK {slot}"));
        tables = tables.add(17, &module, &[&name, &bank, vendor, &serial, "SIM-32G"]);
    }
    for (number, name, kind, bus) in
        [(1, "Drive 0", 0x8f, 0x41), (2, "Drive 1", 0x8f, 0x42), (1, "NIC 0", 0x85, 0x21)]
    {
        tables = tables.add(41, &body(0x0b, &[(4, &[1, kind, number, 0, 0, bus, 0])]), &[name]);
    }
    let address = format!("MAC NIC 0={}", mac_address(id));
    tables.add(11, &[1], &[&address]).dump()
}

/// The hardware address of the network interface of a host: two hosts have others, and each the same in every run. The first three bytes are those QEMU
/// gives to its guests, so it is locally administered.
#[must_use]
pub fn mac_address(id: &str) -> String {
    let [_, a, b, c] = number(id).to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

#[cfg(test)]
mod tests {
    use fru::{Area, Image, Name};
    use smbios::Machine;

    use super::*;

    #[test]
    fn images_are_those_of_a_factory() {
        for part in [FruPart::Board, FruPart::PowerSupply, FruPart::Other] {
            let bytes = image(part, "u-bmc", "Simulated board", "mainboard", 256).unwrap();
            assert_eq!(bytes.len(), 256);
            let read = Image::read(&bytes).unwrap();
            assert_eq!(read.damaged(), []);
            assert!(read.field(Area::Product, Name::AssetTag).unwrap().is_empty());
        }
        assert_ne!(
            image(FruPart::Other, "v", "m", "psu0", 256),
            image(FruPart::Other, "v", "m", "psu1", 256)
        );
    }

    #[test]
    fn the_machine_has_two_processors_eight_modules_two_drives_and_an_interface() {
        let machine = Machine::read_dump(&tables("u-bmc", "Simulated board", "system")).unwrap();
        assert!(machine.whole);
        assert!(machine.processors.iter().all(|processor| processor.present && processor.cores == Some(32)));
        assert!(
            machine
                .processors
                .iter()
                .all(|processor| processor.architecture.is_some() && processor.is_64_bit)
        );
        assert_eq!((machine.processors.len(), machine.memory.len(), machine.devices.len()), (2, 8, 3));
        assert!(machine.memory.iter().all(|module| module.size_mib == Some(32_768)));
        assert_eq!(machine.oem_strings, [format!("MAC NIC 0={}", mac_address("system"))]);
        assert_ne!(mac_address("system"), mac_address("system1"));
        let mut serials: Vec<_> = machine.memory.iter().map(|module| module.serial.clone()).collect();
        serials.sort_unstable();
        serials.dedup();
        assert_eq!(serials.len(), 8);
    }
}
