//! Sensor data records (§43): what a client is told of a sensor, of the controller and of the places of FRU data.

use crate::scale::Scale;

/// Longest name of a sensor in a record, bytes.
pub const NAME_MAX: usize = 16;
/// The version of the format: 1.5 in BCD, its digits the other way round.
const VERSION: u8 = 0x51;
/// The controller's address.
const OWNER: u8 = 0x20;

/// The number of the watchdog as a sensor of unit 0: its events are on the SEL, and it has no record. No sensor with one has this number there.
pub const WATCHDOG: u8 = 0xfe;
/// Logical units of sensors (§5.1: unit 2 is for messages), and how many numbers each has for those with a record: FF is none.
const UNITS: [(u8, usize); 3] = [(0, 254), (1, 255), (3, 255)];
/// Sensors that a number and a logical unit can name.
pub const SENSORS_MAX: usize = 254 + 2 * 255;

/// The logical unit and the number of the sensor at this place.
#[must_use]
pub fn place(index: usize) -> Option<(u8, u8)> {
    let mut number = index;
    for (lun, numbers) in UNITS {
        match number.checked_sub(numbers) {
            None => return Some((lun, u8::try_from(number).ok()?)),
            Some(rest) => number = rest,
        }
    }
    None
}

/// The place of the sensor with this logical unit and number.
#[must_use]
pub fn index(lun: u8, number: u8) -> Option<usize> {
    let unit = UNITS.iter().position(|(unit, _)| *unit == lun)?;
    let before: usize = UNITS.iter().take(unit).map(|(_, numbers)| numbers).sum();
    let (_, numbers) = UNITS.get(unit)?;
    (usize::from(number) < *numbers).then_some(before + usize::from(number))
}

/// Thresholds, of which a record says which there are: a bit for each (§35.9), lower non-critical first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// Lower non-critical, critical, non-recoverable; upper non-critical, critical, non-recoverable.
    pub all: [Option<f64>; 6],
}

impl Thresholds {
    /// Which there are.
    #[must_use]
    pub fn mask(&self) -> u8 {
        self.all
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_some())
            .fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// Which events there are of them, a bit for each (§35.11): a low one that is crossed going low, a high one going high.
    #[must_use]
    pub fn events(&self) -> u16 {
        crossings(self.mask())
    }

    /// As bytes.
    #[must_use]
    pub fn raw(&self, scale: Scale) -> [u8; 6] {
        self.all.map(|value| value.map_or(0, |value| scale.raw(value)))
    }
}

/// The events of thresholds that are crossed: a bit for each threshold, as of [`Thresholds::mask`], becomes that of its event (§35.13).
#[must_use]
pub fn crossings(mask: u8) -> u16 {
    (0..6_u8).filter(|bit| mask & (1 << bit) != 0).fold(0, |events, bit| events | 1 << offset(bit))
}

/// The event of a threshold by its bit, as of [`Thresholds::mask`]: a low one that is crossed going low, a high one going high (table 42-2).
#[must_use]
pub fn offset(bit: u8) -> u8 {
    if bit < 3 { 2 * bit } else { 2 * bit + 1 }
}

/// A sensor with a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Full<'a> {
    /// Logical unit.
    pub lun: u8,
    /// Number within it.
    pub number: u8,
    /// What it belongs to (table 43-13).
    pub entity: u8,
    /// Which of those, from 1 on.
    pub instance: u8,
    /// What it measures (table 42-3).
    pub kind: u8,
    /// In what (table 43-15).
    pub unit: u8,
    /// A percentage.
    pub percent: bool,
    /// How bytes are values.
    pub scale: Scale,
    /// What it is judged by.
    pub thresholds: Thresholds,
    /// How far it has to come back.
    pub hysteresis: f64,
    /// Its name; what is too long is cut.
    pub name: &'a str,
}

/// The head of a record, with its length.
fn record(id: u16, kind: u8, body: Vec<u8>) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    out.extend([VERSION, kind, u8::try_from(body.len()).unwrap_or(u8::MAX)]);
    out.extend(body);
    out
}

/// A name of at most [`NAME_MAX`] bytes: 8-bit ASCII and Latin 1 (§43.15). What is in no Latin 1 is a question mark. A length of one is none (it would end a
/// list of fields), so a blank follows a single character.
fn name(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        text.chars().take(NAME_MAX).map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    if bytes.len() == 1 {
        bytes.push(b' ');
    }
    let mut out = vec![0xc0 | u8::try_from(bytes.len()).unwrap_or_default()];
    out.extend(bytes);
    out
}

