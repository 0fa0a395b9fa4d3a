//! What FRU images, drives, tables of a host and the board file say, as parts. Pure.

use std::collections::BTreeMap;

use board::{Board, FruKind};
use data_encoding::HEXLOWER;
use fru::{Area, Details, Image, Name};
use smbios::{Architecture, Machine};

use crate::inventory::{Intent, Kind, Part, SOURCE_MAX, Source};

/// The longest end of an id that comes from a host.
const SLUG_MAX: usize = 24;
/// Custom fields of an area that are looked at, and hardware addresses of one part that are kept.
const CUSTOM_MAX: usize = 16;
const MACS_MAX: usize = 16;

/// The board as its file describes it.
pub(crate) fn of_board(board: &Board) -> Part {
    Part {
        id: "platform".to_owned(),
        name: board.chassis.name.clone(),
        kind: Kind::System,
        source: Source::Board,
        present: true,
        manufacturer: Some(board.vendor.clone()),
        product: Some(board.model.clone()),
        part_number: Some(board.name.clone()),
        ..Part::default()
    }
}

/// A part whose image is not there.
pub(crate) fn absent(fru: &board::Fru) -> Part {
    Part {
        id: fru.id.as_str().to_owned(),
        name: fru.name.clone(),
        kind: match fru.kind {
            FruKind::Board => Kind::Board,
            FruKind::Chassis => Kind::Chassis,
            FruKind::PowerSupply => Kind::PowerSupply,
            FruKind::Drive => Kind::Drive,
            _ => Kind::Other,
        },
        source: Source::Fru,
        // Where it is kept does not depend on whether the part can be read.
        tag_in_part: fru.keeps_asset_tag,
        ..Part::default()
    }
}

/// A part as its image describes it.
pub(crate) fn of_image(fru: &board::Fru, bytes: &[u8]) -> Part {
    let mut part = Part { present: true, ..absent(fru) };
    let image = match Image::read(bytes) {
        Ok(image) => image,
        Err(error) => {
            part.damaged = error.to_string();
            return part;
        }
    };
    let damaged: Vec<String> =
        image.damaged().iter().map(|(area, why)| format!("{area} area: {why}")).collect();
    part.damaged = damaged.join("; ");
    // A board says most of itself in its own area; what is sold alone has a product area only.
    let order = match fru.kind {
        FruKind::Board => [Area::Board, Area::Product, Area::Chassis],
        FruKind::Chassis => [Area::Chassis, Area::Product, Area::Board],
        _ => [Area::Product, Area::Board, Area::Chassis],
    };
    let language = |area| match area {
        Area::Board => image.fru().board.as_ref().map_or(0, |board| board.language),
        Area::Product => image.fru().product.as_ref().map_or(0, |product| product.language),
        _ => 0,
    };
    let said = |area, name| {
        let text = image.field(area, name)?.shown(language(area));
        (!text.is_empty()).then_some(text)
    };
    // What another area says in place of one that is damaged may be about something else: the number of the product is not the board's.
    let is_damaged = |area: &Area| image.damaged().iter().any(|(damaged, _)| damaged == area);
    let believed: Vec<Area> = order.into_iter().take_while(|area| !is_damaged(area)).collect();
    let first = |name| believed.iter().find_map(|area| said(*area, name));
    part.manufacturer = first(Name::Manufacturer);
    part.product = first(Name::ProductName);
    part.part_number = first(Name::PartNumber);
    part.serial = first(Name::SerialNumber);
    part.revision = said(Area::Product, Name::Version);
    part.asset_tag = said(Area::Product, Name::AssetTag);
    part.made_at = image.fru().board.as_ref().and_then(fru::Board::made_at);
    for (area, key, name) in [
        (Area::Chassis, "chassis_serial_number", Name::SerialNumber),
        (Area::Chassis, "chassis_part_number", Name::PartNumber),
        (Area::Product, "product_name", Name::ProductName),
        (Area::Product, "product_serial_number", Name::SerialNumber),
        (Area::Product, "product_part_number", Name::PartNumber),
    ] {
        if let Some(text) = said(area, name).filter(|_| order.first() != Some(&area)) {
            part.details.insert(key.to_owned(), text);
        }
    }
    let customs = order.iter().flat_map(|area| (0..CUSTOM_MAX).map(move |at| (*area, Name::Custom(at))));
    for text in customs.filter_map(|(area, name)| said(area, name)) {
        part.mac_addresses.extend(labelled_mac(&text));
    }
    part.mac_addresses.truncate(MACS_MAX);
    for record in &image.fru().records {
        match record.details() {
            Some(Details::PowerSupply { watts, .. }) => {
                part.details.insert("capacity_watts".to_owned(), watts.to_string());
            }
            Some(Details::Uuid(bytes)) => part.uuid = Some(uuid(&bytes)),
            _ => {}
        }
    }
    part
}

