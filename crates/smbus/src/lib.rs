//! SMBus transfers as data: what is written, what is read back, the packet error code.
//!
//! ```text
//!  command, data ──► Transfer ──► bytes to write, how many to read ──► (the adapter of the bus)
//!                       ▲                                                     │
//!        data │ Error ◄─┴──────────────── bytes that were read ◄──────────────┘
//! ```
//!
//! Nothing here is done: who owns the bus writes [`Transfer::written`] to the device, reads as many bytes as [`Transfer::expects`] says after a
//! repeated start, and hands them to [`Transfer::finish`]. Such a pair of messages is what I2C adapters of every kind can do, those that
//! know SMBus and those that do not, and what a model of a device can be asked with.
//!
//! Rules: System Management Bus (SMBus) Specification, version 3.2, section 6.5 (protocols) and 6.4 (packet error checking). A block
//! is at most 255 bytes since version 3.0, and 32 before.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

/// The longest block (SMBus 3.0, section 6.5.7).
pub const MAX_BLOCK: usize = 255;

/// A device's address of seven bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u8);

impl Address {
    /// An address a device can have: 0x08 to 0x77. The rest is reserved (I2C-bus specification UM10204, table 3).
    #[must_use]
    pub fn new(address: u8) -> Option<Self> {
        (0x08..=0x77).contains(&address).then_some(Address(address))
    }

    /// The seven bits.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// The address byte of a write.
    fn write(self) -> u8 {
        self.0 << 1
    }

    /// The address byte of a read.
    fn read(self) -> u8 {
        self.0 << 1 | 1
    }
}

/// Continues a packet error code over more bytes: CRC-8 with the polynomial x⁸ + x² + x + 1, from 0, over every byte on the wire,
/// addresses included (SMBus 3.2, section 6.4.1).
#[must_use]
pub fn pec(from: u8, bytes: &[u8]) -> u8 {
    bytes.iter().fold(from, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// What a transfer brings back from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Nothing: it writes only.
    Nothing,
    /// As many bytes.
    Exactly(usize),
    /// A block: a byte that counts, then as many bytes, and one more with a packet error code. Adapters that cannot stop by the count read
    /// this many, and what comes after the end is not looked at.
    AtMost(usize),
}

/// One transfer to one device: the messages of one of the protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    address: Address,
    written: Vec<u8>,
    expects: Reads,
    pec: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    Bytes(u8),
    Block(u8),
}

