//! Which pin of the emulated SoC each wire of a board is: its object in QEMU, and where its registers are.
//!
//! QEMU offers a pin as a boolean property, which tells its level and not whether the firmware drives it. The chip's registers tell
//! both, so levels are read from there, and the property is only written.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use board::{Board, Input};
use hal::LineId;
use sensors::Kind;
use twin::Role;

use crate::names::Place;

/// A GPIO controller of the AST2600 as QEMU has it.
#[derive(Debug)]
struct Chip {
    /// The kernel's label; the node in the device tree is `gpio@` and the number before the dot.
    label: &'static str,
    object: &'static str,
    /// What the properties' names begin with; a letter for the group of eight and the number in the group follow.
    prefix: &'static str,
    lines: u32,
    /// Addresses of two registers of each 32 lines: data, which the direction follows, and the interrupts' status.
    banks: &'static [(u64, u64)],
}

const CHIPS: [Chip; 2] = [
    Chip {
        label: "1e780000.gpio",
        object: "/machine/soc/gpio",
        prefix: "gpio",
        lines: 208,
        banks: &[
            (0x1e78_0000, 0x1e78_0018),
            (0x1e78_0020, 0x1e78_0038),
            (0x1e78_0070, 0x1e78_00a8),
            (0x1e78_0078, 0x1e78_00f8),
            (0x1e78_0080, 0x1e78_0128),
            (0x1e78_0088, 0x1e78_0158),
            (0x1e78_01e0, 0x1e78_0188),
        ],
    },
    Chip {
        label: "1e780800.gpio",
        object: "/machine/soc/gpio_1_8v",
        prefix: "gpio18",
        lines: 36,
        banks: &[(0x1e78_0800, 0x1e78_0818), (0x1e78_0820, 0x1e78_0838)],
    },
];

/// A pin of the SoC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The object in QEMU.
    pub object: &'static str,
    /// Its property there.
    pub property: String,
    /// Address of the data register; the direction register is the next word.
    pub bank: u64,
    /// Address of the register that tells which interrupts the firmware has not acknowledged.
    pub pending: u64,
    /// The pin's bit in all of them.
    pub mask: u32,
}

impl Pin {
    /// The pin of a line, by its name in the device tree or by chip and number.
    ///
    /// # Errors
    /// When there is no such line, or it is none of the SoC's own.
    pub fn find(id: &LineId, names: &HashMap<String, Place>) -> Result<Self> {
        let (chip, offset) = match id {
            LineId::Name(name) => {
                let place =
                    names.get(name).with_context(|| format!("the device tree names no line {name:?}"))?;
                let unit = place.node.strip_prefix("gpio@").unwrap_or(&place.node);
                (format!("{unit}.gpio"), place.offset)
            }
            LineId::Offset { chip, offset } => (chip.clone(), *offset),
        };
        let Some(known) = CHIPS.iter().find(|known| known.label == chip) else {
            bail!("line {id} is on {chip}, which is no GPIO chip of the SoC");
        };
        if offset >= known.lines {
            bail!("line {id}: {chip} has {} lines", known.lines);
        }
        let bank = usize::try_from(offset / 32).ok().and_then(|bank| known.banks.get(bank));
        let group = u8::try_from(offset / 8).ok().and_then(|group| b'A'.checked_add(group));
        let (&(bank, pending), group) =
            bank.zip(group).with_context(|| format!("line {id} has no register"))?;
        Ok(Self {
            object: known.object,
            property: format!("{}{}{}", known.prefix, char::from(group), offset % 8),
            bank,
            pending,
            mask: 1 << (offset % 32),
        })
    }
}

/// A wire between BMC and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Number of the host in the board file.
    pub host: usize,
    /// What it is to the host.
    pub role: Role,
    /// Active when low.
    pub active_low: bool,
    /// The SoC's end.
    pub pin: Pin,
}

/// All wires of a board.
///
/// # Errors
/// Names the line that the device tree lacks, or that is not on the SoC.
pub fn wires(board: &Board, names: &HashMap<String, Place>) -> Result<Vec<Wire>> {
    let mut wires = Vec::new();
    for (host, wired) in board.hosts.iter().enumerate() {
        for (key, _, line) in wired.power.lines() {
            let Some(role) = Role::of_key(key) else { continue };
            let pin = Pin::find(&line.id, names)?;
            wires.push(Wire { host, role, active_low: line.active_low, pin });
        }
    }
    Ok(wires)
}

/// The line of a part that can be plugged in, such as a power supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    /// The sensor that tells of it.
    pub sensor: String,
    /// Active when low.
    pub active_low: bool,
    /// The SoC's end.
    pub pin: Pin,
    /// Whether the part is in its place.
    pub is_there: bool,
}

/// The lines of all parts of a board that can be plugged in, each in its place.
///
/// # Errors
/// As [`wires`].
pub fn plugs(board: &Board, names: &HashMap<String, Place>) -> Result<Vec<Plug>> {
    let mut plugs = Vec::new();
    for sensor in &board.sensors {
        if let (Input::Line { line, .. }, Kind::Presence) = (&sensor.input, sensor.spec.kind) {
            let pin = Pin::find(&line.id, names)?;
            let (sensor, active_low) = (sensor.id.to_string(), line.active_low);
            plugs.push(Plug { sensor, active_low, pin, is_there: true });
        }
    }
    Ok(plugs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(chip: &str, offset: u32) -> Result<Pin> {
        Pin::find(&LineId::Offset { chip: chip.into(), offset }, &HashMap::new())
    }

    #[test]
    fn pins_have_the_names_and_registers_of_the_chips_manual() {
        let cases = [
            ("1e780000.gpio", 0, "gpioA0", 0x1e78_0000, 0),
            ("1e780000.gpio", 31, "gpioD7", 0x1e78_0000, 31),
            ("1e780000.gpio", 168, "gpioV0", 0x1e78_0088, 8),
            ("1e780000.gpio", 207, "gpioZ7", 0x1e78_01e0, 15),
            ("1e780800.gpio", 9, "gpio18B1", 0x1e78_0800, 9),
            ("1e780800.gpio", 35, "gpio18E3", 0x1e78_0820, 3),
        ];
        for (chip, offset, property, bank, bit) in cases {
            let pin = at(chip, offset).unwrap();
            assert_eq!((pin.property.as_str(), pin.bank, pin.mask), (property, bank, 1 << bit));
        }
        assert_eq!(at("1e780000.gpio", 168).unwrap().pending, 0x1e78_0158);
    }

    #[test]
    fn lines_that_are_not_the_socs_are_refused_by_name() {
        assert!(at("1e780000.gpio", 208).is_err());
        assert!(at("0-0020", 1).unwrap_err().to_string().contains("0-0020"));
        let missing = Pin::find(&LineId::Name("power-good".into()), &HashMap::new());
        assert!(missing.unwrap_err().to_string().contains("power-good"));
    }

    #[test]
    fn a_named_line_is_found_through_its_chips_node() {
        let place = Place { node: "gpio@1e780800".into(), offset: 1 };
        let names = HashMap::from([("lamp".to_owned(), place)]);
        let pin = Pin::find(&LineId::Name("lamp".into()), &names).unwrap();
        assert_eq!((pin.object, pin.property.as_str()), ("/machine/soc/gpio_1_8v", "gpio18A1"));
    }
}
