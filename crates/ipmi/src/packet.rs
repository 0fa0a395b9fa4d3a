//! What is in a datagram: RMCP (§13.1), the sessions of IPMI 1.5 and 2.0 (§13.6), the messages of IPMI (§13.8).

use crate::bytes::Bytes;
use crate::channel::CHANNEL;

/// Longest datagram that is looked at, bytes. The largest message of ours has some 300.
pub(crate) const DATAGRAM_MAX: usize = 1024;
/// The controller's address on its bus, to which requests are sent.
const CONTROLLER: u8 = 0x20;
const RMCP_VERSION: u8 = 6;
/// No acknowledgement is wanted.
const RMCP_NO_ACK: u8 = 0xff;
const CLASS_ASF: u8 = 6;
const CLASS_IPMI: u8 = 7;
/// Of IANA: ASF.
const ASF_ENTERPRISE: [u8; 4] = [0, 0, 0x11, 0xbe];
const ASF_PING: u8 = 0x80;
const ASF_PONG: u8 = 0x40;
const AUTH_NONE: u8 = 0;
const AUTH_RMCP_PLUS: u8 = 6;

/// Payload types (table 13-16).
pub(crate) mod payload {
    pub(crate) const IPMI: u8 = 0x00;
    pub(crate) const SOL: u8 = 0x01;
    pub(crate) const OPEN: u8 = 0x10;
    pub(crate) const OPENED: u8 = 0x11;
    pub(crate) const RAKP1: u8 = 0x12;
    pub(crate) const RAKP2: u8 = 0x13;
    pub(crate) const RAKP3: u8 = 0x14;
    pub(crate) const RAKP4: u8 = 0x15;
}

/// A datagram that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How a message outside a session was wrapped: its answer is wrapped alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapper {
    /// IPMI 1.5.
    V15,
    /// IPMI 2.0.
    V20,
}

/// What a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// ASF's presence ping, with its tag.
    Ping {
        /// Comes back with the answer.
        tag: u8,
    },
    /// A message outside of a session.
    Plain {
        /// How it was wrapped.
        wrapper: Wrapper,
        /// The message.
        message: Message<'a>,
    },
    /// A step towards a session.
    Setup {
        /// Which one: its payload type.
        kind: u8,
        /// What it says.
        data: &'a [u8],
    },
    /// Of a session, encrypted and proved.
    Sealed(Sealed<'a>),
}

/// A packet of a session as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The session's number at this side.
    pub session: u32,
    /// The packet's number in it.
    pub sequence: u32,
    /// What is in it.
    pub kind: u8,
    /// What was encrypted.
    pub data: &'a [u8],
    /// What is proved.
    pub proved: &'a [u8],
    /// All behind the data: the padding, its length, the next header, the proof.
    pub trailer: &'a [u8],
}

/// A request of IPMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Network function: even, as it is a request.
    pub function: u8,
    /// Logical unit it is for.
    pub lun: u8,
    /// The command.
    pub command: u8,
    /// Its data.
    pub data: &'a [u8],
    /// Who asks.
    pub requester: u8,
    /// The logical unit that asks.
    pub requester_lun: u8,
    /// Number of the request, 0 to 63.
    pub number: u8,
}

impl<'a> Message<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`Malformed`]: too short, a wrong checksum, no request, or one for somebody else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Bytes::new(bytes);
        let (head, end) = (from.array::<3>().ok_or(Malformed)?, bytes.len().checked_sub(1).ok_or(Malformed)?);
        let [responder, function, _] = head;
        let body = bytes.get(3..end).ok_or(Malformed)?;
        let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if responder != CONTROLLER || sum(&head) != 0 || sum(bytes.get(3..).unwrap_or_default()) != 0 {
            return Err(Malformed);
        }
        let mut body = Bytes::new(body);
        let [requester, number, command] = body.array().ok_or(Malformed)?;
        let (function, lun) = (function >> 2, function & 3);
        if function % 2 != 0 {
            return Err(Malformed);
        }
        let data = body.rest();
        Ok(Self { function, lun, command, data, requester, requester_lun: number & 3, number: number >> 2 })
    }

    /// Who is to be answered, and to which request.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let Self { function, lun, command, requester, requester_lun, number, .. } = *self;
        Origin { function, lun, command, requester, requester_lun, number }
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(crate) function: u8,
    lun: u8,
    pub(crate) command: u8,
    requester: u8,
    requester_lun: u8,
    pub(crate) number: u8,
}

impl Origin {
    /// Who sent it, as a record of the SEL names whose event it is (table 32-1): its address or what software it is, and the channel it came by, with its
    /// logical unit where it is an address.
    pub(crate) fn generator(self) -> [u8; 2] {
        let is_software = self.requester & 1 != 0;
        [self.requester, CHANNEL << 4 | if is_software { 0 } else { self.requester_lun & 3 }]
    }