/// What an image is once what was wanted of it is done; none when it is that of another part. A write that was broken off leaves an area whose
/// checksum is wrong, so the part is known by what the whole says of itself. An intent that knows its part by no serial number mends what is damaged,
/// and leaves what is whole as it is: the write was not begun or has ended, or it is another part's.
pub(crate) fn completed(fru: &board::Fru, now: &[u8], intent: &Intent) -> Option<Vec<u8>> {
    let bytes = HEXLOWER.decode(intent.bytes.as_bytes()).ok()?;
    if intent.serial.is_none() && of_image(fru, now).damaged.is_empty() {
        return Some(now.to_vec());
    }
    let mut image = now.to_vec();
    let end = intent.at.checked_add(bytes.len())?;
    image.get_mut(intent.at..end)?.copy_from_slice(&bytes);
    let part = of_image(fru, &image);
    let (bound, known) = (intent.serial.is_some(), intent.part_number.is_some());
    let same = (!bound || part.serial == intent.serial)
        && (!bound && !known || part.part_number == intent.part_number);
    (same && part.damaged.is_empty()).then_some(image)
}

/// A drive that does not answer.
pub(crate) fn no_drive(drive: &board::Drive) -> Part {
    Part {
        id: drive.id.as_str().to_owned(),
        name: drive.name.clone(),
        kind: Kind::Drive,
        source: Source::Nvme,
        ..Part::default()
    }
}

/// A drive as it describes itself. While it is not ready what it says of its state is worth nothing: what it said `before` stays. Its temperature is no
/// part of what it is: it changes all the time.
pub(crate) fn of_drive(
    drive: &board::Drive,
    identity: &nvme::Identity,
    status: nvme::Status,
    before: Option<&Part>,
) -> Part {
    let mut part = Part {
        present: true,
        manufacturer: Some(format!("PCI vendor {:#06x}", identity.vendor)),
        serial: Some(identity.serial.clone()).filter(|serial| !serial.is_empty()),
        ..no_drive(drive)
    };
    if !status.ready {
        let same = before.filter(|before| before.serial == part.serial);
        part.details = same.map(|before| before.details.clone()).unwrap_or_default();
        return part;
    }
    let warnings = status.warnings;
    let named = [
        (!status.functional, "failed"),
        (warnings.spare, "spare space is low"),
        (warnings.temperature, "temperature"),
        (warnings.reliability, "unreliable"),
        (warnings.read_only, "read only"),
        (warnings.backup, "volatile memory is not kept"),
    ];
    let named: Vec<&str> = named.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect();
    part.note("used_percent", Some(status.used_percent));
    part.note("warnings", (!named.is_empty()).then(|| named.join(", ")));
    part
}

/// What is wrong with tables of which the end is missing.
pub(crate) const BREAKS_OFF: &str = "the table of the firmware breaks off";

