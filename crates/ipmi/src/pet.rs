//! Platform Event Traps: an event as a trap of SNMP version 1 (IPMI Platform Event Trap Format Specification 1.0; RFC 1157).

use std::net::Ipv4Addr;

use crate::sel;

/// 1.3.6.1.4.1.3183.1.1, what traps of platforms are called.
const ENTERPRISE: &[u8] = &[0x2b, 6, 1, 4, 1, 0x98, 0x6f, 1, 1];
/// 1.3.6.1.4.1.3183.1.1.1, the variable that says what happened.
const VARIABLE: &[u8] = &[0x2b, 6, 1, 4, 1, 0x98, 0x6f, 1, 1, 1];
/// Types of BER.
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const ADDRESS: u8 = 0x40;
const TICKS: u8 = 0x43;
const TRAP: u8 = 0xa4;

/// What a trap says beside its event.
#[derive(Clone, Copy, Debug)]
pub struct Trap<'a> {
    /// Of SNMP, at most 18 characters.
    pub community: &'a str,
    /// From where.
    pub agent: Ipv4Addr,
    /// The controller's GUID, least significant byte first.
    pub guid: [u8; 16],
    /// Counts traps: the same for one that is sent again.
    pub sequence: u16,
    /// Hundredths of a second since the start.
    pub ticks: u32,
    /// Seconds since 1998, as the format has them; 0 where they are not known.
    pub seconds: u32,
    /// As table 3 of the format has it: 02 information, 08 warning, 10 critical, 20 not recoverable.
    pub severity: u8,
    /// The record of the SEL.
    pub record: &'a [u8; sel::LENGTH],
}

/// Seconds from 1970 to 1998.
const YEARS: u32 = 883_612_800;

/// Seconds since 1998 of seconds since 1970; 0 of what is before.
#[must_use]
pub const fn seconds(unix: u32) -> u32 {
    unix.saturating_sub(YEARS)
}

fn tlv(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    // Nothing here is longer than two bytes can say.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    match length.to_be_bytes() {
        [0, low @ 0..=0x7f] => out.push(low),
        [0, low] => out.extend([0x81, low]),
        [high, low] => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(value);
}

/// A number that is not negative, as short as it may be.
fn number(kind: u8, value: u32, out: &mut Vec<u8>) {
    let bytes = [&[0][..], &value.to_be_bytes()].concat();
    let least = bytes.len() - 1;
    let skipped =
        bytes.windows(2).take_while(|pair| matches!(pair, [0, next] if *next < 0x80)).count().min(least);
    tlv(kind, bytes.get(skipped..).unwrap_or_default(), out);
}

impl Trap<'_> {
    /// The datagram, for port 162.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [_, _, kind, _, _, _, _, generator, _, _, sensor_type, sensor, class, data @ ..] = *self.record;
        let is_event = kind == 0x02;
        let (sensor_type, class, sensor) = if is_event { (sensor_type, class, sensor) } else { (0, 0, 0) };
        let offset = if is_event { data[0] & 0x0f } else { 0 };
        let specific = u32::from_be_bytes([0, sensor_type, class & 0x7f, (class & 0x80) | offset]);

        let mut said = Vec::with_capacity(48);
        said.extend(self.guid);
        said.extend(self.sequence.to_be_bytes());
        said.extend(self.seconds.to_be_bytes());
        // The difference to UTC is not said.
        said.extend([0xff, 0xff]);
        // IPMI sends it, of what IPMI saw.
        said.extend([0x20, 0x20, self.severity, generator, sensor, 0, 0]);
        said.extend(data);
        said.extend([0; 5]);
        // English is not said; no maker, no system of its, and no more fields.
        said.push(0xff);
        said.extend([0; 4]);
        said.extend([0; 2]);
        said.push(0xc1);

        let mut bound = Vec::new();
        tlv(OBJECT, VARIABLE, &mut bound);
        tlv(OCTETS, &said, &mut bound);
        let mut one = Vec::new();
        tlv(SEQUENCE, &bound, &mut one);
        let mut trap = Vec::new();
        tlv(OBJECT, ENTERPRISE, &mut trap);
        tlv(ADDRESS, &self.agent.octets(), &mut trap);
        // Of an enterprise's own kind.
        number(INTEGER, 6, &mut trap);
        number(INTEGER, specific, &mut trap);
        number(TICKS, self.ticks, &mut trap);
        tlv(SEQUENCE, &one, &mut trap);
        let mut message = Vec::new();
        number(INTEGER, 0, &mut message);
        tlv(OCTETS, self.community.as_bytes(), &mut message);
        tlv(TRAP, &trap, &mut message);
        let mut out = Vec::new();
        tlv(SEQUENCE, &message, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_says_whose_event_it_is_and_what_it_was() {
        let record = [1, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 0x30, 0x81, 0x59, 0x50, 0x48];
        let trap = Trap {
            community: "public",
            agent: Ipv4Addr::new(192, 0, 2, 5),
            guid: [7; 16],
            sequence: 0x0102,
            ticks: 300,
            seconds: seconds(883_612_801),
            severity: 0x10,
            record: &record,
        };
        let bytes = trap.encode();
        assert_eq!(bytes[..2], [0x30, u8::try_from(bytes.len() - 2).unwrap()]);
        assert_eq!(bytes[2..13], [2, 1, 0, 4, 6, b'p', b'u', b'b', b'l', b'i', b'c']);
        // Type 01, deasserted, of thresholds, offset 9.
        let specific: &[u8] = &[2, 3, 0x01, 0x01, 0x89];
        assert!(bytes.windows(5).any(|part| part == specific), "{bytes:02x?}");
        let ticks: &[u8] = &[0x43, 2, 0x01, 0x2c];
        assert!(bytes.windows(4).any(|part| part == ticks), "{bytes:02x?}");
        let said = bytes.windows(2).position(|part| part == [4, 47]).unwrap() + 2;
        assert_eq!(bytes.len(), said + 47, "47 bytes, which end it");
        assert_eq!(bytes[said + 16..said + 22], [1, 2, 0, 0, 0, 1]);
        assert_eq!(bytes[said + 24..said + 34], [0x20, 0x20, 0x10, 0x20, 0x30, 0, 0, 0x59, 0x50, 0x48]);
    }

    #[test]
    fn numbers_are_never_negative_and_as_short_as_they_may_be() {
        for (value, expected) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (u32::MAX, &[2, 5, 0, 255, 255, 255, 255]),
        ] {
            let mut out = Vec::new();
            number(INTEGER, value, &mut out);
            assert_eq!(out, expected, "{value}");
        }
    }
}