    /// The answer: `data` begins with the completion code.
    pub(crate) fn answer(self, data: &[u8]) -> Vec<u8> {
        let mut out = vec![self.requester, (self.function | 1) << 2 | self.requester_lun];
        out.push(checksum(&out));
        let head = out.len();
        out.extend([CONTROLLER, self.number << 2 | self.lun, self.command]);
        out.extend_from_slice(data);
        out.push(checksum(out.get(head..).unwrap_or_default()));
        out
    }
}

/// What makes a sum of bytes zero (§13.8).
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        if datagram.len() > DATAGRAM_MAX {
            return Err(Malformed);
        }
        let mut from = Bytes::new(datagram);
        let [version, _, _, class] = from.array().ok_or(Malformed)?;
        if version != RMCP_VERSION {
            return Err(Malformed);
        }
        match class {
            CLASS_ASF => Self::asf(from).ok_or(Malformed),
            CLASS_IPMI => Self::ipmi(from),
            _ => Err(Malformed),
        }
    }

    /// §13.2.3: the presence ping of ASF.
    fn asf(mut from: Bytes<'a>) -> Option<Self> {
        let (enterprise, [kind, tag, _, length]) = (from.array::<4>()?, from.array()?);
        let is_ping = enterprise == ASF_ENTERPRISE && kind == ASF_PING && length == 0;
        is_ping.then_some(Self::Ping { tag })
    }

    fn ipmi(mut from: Bytes<'a>) -> Result<Self, Malformed> {
        let all = from.rest();
        match from.u8().ok_or(Malformed)? {
            AUTH_NONE => {
                let (_sequence, session) = (from.u32().ok_or(Malformed)?, from.u32().ok_or(Malformed)?);
                let length = usize::from(from.u8().ok_or(Malformed)?);
                let message = from.take(length).ok_or(Malformed)?;
                // There are no sessions of IPMI 1.5 here.
                if session != 0 {
                    return Err(Malformed);
                }
                Ok(Self::Plain { wrapper: Wrapper::V15, message: Message::parse(message)? })
            }
            AUTH_RMCP_PLUS => {
                let kind = from.u8().ok_or(Malformed)?;
                let (session, sequence) = (from.u32().ok_or(Malformed)?, from.u32().ok_or(Malformed)?);
                let length = usize::from(from.u16().ok_or(Malformed)?);
                let data = from.take(length).ok_or(Malformed)?;
                match (session, kind) {
                    (0, payload::IPMI) => {
                        Ok(Self::Plain { wrapper: Wrapper::V20, message: Message::parse(data)? })
                    }
                    (0, payload::OPEN | payload::RAKP1 | payload::RAKP3) => Ok(Self::Setup { kind, data }),
                    // Encrypted and proved (bits 7 and 6): both or nothing.
                    (session, kind) if session != 0 && kind & 0xc0 == 0xc0 => {
                        let trailer = from.rest();
                        Ok(Self::Sealed(Sealed {
                            session,
                            sequence,
                            kind: kind & 0x3f,
                            data,
                            proved: all,
                            trailer,
                        }))
                    }
                    _ => Err(Malformed),
                }
            }
            _ => Err(Malformed),
        }
    }
}

impl<'a> Sealed<'a> {
    /// What is proved, and the proof of `code_len` bytes; `None` when the trailer is not as long as it says (§13.28.4).
    pub(crate) fn proof(&self, code_len: usize) -> Option<(&'a [u8], &'a [u8])> {
        let at = self.trailer.len().checked_sub(code_len)?;
        let (padding, code) = self.trailer.split_at_checked(at)?;
        let [padding @ .., length, _next] = padding else { return None };
        if padding.len() != usize::from(*length) {
            return None;
        }
        let proved = self.proved.len().checked_sub(code_len)?;
        Some((self.proved.get(..proved)?, code))
    }
}

fn rmcp(class: u8) -> Vec<u8> {
    vec![RMCP_VERSION, 0, RMCP_NO_ACK, class]
}