/// Why what a device answered is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the transfer asks for.
    Short {
        /// As many there should be.
        wanted: usize,
        /// As many there are.
        got: usize,
    },
    /// A block longer than the command's.
    BlockTooLong {
        /// What the device says.
        count: u8,
        /// What the command allows.
        max: u8,
    },
    /// The packet error code is another than that of the bytes.
    Pec {
        /// That of the bytes.
        computed: u8,
        /// What the device sent.
        received: u8,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Short { wanted, got } => write!(f, "the device sent {got} bytes of {wanted}"),
            Error::BlockTooLong { count, max } => {
                write!(f, "the device counts {count} bytes in a block of at most {max}")
            }
            Error::Pec { computed, received } => {
                write!(f, "the packet error code is {received:#04x}, that of the bytes is {computed:#04x}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl Transfer {
    fn new(address: Address, written: Vec<u8>, expects: Reads) -> Self {
        Transfer { address, written, expects, pec: false }
    }

    /// Send byte: a command without data.
    #[must_use]
    pub fn send_byte(address: Address, command: u8) -> Self {
        Transfer::new(address, vec![command], Reads::Nothing)
    }

    /// Write byte.
    #[must_use]
    pub fn write_byte(address: Address, command: u8, value: u8) -> Self {
        Transfer::new(address, vec![command, value], Reads::Nothing)
    }

    /// Write word, low byte first.
    #[must_use]
    pub fn write_word(address: Address, command: u8, value: u16) -> Self {
        let [low, high] = value.to_le_bytes();
        Transfer::new(address, vec![command, low, high], Reads::Nothing)
    }

    /// Block write. `None` if the block is empty or longer than [`MAX_BLOCK`].
    #[must_use]
    pub fn write_block(address: Address, command: u8, block: &[u8]) -> Option<Self> {
        Some(Transfer::new(address, counted(command, block)?, Reads::Nothing))
    }

    /// Receive byte: without a command. A device that is there acknowledges its address, and what it answers means something to few; asked like this
    /// nothing is written to it.
    #[must_use]
    pub fn receive_byte(address: Address) -> Self {
        Transfer::new(address, Vec::new(), Reads::Bytes(1))
    }

    /// Read byte.
    #[must_use]
    pub fn read_byte(address: Address, command: u8) -> Self {
        Transfer::new(address, vec![command], Reads::Bytes(1))
    }

    /// Read word, low byte first.
    #[must_use]
    pub fn read_word(address: Address, command: u8) -> Self {
        Transfer::new(address, vec![command], Reads::Bytes(2))
    }

    /// Block read of at most `max` bytes.
    #[must_use]
    pub fn read_block(address: Address, command: u8, max: u8) -> Self {
        Transfer::new(address, vec![command], Reads::Block(max))
    }

    /// Block write, block read process call: a block there, a block of at most `max` bytes back. `None` if the block is empty or longer than
    /// [`MAX_BLOCK`].
    #[must_use]
    pub fn call_block(address: Address, command: u8, block: &[u8], max: u8) -> Option<Self> {
        Some(Transfer::new(address, counted(command, block)?, Reads::Block(max)))
    }

    /// The same with a packet error code: sent with what is written, asked for with what is read.
    #[must_use]
    pub fn with_pec(mut self) -> Self {
        if !self.pec {
            self.pec = true;
            if self.expects == Reads::Nothing {
                let code = pec(pec(0, &[self.address.write()]), &self.written);
                self.written.push(code);
            }
        }
        self
    }

    /// Whom it is for.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The command; 0 for one without.
    #[must_use]
    pub fn command(&self) -> u8 {
        self.written.first().copied().unwrap_or_default()
    }

    /// The bytes of the first message, without the address; none where there is no such message.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// The length of the second message.
    #[must_use]
    pub fn expects(&self) -> Expects {
        let pec = usize::from(self.pec);
        match self.expects {
            Reads::Nothing => Expects::Nothing,
            Reads::Bytes(count) => Expects::Exactly(usize::from(count) + pec),
            Reads::Block(max) => Expects::AtMost(1 + usize::from(max) + pec),
        }
    }

    /// The data in what was read, without count and packet error code. What stands after them is not looked at.
    ///
    /// # Errors
    /// Too few bytes, a block that is too long, or a wrong packet error code.
    pub fn finish<'a>(&self, read: &'a [u8]) -> Result<&'a [u8], Error> {
        let (from, count) = match self.expects {
            Reads::Nothing => return Ok(&[]),
            Reads::Bytes(count) => (0, count),
            Reads::Block(max) => {
                let count = *read.first().ok_or(Error::Short { wanted: 1, got: 0 })?;
                if count > max {
                    return Err(Error::BlockTooLong { count, max });
                }
                (1, count)
            }
        };
        let end = from + usize::from(count);
        let short = Error::Short { wanted: end + usize::from(self.pec), got: read.len() };
        let data = read.get(from..end).ok_or(short)?;
        if self.pec {
            let received = *read.get(end).ok_or(short)?;
            let mut computed = match self.written.as_slice() {
                [] => 0,
                written => pec(pec(0, &[self.address.write()]), written),
            };
            computed = pec(computed, &[self.address.read()]);
            computed = pec(computed, read.get(..end).unwrap_or_default());
            if computed != received {
                return Err(Error::Pec { computed, received });
            }
        }
        Ok(data)
    }

    /// [`finish`](Self::finish) of a byte.
    ///
    /// # Errors
    /// As there.
    pub fn byte(&self, read: &[u8]) -> Result<u8, Error> {
        let data = self.finish(read)?;
        data.first().copied().ok_or(Error::Short { wanted: 1, got: data.len() })
    }

    /// [`finish`](Self::finish) of a word.
    ///
    /// # Errors
    /// As there.
    pub fn word(&self, read: &[u8]) -> Result<u16, Error> {
        let data = self.finish(read)?;
        let short = Error::Short { wanted: 2, got: data.len() };
        data.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)).ok_or(short)
    }
}

