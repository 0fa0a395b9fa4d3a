//! NVMe basic management over SMBus: status, temperature and identity of a drive, without I/O.
//!
//! ```text
//!  a drive's address ──► status() ───► smbus::Transfer ──► (who owns the bus) ──► Status::read
//!                        identity() ─► smbus::Transfer ──► (who owns the bus) ──► Identity::read
//! ```
//!
//! It needs no driver, no power of the host beyond the slot's auxiliary supply, and disturbs no command of the host.
//!
//! Rules: NVM Express Management Interface, revision 1.2, appendix A ("Technical Note: NVMe Basic Management Command", revision 1.0a).

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

use smbus::{Address, Error, Transfer};

/// The address of a drive where nothing else is said.
pub const ADDRESS: u8 = 0x6a;

/// The transfer that asks for the status (figure 112: command code 0).
#[must_use]
pub fn status(drive: Address) -> Transfer {
    Transfer::read_block(drive, 0, 6).with_pec()
}

/// The transfer that asks who it is (command code 8).
#[must_use]
pub fn identity(drive: Address) -> Transfer {
    Transfer::read_block(drive, 8, 22).with_pec()
}

/// A temperature as a drive tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Temperature {
    /// Degrees Celsius, -59 to 126.
    Celsius(i8),
    /// -60 °C or lower.
    Below,
    /// 127 °C or higher.
    Above,
    /// None, or none that is younger than 5 seconds.
    NoData,
    /// The drive's sensor has failed.
    Failed,
    /// A value that is reserved.
    Reserved(u8),
}

/// What a drive warns of: the critical warnings of its SMART log, which are active low here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// Spare space is below its threshold.
    pub spare: bool,
    /// The temperature is beyond a threshold.
    pub temperature: bool,
    /// Many media errors have made it unreliable.
    pub reliability: bool,
    /// The media can only be read.
    pub read_only: bool,
    /// What keeps volatile memory over a loss of power has failed.
    pub backup: bool,
}

impl Warnings {
    /// Whether there is any.
    #[must_use]
    pub fn any(self) -> bool {
        self != Warnings::default()
    }
}

/// How a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// It is powered and takes commands. The rest is worth nothing while it is not.
    pub ready: bool,
    /// It has no failure that cannot be recovered from.
    pub functional: bool,
    /// It needs a reset to go on.
    pub needs_reset: bool,
    /// The PCIe links of its two ports are up.
    pub links: [bool; 2],
    /// What it warns of.
    pub warnings: Warnings,
    /// Its temperature.
    pub temperature: Temperature,
    /// How much of its life is used, in percent of what its maker expects: it may pass 100, and 255 stands for more.
    pub used_percent: u8,
}

impl Status {
    /// Reads the answer to [`status`].
    ///
    /// # Errors
    /// The answer is short or its packet error code is wrong.
    pub fn read(transfer: &Transfer, answer: &[u8]) -> Result<Self, Error> {
        let data = transfer.finish(answer)?;
        let short = Error::Short { wanted: 4, got: data.len() };
        let &[flags, smart, temperature, used_percent] = data.first_chunk().ok_or(short)?;
        let warns = |bit: u8| smart & 1 << bit == 0;
        Ok(Status {
            ready: flags & 0x40 == 0,
            functional: flags & 0x20 != 0,
            needs_reset: flags & 0x10 == 0,
            links: [flags & 0x08 != 0, flags & 0x04 != 0],
            warnings: Warnings {
                spare: warns(0),
                temperature: warns(1),
                reliability: warns(2),
                read_only: warns(3),
                backup: warns(4),
            },
            temperature: match temperature {
                0x00..=0x7e => Temperature::Celsius(temperature.cast_signed()),
                0x7f => Temperature::Above,
                0x80 => Temperature::NoData,
                0x81 => Temperature::Failed,
                0x82..=0xc3 => Temperature::Reserved(temperature),
                0xc4 => Temperature::Below,
                0xc5..=0xff => Temperature::Celsius(temperature.cast_signed()),
            },
            used_percent,
        })
    }
}

/// Who a drive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The PCI vendor.
    pub vendor: u16,
    /// The serial number, without what pads it. Characters that are not printable ASCII are shown as U+FFFD.
    pub serial: String,
}