/// The parts of a host as its firmware describes them.
pub(crate) fn of_tables(host: &str, machine: &Machine) -> Vec<Part> {
    let mut parts = Parts { host, parts: Vec::new() };
    let damaged = if machine.whole { String::new() } else { BREAKS_OFF.to_owned() };
    if let Some(system) = &machine.system {
        parts.add("system", "System", Kind::System, |part| {
            part.manufacturer.clone_from(&system.manufacturer);
            part.product.clone_from(&system.product);
            part.revision.clone_from(&system.version);
            part.serial.clone_from(&system.serial);
            part.sku.clone_from(&system.sku);
            part.uuid = system.uuid.as_ref().map(uuid);
            part.damaged.clone_from(&damaged);
        });
    }
    if let Some(firmware) = &machine.firmware {
        parts.add("firmware", "Firmware", Kind::Firmware, |part| {
            part.manufacturer.clone_from(&firmware.vendor);
            part.revision.clone_from(&firmware.version);
            part.note("released", firmware.date.clone());
        });
    }
    for board in &machine.boards {
        let name = board.product.as_deref().unwrap_or("Board");
        parts.add("board", name, Kind::Board, |part| {
            part.manufacturer.clone_from(&board.manufacturer);
            part.product.clone_from(&board.product);
            part.revision.clone_from(&board.version);
            part.serial.clone_from(&board.serial);
            part.asset_tag.clone_from(&board.asset_tag);
        });
    }
    for chassis in &machine.chassis {
        parts.add("chassis", "Chassis", Kind::Chassis, |part| {
            part.manufacturer.clone_from(&chassis.manufacturer);
            part.revision.clone_from(&chassis.version);
            part.serial.clone_from(&chassis.serial);
            part.asset_tag.clone_from(&chassis.asset_tag);
        });
    }
    for processor in &machine.processors {
        let name = processor.socket.as_deref().unwrap_or("CPU");
        parts.add(name, name, Kind::Processor, |part| {
            part.present = processor.present;
            if !processor.present {
                return;
            }
            part.manufacturer.clone_from(&processor.manufacturer);
            part.product.clone_from(&processor.version);
            part.part_number.clone_from(&processor.part);
            part.serial.clone_from(&processor.serial);
            part.asset_tag.clone_from(&processor.asset_tag);
            part.note("cores", processor.cores);
            part.note("cores_enabled", processor.cores_enabled);
            part.note("threads", processor.threads);
            part.note("max_mhz", processor.max_mhz);
            let runs = processor.architecture.map(|architecture| runs(architecture, processor.is_64_bit));
            part.note("architecture", runs.map(|(architecture, _)| architecture));
            part.note("instruction_set", runs.map(|(_, set)| set));
        });
    }
    for module in &machine.memory {
        let name = module.locator.as_deref().unwrap_or("DIMM");
        parts.add(name, name, Kind::Memory, |part| {
            part.present = module.present;
            if !module.present {
                return;
            }
            part.manufacturer.clone_from(&module.manufacturer);
            part.product = module.kind.map(str::to_owned);
            part.part_number.clone_from(&module.part);
            part.serial.clone_from(&module.serial);
            part.asset_tag.clone_from(&module.asset_tag);
            part.note("size_mib", module.size_mib);
            part.note("speed_mts", module.configured_speed.or(module.speed));
            part.note("bank", module.bank.clone());
        });
    }
    for slot in &machine.slots {
        let name = slot.designation.as_deref().unwrap_or("Slot");
        parts.add(name, name, Kind::Slot, |part| {
            part.present = true;
            part.note("in_use", slot.in_use);
            part.note("address", slot.address.map(bus_address));
        });
    }
    for device in &machine.devices {
        let name = device.designation.as_deref().unwrap_or("Device");
        let kind = match device.kind {
            Some("Ethernet" | "Wireless LAN" | "WWAN") => Kind::NetworkInterface,
            Some("NVMe controller" | "UFS controller" | "eMMC") => Kind::Drive,
            _ => Kind::Other,
        };
        parts.add(name, name, kind, |part| {
            if kind == Kind::NetworkInterface {
                let said = machine.oem_strings.iter().filter_map(|text| mac_of(name, text));
                part.mac_addresses = said.take(MACS_MAX).collect();
            }
            part.product = device.kind.map(str::to_owned);
            part.note("enabled", Some(device.enabled));
            part.note("address", device.address.map(bus_address));
        });
    }
    parts.parts
}

/// The hardware address that one of the maker's strings in the tables has for a device: `MAC NIC 0=52:54:00:12:34:56`. The tables have no other place
/// for it (DSP0134 has hardware addresses for the host interface only, type 42).
fn mac_of(device: &str, text: &str) -> Option<String> {
    let (name, address) = text.strip_prefix("MAC ")?.split_once('=')?;
    if name == device { mac_address(address) } else { None }
}

