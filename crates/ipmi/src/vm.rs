//! The line between QEMU's `ipmi-bmc-extern`, which plays the KCS device of a guest, and a controller (OpenIPMI's lanserv/README.vm).
//!
//! ```text
//!  message: number, function and unit, command, data, checksum ─► A0        A0, A1, AA within it: AA and the byte with bit 4 set
//!  order:   command, data                                      ─► A1
//! ```

use crate::packet;

const MESSAGE: u8 = 0xa0;
const ORDER: u8 = 0xa1;
const ESCAPE: u8 = 0xaa;
const ESCAPED: u8 = 0x10;
/// Longest of either, as QEMU has room for.
const LONGEST: usize = 512;
/// Number, function and unit, command, checksum.
const LEAST: usize = 4;

/// A request of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number, which the answer has.
    pub number: u8,
    /// The network function.
    pub function: u8,
    /// The logical unit.
    pub lun: u8,
    /// The command.
    pub command: u8,
    /// Its data.
    pub data: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request.
    Request(Request),
    /// QEMU says which version of this it speaks, as it does at the beginning.
    Version(u8),
    /// The machine began anew.
    Reset,
    /// Something else.
    Other(u8),
}

/// What QEMU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Which version of this is spoken here: 1.
    Version,
    /// Nothing is to be fetched.
    NoAttention,
    /// Something is to be fetched: SMS_ATN.
    Attention,
    /// The same, with an interrupt where the guest has switched that on.
    Interrupt,
    /// What of a machine this controller does itself: nothing, as it has its own lines.
    Capabilities,
}

/// Takes bytes, one after the other; bounded, whatever comes.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    is_escaped: bool,
    is_too_long: bool,
}

impl Decoder {
    /// A byte; what ends with it, if that is whole.
    pub fn push(&mut self, byte: u8) -> Option<Input> {
        match byte {
            MESSAGE | ORDER => {
                let bytes = std::mem::take(&mut self.bytes);
                let is_whole = !self.is_escaped && !self.is_too_long;
                (self.is_escaped, self.is_too_long) = (false, false);
                if !is_whole {
                    return None;
                }
                if byte == MESSAGE { request(&bytes).map(Input::Request) } else { order(&bytes) }
            }
            ESCAPE => {
                self.is_too_long |= self.is_escaped;
                self.is_escaped = true;
                None
            }
            byte => {
                let byte = if std::mem::take(&mut self.is_escaped) { byte & !ESCAPED } else { byte };
                if self.bytes.len() < LONGEST {
                    self.bytes.push(byte);
                } else {
                    self.is_too_long = true;
                }
                None
            }
        }
    }
}

fn request(bytes: &[u8]) -> Option<Request> {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let [number, function, command, data @ .., _] = bytes else { return None };
    if sum != 0 || bytes.len() < LEAST {
        return None;
    }
    Some(Request {
        number: *number,
        function: function >> 2,
        lun: function & 3,
        command: *command,
        data: data.to_vec(),
    })
}

fn order(bytes: &[u8]) -> Option<Input> {
    Some(match *bytes {
        [0xff, version] => Input::Version(version),
        [0x04, ..] => Input::Reset,
        [other, ..] => Input::Other(other),
        [] => return None,
    })
}

fn framed(bytes: &[u8], end: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        match *byte {
            MESSAGE | ORDER | ESCAPE => out.extend([ESCAPE, byte | ESCAPED]),
            byte => out.push(byte),
        }
    }
    out.push(end);
    out
}

/// The answer to a request: from the completion code on.
#[must_use]
pub fn answer(request: &Request, answer: &[u8]) -> Vec<u8> {
    let head = [request.number, (request.function | 1) << 2 | request.lun, request.command];
    let mut bytes = [&head, answer].concat();
    bytes.push(packet::checksum(&bytes));
    framed(&bytes, MESSAGE)
}

/// An order to QEMU.
#[must_use]
pub fn ordered(order: Order) -> Vec<u8> {
    let bytes: &[u8] = match order {
        Order::Version => &[0xff, 1],
        Order::NoAttention => &[0x00],
        Order::Attention => &[0x01],
        Order::Interrupt => &[0x02],
        Order::Capabilities => &[0x08, 0x00],
    };
    framed(bytes, ORDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Input> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
    }

    #[test]
    fn a_request_is_read_and_answered_with_what_has_to_be_escaped() {
        // Get Device ID, number A0: the sum is zero.
        let bytes = [0xaa, 0xb0, 0x18, 0x01, 0x47, 0xa0];
        let request = Request { number: 0xa0, function: 6, lun: 0, command: 1, data: Vec::new() };
        assert_eq!(all(&bytes), [Input::Request(request.clone())]);
        let sent = answer(&request, &[0, 0xaa, 0xa1]);
        assert_eq!(sent[..8], [0xaa, 0xb0, 0x1c, 0x01, 0x00, 0xaa, 0xba, 0xaa]);
        assert_eq!(sent[8], 0xb1);
        assert_eq!(*sent.last().unwrap(), 0xa0);
        // It reads as it was written.
        let mut decoder = Decoder::default();
        let back = sent.iter().find_map(|byte| decoder.push(*byte)).unwrap();
        let Input::Request(back) = back else { panic!("{back:?}") };
        assert_eq!(
            (back.number, back.function, back.command, &back.data[..]),
            (0xa0, 7, 1, &[0, 0xaa, 0xa1][..])
        );
    }

    #[test]
    fn what_is_none_is_dropped_and_what_follows_is_read() {
        let good = [0x01, 0x18, 0x01, 0xe6, 0xa0];
        for bad in [
            &[0xa0][..],
            &[0x01, 0x18, 0x01, 0xe7, 0xa0],
            &[0xff, 0xa0],
            &[0x01, 0x18, 0xaa, 0xa0],
            &[0xaa, 0xaa, 0x01, 0xa0],
            &[0xa1],
            &[7; 2000],
        ] {
            let mut bytes = bad.to_vec();
            bytes.push(0xa0);
            bytes.extend(good);
            let found = all(&bytes);
            assert_eq!(found.len(), 1, "{bad:02x?}: {found:?}");
        }
        assert_eq!(
            all(&[0xff, 1, 0xa1, 4, 0xa1, 8, 7, 0xa1]),
            [Input::Version(1), Input::Reset, Input::Other(8)]
        );
        assert_eq!(ordered(Order::Version), [0xff, 1, 0xa1]);
    }
}