/// The answer to a ping (§13.2.4): IPMI is spoken here.
pub(crate) fn pong(tag: u8) -> Vec<u8> {
    let mut out = rmcp(CLASS_ASF);
    out.extend(ASF_ENTERPRISE);
    out.extend([ASF_PONG, tag, 0, 16]);
    // No enterprise of ours, IPMI in version 1.0 of ASF, no interactions beyond.
    out.extend(ASF_ENTERPRISE);
    out.extend([0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    out
}

/// A message outside of a session.
pub(crate) fn plain(wrapper: Wrapper, message: &[u8]) -> Vec<u8> {
    match wrapper {
        Wrapper::V15 => {
            let mut out = rmcp(CLASS_IPMI);
            out.extend([AUTH_NONE, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(message);
            out
        }
        Wrapper::V20 => setup(payload::IPMI, message),
    }
}

/// A step towards a session.
pub(crate) fn setup(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = rmcp(CLASS_IPMI);
    out.extend(header(kind, 0, 0, data.len()));
    out.extend_from_slice(data);
    out
}

fn header(kind: u8, session: u32, sequence: u32, length: usize) -> Vec<u8> {
    let mut out = vec![AUTH_RMCP_PLUS, kind];
    out.extend(session.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    out
}

/// A packet of a session: `data` is encrypted already, `prove` says the proof.
pub(crate) fn sealed(
    kind: u8,
    session: u32,
    sequence: u32,
    data: &[u8],
    prove: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut proved = header(kind | 0xc0, session, sequence, data.len());
    proved.extend_from_slice(data);
    // From the type of authentication to the next header it is a multiple of four (§13.28.4).
    let pad = (4 - (proved.len() + 2) % 4) % 4;
    proved.extend(std::iter::repeat_n(0xff, pad));
    proved.extend([u8::try_from(pad).unwrap_or_default(), 0x07]);
    let code = prove(&proved);
    let mut out = rmcp(CLASS_IPMI);
    out.extend(proved);
    out.extend(code);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What ipmitool sends first: Get Channel Authentication Capabilities.
    const FIRST: [u8; 23] = [
        0x06, 0x00, 0xff, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x20, 0x18, 0xc8,
        0x81, 0x00, 0x38, 0x8e, 0x04, 0xb5,
    ];

    #[test]
    fn the_first_message_of_a_client_is_read_and_answered() {
        let Ok(Packet::Plain { wrapper: Wrapper::V15, message }) = Packet::parse(&FIRST) else {
            panic!("not read")
        };
        assert_eq!((message.function, message.command, message.data), (6, 0x38, &[0x8e, 4][..]));
        let answer = message.origin().answer(&[0, 1]);
        assert_eq!(answer, [0x81, 0x1c, 0x63, 0x20, 0x00, 0x38, 0x00, 0x01, 0xa7]);
        assert_eq!(plain(Wrapper::V15, &answer).len(), FIRST.len());
    }

    #[test]
    fn a_ping_is_answered_with_its_tag() {
        let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0x2a, 0, 0];
        assert_eq!(Packet::parse(&ping), Ok(Packet::Ping { tag: 0x2a }));
        let pong = pong(0x2a);
        assert_eq!((pong.len(), pong[8], pong[9], pong[20]), (28, 0x40, 0x2a, 0x81));
    }

    #[test]
    fn what_is_cut_or_changed_is_not_answered() {
        for length in 0..FIRST.len() {
            assert_eq!(Packet::parse(&FIRST[..length]), Err(Malformed), "{length}");
        }
        for (at, name) in [
            (0, "version"),
            (3, "class"),
            (4, "authentication"),
            (10, "session"),
            (14, "responder"),
            (16, "sum"),
            (21, "data"),
        ] {
            let mut bytes = FIRST;
            bytes[at] ^= 0x10;
            assert_eq!(Packet::parse(&bytes), Err(Malformed), "{name}");
        }
        assert_eq!(Packet::parse(&[6; DATAGRAM_MAX + 1]), Err(Malformed));
    }

    #[test]
    fn a_packet_that_claims_only_half_a_protection_is_none() {
        for kind in [0x00, 0x40, 0x80] {
            let mut bytes = rmcp(CLASS_IPMI);
            bytes.extend(header(kind, 5, 1, 0));
            assert_eq!(Packet::parse(&bytes), Err(Malformed), "{kind:x}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), class in 6..8_u8) {
            let _ = Packet::parse(&bytes);
            if bytes.len() > 4 {
                bytes[0] = 6;
                bytes[3] = class;
                let _ = Packet::parse(&bytes);
            }
        }

        #[test]
        fn a_sealed_packet_is_read_back(data in proptest::collection::vec(any::<u8>(), 0..200), session in 1..u32::MAX, sequence: u32, length in 1..32_usize) {
            let bytes = sealed(payload::IPMI, session, sequence, &data, |_| vec![0xaa; length]);
            let Ok(Packet::Sealed(found)) = Packet::parse(&bytes) else { panic!("not read") };
            prop_assert_eq!((found.session, found.sequence, found.data), (session, sequence, &data[..]));
            let (proved, code) = found.proof(length).unwrap();
            prop_assert_eq!(proved.len() % 4, 0);
            prop_assert_eq!(code, &vec![0xaa; length][..]);
        }
    }
}
