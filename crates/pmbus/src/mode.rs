//! VOUT_MODE (0x20): which format the output voltages have.

use crate::format::{Coefficients, Format};
use crate::vid::Vid;

/// The byte of VOUT_MODE (Part II, section 8.3; the bit for relative limits since revision 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoutMode {
    /// Limits are parts of VOUT_COMMAND instead of volts.
    pub relative: bool,
    /// The format.
    pub format: VoutFormat,
}

/// The format in [`VoutMode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoutFormat {
    /// LINEAR16 with this exponent, -16 to 15.
    Linear(i8),
    /// A table with this number, which says whose codes they are. It does not always say which: makers used numbers as they liked, so the
    /// board file has the last word.
    Vid(u8),
    /// DIRECT; the coefficients are the data sheet's, or those COEFFICIENTS answers.
    Direct,
    /// Half precision.
    Half,
}

impl VoutMode {
    /// Reads the byte. Every byte is a mode: the two bits that name it are all in use.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        let parameter = byte & 0x1f;
        let format = match byte >> 5 & 0x03 {
            0 => VoutFormat::Linear((parameter << 3).cast_signed() >> 3),
            1 => VoutFormat::Vid(parameter),
            2 => VoutFormat::Direct,
            _ => VoutFormat::Half,
        };
        VoutMode { relative: byte & 0x80 != 0, format }
    }

    /// How to read an output voltage, given what else is known of the device. `None` where that does not suffice.
    #[must_use]
    pub fn format(self, vid: Option<Vid>, direct: Option<Coefficients>) -> Option<Format> {
        match self.format {
            VoutFormat::Linear(exponent) => Some(Format::Linear16 { exponent }),
            VoutFormat::Vid(_) => vid.map(Format::Vid),
            VoutFormat::Direct => direct.map(Format::Direct),
            VoutFormat::Half => Some(Format::Half),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part II, section 8.3, table 3 (bits of VOUT_MODE); the exponents are those of TPS40422 (0x17: -9), of LTC3880
    /// (0x14: -12), and the last of TPS546E25 (0x97: -9, relative).
    #[test]
    fn worked_values() {
        for (byte, relative, format) in [
            (0x17, false, VoutFormat::Linear(-9)),
            (0x14, false, VoutFormat::Linear(-12)),
            (0x00, false, VoutFormat::Linear(0)),
            (0x0f, false, VoutFormat::Linear(15)),
            (0x10, false, VoutFormat::Linear(-16)),
            (0x97, true, VoutFormat::Linear(-9)),
            (0x21, false, VoutFormat::Vid(1)),
            (0x40, false, VoutFormat::Direct),
            (0x60, false, VoutFormat::Half),
        ] {
            assert_eq!(VoutMode::from_byte(byte), VoutMode { relative, format }, "{byte:#04x}");
        }
    }

    #[test]
    fn what_the_byte_does_not_say_must_be_known() {
        let line = Coefficients { m: 1, b: 0, r: 3 };
        assert_eq!(VoutMode::from_byte(0x21).format(None, Some(line)), None);
        assert_eq!(VoutMode::from_byte(0x21).format(Some(Vid::Vr12), None), Some(Format::Vid(Vid::Vr12)));
        assert_eq!(VoutMode::from_byte(0x40).format(Some(Vid::Vr12), None), None);
        assert_eq!(VoutMode::from_byte(0x40).format(None, Some(line)), Some(Format::Direct(line)));
    }
}