/// The hardware address in a custom field of a FRU image: the field's name for it is not standardised, `MAC` is what boards write.
fn labelled_mac(text: &str) -> Option<String> {
    let rest = text.get(..3).filter(|label| label.eq_ignore_ascii_case("mac")).and_then(|_| text.get(3..))?;
    mac_address(rest.rsplit_once(['=', ' ']).map_or(rest, |(_, address)| address).trim_start_matches(':'))
}

/// Six bytes as `52:54:00:12:34:56`, however they are written; none for one that no port has: a group's, or none at all.
fn mac_address(text: &str) -> Option<String> {
    let digits: String = text.trim().chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let bytes = HEXLOWER.decode(digits.to_ascii_lowercase().as_bytes()).ok()?;
    let [first, ..] = *bytes.as_slice() else { return None };
    let is_one = bytes.len() == 6 && first & 1 == 0 && bytes.iter().any(|byte| *byte != 0);
    is_one.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

struct Parts<'a> {
    host: &'a str,
    parts: Vec<Part>,
}

impl Parts<'_> {
    /// Adds a part, with an id that no other has.
    fn add(&mut self, id: &str, name: &str, kind: Kind, fill: impl FnOnce(&mut Part)) {
        if self.parts.len() >= SOURCE_MAX {
            return;
        }
        let base = format!("{}-{}", self.host, slug(id));
        let taken = |id: &str| self.parts.iter().any(|part| part.id == id);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let id = std::iter::once(base.clone()).chain(numbered).find(|id| !taken(id));
        let mut part = Part {
            id: id.unwrap_or(base),
            name: name.to_owned(),
            kind,
            source: Source::Smbios,
            host: self.host.to_owned(),
            present: true,
            ..Part::default()
        };
        fill(&mut part);
        self.parts.push(part);
    }
}

impl Part {
    fn note(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.details.insert(key.to_owned(), value.to_string());
        }
    }
}

/// Lower-case letters and digits, what is between them as one `-`.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars().take(SLUG_MAX) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "part".to_owned() } else { slug.to_owned() }
}