fn counted(command: u8, block: &[u8]) -> Option<Vec<u8>> {
    let count = u8::try_from(block.len()).ok().filter(|count| *count > 0)?;
    let mut written = Vec::with_capacity(block.len() + 3);
    written.extend([command, count]);
    written.extend(block);
    Some(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(address: u8) -> Address {
        Address::new(address).unwrap()
    }

    /// The check value of CRC-8/SMBUS, that of "123456789", in every catalogue of CRCs.
    #[test]
    fn the_code_is_that_of_the_catalogues() {
        assert_eq!(pec(0, b"123456789"), 0xf4);
        assert_eq!(pec(pec(0, b"1234"), b"56789"), 0xf4);
        assert_eq!(pec(0, &[]), 0);
    }

    #[test]
    fn reserved_addresses_are_none() {
        assert_eq!((0..=255).filter(|a| Address::new(*a).is_some()).count(), 0x70);
        assert_eq!(Address::new(0x07), None);
        assert_eq!(Address::new(0x78), None);
    }

    #[test]
    fn what_is_written() {
        assert_eq!(Transfer::send_byte(at(0x40), 0x03).written(), [0x03]);
        assert_eq!(Transfer::write_byte(at(0x40), 0x00, 0xff).written(), [0x00, 0xff]);
        assert_eq!(Transfer::write_word(at(0x40), 0x21, 0x1234).written(), [0x21, 0x34, 0x12]);
        assert_eq!(Transfer::write_block(at(0x40), 0x99, b"AB").unwrap().written(), [0x99, 2, b'A', b'B']);
        assert_eq!(Transfer::write_block(at(0x40), 0x99, b""), None);
        assert_eq!(Transfer::write_block(at(0x40), 0x99, &[0; 256]), None);
        let with = Transfer::write_byte(at(0x40), 0x00, 0xff).with_pec().with_pec();
        assert_eq!(with.written(), [0x00, 0xff, pec(0, &[0x80, 0x00, 0xff])]);
        assert_eq!(with.expects(), Expects::Nothing);
        assert_eq!(with.finish(&[]), Ok(&[][..]));
    }

    #[test]
    fn what_is_read() {
        let word = Transfer::read_word(at(0x40), 0x8b);
        assert_eq!(word.expects(), Expects::Exactly(2));
        assert_eq!(word.word(&[0x34, 0x12]), Ok(0x1234));
        assert_eq!(word.word(&[0x34]), Err(Error::Short { wanted: 2, got: 1 }));
        assert_eq!(Transfer::read_byte(at(0x40), 0x20).byte(&[0x17]), Ok(0x17));
        let receive = Transfer::receive_byte(at(0x40));
        assert_eq!((receive.written(), receive.expects()), (&[][..], Expects::Exactly(1)));
        assert_eq!(receive.clone().with_pec().byte(&[0x17, pec(0, &[0x81, 0x17])]), Ok(0x17));

        let block = Transfer::read_block(at(0x40), 0x99, 4);
        assert_eq!(block.expects(), Expects::AtMost(5));
        assert_eq!(block.finish(&[3, b'A', b'D', b'I', 0xff]), Ok(&b"ADI"[..]));
        assert_eq!(block.finish(&[0]), Ok(&[][..]));
        assert_eq!(block.finish(&[]), Err(Error::Short { wanted: 1, got: 0 }));
        assert_eq!(block.finish(&[4, 1, 2]), Err(Error::Short { wanted: 5, got: 3 }));
        assert_eq!(block.finish(&[5, 1, 2, 3, 4, 5]), Err(Error::BlockTooLong { count: 5, max: 4 }));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let word = Transfer::read_word(at(0x40), 0x8b).with_pec();
        assert_eq!(word.expects(), Expects::Exactly(3));
        let good = [0x34, 0x12, pec(0, &[0x80, 0x8b, 0x81, 0x34, 0x12])];
        assert_eq!(word.word(&good), Ok(0x1234));
        for bit in 0..24 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(word.word(&bad), Err(Error::Pec { .. })), "bit {bit}");
        }
        assert_eq!(word.word(&good[..2]), Err(Error::Short { wanted: 3, got: 2 }));
    }

    proptest! {
        /// I-7: no answer of a device ends in more than an error.
        #[test]
        fn no_answer_panics(
            command: u8,
            max: u8,
            with: bool,
            read in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            for transfer in [
                Transfer::read_byte(at(0x5a), command),
                Transfer::read_word(at(0x5a), command),
                Transfer::read_block(at(0x5a), command, max),
                Transfer::call_block(at(0x5a), command, &[1, 2], max).unwrap(),
            ] {
                let transfer = if with { transfer.with_pec() } else { transfer };
                let _ = transfer.byte(&read);
                let _ = transfer.word(&read);
                if let Ok(data) = transfer.finish(&read) {
                    prop_assert!(data.len() <= MAX_BLOCK);
                }
            }
        }
    }
}