impl Full<'_> {
    /// The record (§43.1).
    #[must_use]
    pub fn encode(&self, id: u16) -> Vec<u8> {
        let mask = self.thresholds.mask();
        let events = self.thresholds.events();
        let thresholds = self.thresholds.raw(self.scale);
        let [lower_nc, lower_c, lower_nr, upper_nc, upper_c, upper_nr] = thresholds;
        let hysteresis = self.scale.steps(self.hysteresis);
        let mut body = vec![OWNER, self.lun, self.number, self.entity, self.instance];
        // Scanning and events are on. It re-arms itself, its hysteresis can be read and set, and so can the thresholds there are; events are not
        // switched one by one.
        body.push(0x7f);
        body.push(0x40 | 0x20 | if mask != 0 { 0x08 } else { 0 } | 0x02);
        body.extend([self.kind, 0x01]);
        body.extend((events | u16::from(mask & 7) << 12).to_le_bytes());
        body.extend((events | u16::from(mask >> 3) << 12).to_le_bytes());
        body.extend([mask, mask]);
        body.extend([u8::from(self.percent), if self.percent { 0 } else { self.unit }, 0, 0]);
        body.extend(self.scale.encode());
        // No nominal, normal reading is said; the range of bytes is all of it.
        body.extend([0, 0, 0, 0, 0xff, 0x00]);
        body.extend([upper_nr, upper_c, upper_nc, lower_nr, lower_c, lower_nc]);
        body.extend([hysteresis, hysteresis, 0, 0, 0]);
        body.extend(name(self.name));
        record(id, 0x01, body)
    }
}

/// The controller itself (§43.9).
#[must_use]
pub fn controller(id: u16, text: &str) -> Vec<u8> {
    // It is a chassis device, keeps FRU data, a SEL, an SDR repository and sensors.
    let mut body = vec![OWNER, 0, 0, 0x8f, 0, 0, 0, 0x06, 0x01, 0];
    body.extend(name(text));
    record(id, 0x12, body)
}

/// Where there is FRU data (§43.8).
#[must_use]
pub fn fru(id: u16, device: u8, entity: u8, instance: u8, text: &str) -> Vec<u8> {
    // A logical device behind the controller, of type FRU inventory (10h, modifier 0).
    let mut body = vec![OWNER, device, 0x80, 0, 0, 0x10, 0, entity, instance, 0];
    body.extend(name(text));
    record(id, 0x11, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_number_and_the_number_a_place() {
        for at in 0..SENSORS_MAX {
            let (lun, number) = place(at).unwrap();
            assert!(lun != 2 && number != 255 && (lun, number) != (0, WATCHDOG));
            assert_eq!(index(lun, number), Some(at));
        }
        assert_eq!(place(SENSORS_MAX), None);
        assert_eq!((index(2, 0), index(1, 255), index(0, WATCHDOG)), (None, None, None));
        assert_eq!((place(253), place(254)), (Some((0, 0xfd)), Some((1, 0))));
    }

    #[test]
    fn a_name_of_one_character_is_two_bytes_long() {
        assert_eq!(name("x"), [0xc2, b'x', b' ']);
        assert_eq!((name(""), name("ab")), (vec![0xc0], vec![0xc2, b'a', b'b']));
    }

    #[test]
    fn a_record_is_as_long_as_it_says_and_has_its_fields_where_they_belong() {
        let full = Full {
            lun: 1,
            number: 7,
            entity: 3,
            instance: 1,
            kind: 1,
            unit: 1,
            percent: false,
            scale: Scale::fit(0.0, 255.0).unwrap(),
            thresholds: Thresholds { all: [None, Some(5.0), None, Some(80.0), Some(90.0), None] },
            hysteresis: 2.0,
            name: "A name that is far too long",
        };
        let record = full.encode(0x1234);
        assert_eq!(record[..5], [0x34, 0x12, 0x51, 0x01, 43 + 16]);
        assert_eq!(record.len(), 5 + 43 + 16);
        assert_eq!(record[5..8], [0x20, 1, 7]);
        assert_eq!(record[11], 0x6a, "what can be read and set");
        assert_eq!(
            record[14..18],
            [0x84, 0x22, 0x84, 0x32],
            "events of the one low and the two high thresholds"
        );
        assert_eq!(record[18..20], [0b01_1010; 2], "thresholds that can be read and set");
        assert_eq!(record[21], 1, "degrees");
        assert_eq!(record[36..42], [0, 90, 80, 0, 5, 0]);
        assert_eq!(record[42..44], [2, 2]);
        assert_eq!(record[47], 0xc0 | 16);
        assert_eq!(&record[48..], b"A name that is f");
    }
}