impl Identity {
    /// Reads the answer to [`identity`].
    ///
    /// # Errors
    /// The answer is short or its packet error code is wrong.
    pub fn read(transfer: &Transfer, answer: &[u8]) -> Result<Self, Error> {
        let data = transfer.finish(answer)?;
        let short = Error::Short { wanted: 22, got: data.len() };
        let (vendor, serial) = data.split_first_chunk().filter(|_| data.len() == 22).ok_or(short)?;
        let serial: String = serial.iter().copied().map(char::from).collect();
        let serial = serial.trim_end_matches([' ', '\0']);
        let shown = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { char::REPLACEMENT_CHARACTER };
        // The high byte comes first, as in no other number of NVMe.
        Ok(Identity { vendor: u16::from_be_bytes(*vendor), serial: serial.chars().map(shown).collect() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drive() -> Address {
        Address::new(ADDRESS).unwrap()
    }

    /// Appendix A, first example: a drive at 30 °C that has used 1 % of its life and warns of nothing.
    #[test]
    fn the_status_of_the_example() {
        let transfer = status(drive());
        assert_eq!(transfer.written(), [0]);
        let read = Status::read(&transfer, &[6, 0xbf, 0xff, 0x1e, 0x01, 0, 0, 0x10]);
        let wanted = Status {
            ready: true,
            functional: true,
            needs_reset: false,
            links: [true, true],
            warnings: Warnings::default(),
            temperature: Temperature::Celsius(30),
            used_percent: 1,
        };
        assert_eq!(read, Ok(wanted));
        assert!(!wanted.warnings.any());
        let wrong = Status::read(&transfer, &[6, 0xbf, 0xff, 0x1f, 0x01, 0, 0, 0x10]);
        assert!(matches!(wrong, Err(Error::Pec { received: 0x10, .. })));
    }

    /// Appendix A, second example: vendor 1234h, serial number AZ123456, code DAh.
    #[test]
    fn the_identity_of_the_example() {
        let transfer = identity(drive());
        assert_eq!(transfer.written(), [8]);
        let mut answer = vec![22, 0x12, 0x34];
        answer.extend(b"AZ123456            ");
        answer.push(0xda);
        let wanted = Identity { vendor: 0x1234, serial: "AZ123456".to_owned() };
        assert_eq!(Identity::read(&transfer, &answer), Ok(wanted));
        assert_eq!(Identity::read(&transfer, &answer[..20]), Err(Error::Short { wanted: 24, got: 20 }));
    }

    fn answer(flags: u8, smart: u8, temperature: u8) -> Status {
        let mut bytes = vec![6, flags, smart, temperature, 0, 0, 0];
        let code = smbus::pec(smbus::pec(0, &[0xd4, 0x00, 0xd5]), &bytes);
        bytes.push(code);
        Status::read(&status(drive()), &bytes).unwrap()
    }

    /// Appendix A, the table of the status: each bit, and each range of temperatures.
    #[test]
    fn worked_values() {
        assert!(!answer(0xff, 0xff, 0).ready);
        assert!(!answer(0x9f, 0xff, 0).functional);
        assert!(answer(0xaf, 0xff, 0).needs_reset);
        assert_eq!(answer(0xb7, 0xff, 0).links, [false, true]);
        for (smart, name) in [(0xfe, "spare"), (0xfd, "temperature"), (0xfb, "reliability")] {
            assert!(format!("{:?}", answer(0xbf, smart, 0).warnings).contains(&format!("{name}: true")));
        }
        assert!(answer(0xbf, 0xf7, 0).warnings.read_only);
        assert!(answer(0xbf, 0xef, 0).warnings.backup);
        for (byte, temperature) in [
            (0x00, Temperature::Celsius(0)),
            (0x7e, Temperature::Celsius(126)),
            (0x7f, Temperature::Above),
            (0x80, Temperature::NoData),
            (0x81, Temperature::Failed),
            (0x82, Temperature::Reserved(0x82)),
            (0xc3, Temperature::Reserved(0xc3)),
            (0xc4, Temperature::Below),
            (0xc5, Temperature::Celsius(-59)),
            (0xff, Temperature::Celsius(-1)),
        ] {
            assert_eq!(answer(0xbf, 0xff, byte).temperature, temperature);
        }
    }

    proptest! {
        /// I-7: whatever a drive answers is read or refused.
        #[test]
        fn no_answer_panics(answer in prop::collection::vec(any::<u8>(), 0..40), mend: bool) {
            for transfer in [status(drive()), identity(drive())] {
                let mut answer = answer.clone();
                if let (true, Some(&count)) = (mend, answer.first()) {
                    let end = usize::from(count) + 1;
                    if end < answer.len() {
                        let head = smbus::pec(0, &[0xd4, transfer.command(), 0xd5]);
                        answer[end] = smbus::pec(head, &answer[..end]);
                    }
                }
                let _ = Status::read(&transfer, &answer);
                let _ = Identity::read(&transfer, &answer);
            }
        }
    }
}