fn bus_address((segment, bus, function): (u16, u8, u8)) -> String {
    format!("{segment:04x}:{bus:02x}:{:02x}.{}", function >> 3, function & 7)
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// What is said of a tag or a place.
pub(crate) fn told(words: &BTreeMap<&str, (Option<&str>, Option<&str>)>) -> String {
    let differ: Vec<String> = words
        .iter()
        .filter(|(_, (was, now))| was != now)
        .map(|(name, (was, now))| match (was, now) {
            (_, None) => format!("{name} cleared"),
            (None, Some(now)) => format!("{name} {now:?}"),
            (Some(was), Some(now)) => format!("{name} {now:?}, was {was:?}"),
        })
        .collect();
    differ.join("; ")
}

/// Architecture and set of instructions, in the words of DSP0268 (`ProcessorArchitecture`, `InstructionSet`).
fn runs(architecture: Architecture, is_64_bit: bool) -> (&'static str, &'static str) {
    match (architecture, is_64_bit) {
        (Architecture::X86, true) => ("x86", "x86-64"),
        (Architecture::X86, false) => ("x86", "x86"),
        (Architecture::Arm, true) => ("ARM", "ARM-A64"),
        (Architecture::Arm, false) => ("ARM", "ARM-A32"),
        (Architecture::RiscV, true) => ("RISC-V", "RV64"),
        (Architecture::RiscV, false) => ("RISC-V", "RV32"),
        (Architecture::Power, _) => ("Power", "PowerISA"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use twin::FruPart;

    use super::*;

    fn sim() -> Board {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        Board::load(&file, &[]).unwrap()
    }

    #[test]
    fn the_image_of_a_board() {
        let board = sim();
        let fru = &board.frus[0];
        let bytes = twin::image(FruPart::Board, "ACME", "Mainboard 2S", "mainboard", 256).unwrap();
        let part = of_image(fru, &bytes);
        assert_eq!((part.id.as_str(), part.kind, part.present), ("mainboard", Kind::Board, true));
        assert_eq!(part.manufacturer.as_deref(), Some("ACME"));
        assert!(
            part.serial.as_deref().unwrap().starts_with("B-"),
            "its own serial number, not the product's"
        );
        assert!(part.details["product_serial_number"].starts_with("P-"));
        assert!(part.details["chassis_serial_number"].starts_with("C-"));
        assert_eq!((part.made_at, part.damaged.as_str()), (Some(1_709_294_400), ""));
        assert!(part.tag_in_part);
    }

    #[test]
    fn a_board_whose_own_area_is_damaged_has_not_become_another() {
        let board = sim();
        let mut bytes = twin::image(FruPart::Board, "ACME", "Mainboard 2S", "mainboard", 256).unwrap();
        let area = usize::from(bytes[3]) * 8;
        bytes[area + 9] ^= 0x40;
        let part = of_image(&board.frus[0], &bytes);
        assert!(part.damaged.starts_with("board area: "), "{}", part.damaged);
        assert_eq!((part.serial, part.part_number), (None, None), "those of the product are no board's");
        assert!(part.details["product_serial_number"].starts_with("P-"));
    }

    #[test]
    fn the_image_of_a_power_supply_and_one_that_is_none() {
        let board = sim();
        let bytes = twin::image(FruPart::PowerSupply, "ACME", "PSU", "psu1", 256).unwrap();
        let part = of_image(&board.frus[2], &bytes);
        assert_eq!((part.kind, part.details["capacity_watts"].as_str()), (Kind::PowerSupply, "800"));
        let blank = of_image(&board.frus[2], &[0xff; 256]);
        assert!(blank.present && blank.serial.is_none());
        assert_eq!(blank.damaged, "there is no FRU header");
    }

    #[test]
    fn an_intent_is_done_in_its_part_and_in_no_other() {
        let board = sim();
        let fru = &board.frus[2];
        let image = |id: &str| twin::image(FruPart::PowerSupply, "ACME", "PSU", id, 256).unwrap();
        let (before, other) = (image("psu1"), image("psu2"));
        let after = Image::read(&before).unwrap().with(Area::Product, Name::AssetTag, "A-1").unwrap();
        let after = after.bytes();
        let differs = |index: &usize| before[*index] != after[*index];
        let (from, to) = ((0..256).find(differs).unwrap(), (0..256).rev().find(differs).unwrap());
        let part = of_image(fru, after);
        let intent = Intent {
            at: from,
            bytes: HEXLOWER.encode(&after[from..=to]),
            serial: part.serial.clone(),
            part_number: part.part_number,
            told: None,
        };
        // Broken off anywhere, it is completed.
        for written in 0..=to - from + 1 {
            let mut half = before.clone();
            half[from..from + written].copy_from_slice(&after[from..from + written]);
            assert_eq!(completed(fru, &half, &intent).as_deref(), Some(after), "{written}");
        }
        assert_ne!(of_image(fru, &other).serial, part.serial);
        assert_eq!(completed(fru, &other, &intent), None);
        assert_eq!(completed(fru, &[0xff; 256], &intent), None);
        // One of before, which does not say of which part it is: what is damaged is mended, what is whole stays as it is.
        let unbound = Intent { at: intent.at, bytes: intent.bytes.clone(), ..Intent::default() };
        for (written, whole) in [(0, true), (1, false), (to - from, false), (to - from + 1, true)] {
            let mut half = before.clone();
            half[from..from + written].copy_from_slice(&after[from..from + written]);
            let wanted = if whole { half.as_slice() } else { after };
            assert_eq!(completed(fru, &half, &unbound).as_deref(), Some(wanted), "{written}");
        }
        assert_eq!(completed(fru, &other, &unbound).as_deref(), Some(other.as_slice()));
        assert_eq!(completed(fru, &[0xff; 256], &unbound), None);
        let beyond = Intent { at: 255, ..intent };
        assert_eq!(completed(fru, &before, &beyond), None);
    }

    #[test]
    fn where_a_tag_is_kept_is_known_before_the_part_is_read() {
        let board = sim();
        assert!(absent(&board.frus[0]).tag_in_part);
    }

    /// NVMe-MI 1.2, appendix A: the identity of the second example, states of the table.
    #[test]
    fn a_drive_says_who_it_is_and_what_it_warns_of() {
        let drive = sim().drives[0].clone();
        let identity = nvme::Identity { vendor: 0x1234, serial: "AZ123456".to_owned() };
        let ready = nvme::Status {
            ready: true,
            functional: true,
            needs_reset: false,
            links: [true, true],
            warnings: nvme::Warnings { spare: true, read_only: true, ..nvme::Warnings::default() },
            temperature: nvme::Temperature::Celsius(40),
            used_percent: 12,
        };
        let part = of_drive(&drive, &identity, ready, None);
        assert_eq!((part.kind, part.present, part.serial.as_deref()), (Kind::Drive, true, Some("AZ123456")));
        assert_eq!(part.manufacturer.as_deref(), Some("PCI vendor 0x1234"));
        assert_eq!(part.details["used_percent"], "12");
        assert_eq!(part.details["warnings"], "spare space is low, read only");
        // A drive whose host is off is the drive it was.
        let off = nvme::Status { ready: false, used_percent: 0, ..ready };
        assert_eq!(of_drive(&drive, &identity, off, Some(&part)), part);
        let other = nvme::Identity { serial: "OTHER".to_owned(), ..identity };
        assert!(of_drive(&drive, &other, off, Some(&part)).details.is_empty());
    }

    #[test]
    fn the_parts_of_a_host() {
        let machine = Machine::read_dump(&twin::tables("ACME", "Server", "system")).unwrap();
        let parts = of_tables("system", &machine);
        let of = |kind| parts.iter().filter(|part| part.kind == kind).count();
        assert_eq!((of(Kind::Processor), of(Kind::Memory), of(Kind::Drive)), (2, 8, 2));
        assert_eq!((of(Kind::NetworkInterface), of(Kind::System), of(Kind::Firmware)), (1, 1, 1));
        let module = parts.iter().find(|part| part.id == "system-dimm-a1").unwrap();
        assert_eq!((module.name.as_str(), module.details["size_mib"].as_str()), ("DIMM A1", "32768"));
        let nic = parts.iter().find(|part| part.id == "system-nic-0").unwrap();
        assert_eq!(nic.details["address"], "0000:21:00.0");
        assert_eq!(nic.mac_addresses, [twin::mac_address("system")]);
        let mut ids: Vec<_> = parts.iter().map(|part| part.id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), parts.len());
        assert!(ids.iter().all(|id| id.len() <= 64));
    }

    #[test]
    fn hardware_addresses_are_believed_where_they_are_one_port_s() {
        for (text, wanted) in [
            ("MAC: 52:54:00:12:34:56", Some("52:54:00:12:34:56")),
            ("MAC=52-54-00-AB-CD-EF", Some("52:54:00:ab:cd:ef")),
            ("mac address 525400abcdef", Some("52:54:00:ab:cd:ef")),
            ("MAC:5254.00ab.cdef", Some("52:54:00:ab:cd:ef")),
            ("MAC: 53:54:00:12:34:56", None),
            ("MAC: 00:00:00:00:00:00", None),
            ("MAC: 52:54:00:12:34", None),
            ("MACHINE", None),
            ("\u{e9}\u{e9}", None),
            ("52:54:00:12:34:56", None),
        ] {
            assert_eq!(labelled_mac(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(mac_of("NIC 0", "MAC NIC 0=52:54:00:12:34:56").as_deref(), Some("52:54:00:12:34:56"));
        assert_eq!(mac_of("NIC 1", "MAC NIC 0=52:54:00:12:34:56"), None);
    }

    #[test]
    fn ids_are_words() {
        assert_eq!(slug("DIMM A1"), "dimm-a1");
        assert_eq!(slug("  P0_Node0/Channel#2 "), "p0-node0-channel-2");
        assert_eq!(slug("内存"), "part");
        assert_eq!(uuid(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
