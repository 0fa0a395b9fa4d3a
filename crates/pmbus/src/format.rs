//! The formats of a number of two bytes.

use crate::half::{from_half, to_half};
use crate::vid::Vid;

/// How two bytes are a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// LINEAR11: eleven bits of two's complement times a power of two, of five bits (section 7.1).
    Linear11,
    /// LINEAR16, of output voltages: sixteen bits without sign times a power of two that VOUT_MODE has (section 8.3.1).
    Linear16 {
        /// The power, -16 to 15.
        exponent: i8,
    },
    /// DIRECT: sixteen bits of two's complement in a straight line to the value (section 7.2).
    Direct(Coefficients),
    /// A code of a table, of output voltages (section 8.3.2).
    Vid(Vid),
    /// Half precision (revision 1.3.1, section 8.4.4).
    Half,
}

/// The straight line of [`Format::Direct`]: `Y = (m X + b) 10^R`, with X the value and Y the two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Coefficients {
    /// Slope.
    pub m: i16,
    /// Offset.
    pub b: i16,
    /// Exponent.
    pub r: i8,
}

impl Coefficients {
    /// What COEFFICIENTS (0x30) answers: m and b with the low byte first, then R (section 14.1).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 5]) -> Self {
        let [m0, m1, b0, b1, r] = bytes;
        Coefficients {
            m: i16::from_le_bytes([m0, m1]),
            b: i16::from_le_bytes([b0, b1]),
            r: i8::from_le_bytes([r]),
        }
    }

    /// The block written to COEFFICIENTS: which command, and whether for reading.
    #[must_use]
    pub fn question(command: u8, reading: bool) -> [u8; 2] {
        [command, u8::from(reading)]
    }
}

/// Why two bytes are no number, or a number no two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The slope is zero: nothing can be told from it.
    NoSlope,
    /// The table has no voltage for the code: off, or not in use.
    NoVoltage(u16),
    /// An infinity or "no number".
    NotANumber(u16),
    /// The value is beyond what the format holds, or no number.
    OutOfRange,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoSlope => f.write_str("the coefficient m is zero"),
            Error::NoVoltage(code) => write!(f, "the table has no voltage for code {code:#x}"),
            Error::NotANumber(bits) => write!(f, "{bits:#06x} is no number"),
            Error::OutOfRange => f.write_str("the value is out of the format's range"),
        }
    }
}

impl std::error::Error for Error {}

impl Format {
    /// The value of two bytes, in the unit of the command: finite.
    ///
    /// # Errors
    /// The bytes are no value.
    pub fn decode(self, raw: u16) -> Result<f64, Error> {
        match self {
            Format::Linear11 => Ok(f64::from(mantissa(raw)) * 2f64.powi(i32::from(exponent(raw)))),
            Format::Linear16 { exponent } => Ok(f64::from(raw) * 2f64.powi(i32::from(exponent))),
            Format::Direct(Coefficients { m: 0, .. }) => Err(Error::NoSlope),
            Format::Direct(Coefficients { m, b, r }) => {
                let y = f64::from(raw.cast_signed());
                Ok((times_ten_to(y, -i32::from(r)) - f64::from(b)) / f64::from(m))
            }
            Format::Vid(vid) => vid.volts(raw).ok_or(Error::NoVoltage(raw)),
            Format::Half => Some(from_half(raw)).filter(|v| v.is_finite()).ok_or(Error::NotANumber(raw)),
        }
    }

    /// The two bytes nearest to a value.
    ///
    /// # Errors
    /// The format holds no such value: nothing is cut to what fits, since what is written may be a limit or a fan's speed.
    pub fn encode(self, value: f64) -> Result<u16, Error> {
        match self {
            Format::Linear11 => linear11(value).ok_or(Error::OutOfRange),
            Format::Linear16 { exponent } => {
                whole(value * 2f64.powi(-i32::from(exponent)), 0, i32::from(u16::MAX))
            }
            Format::Direct(Coefficients { m: 0, .. }) => Err(Error::NoSlope),
            Format::Direct(Coefficients { m, b, r }) => {
                let y = times_ten_to(f64::from(m) * value + f64::from(b), i32::from(r));
                whole(y, i32::from(i16::MIN), i32::from(i16::MAX))
            }
            Format::Vid(vid) => vid.code(value).ok_or(Error::OutOfRange),
            Format::Half => to_half(value).ok_or(Error::OutOfRange),
        }
    }
}

/// The low eleven bits, with sign.
fn mantissa(raw: u16) -> i16 {
    (raw << 5).cast_signed() >> 5
}

/// The high five bits, with sign.
fn exponent(raw: u16) -> i16 {
    raw.cast_signed() >> 11
}

/// The nearest LINEAR11 of the finest step.
fn linear11(value: f64) -> Option<u16> {
    for exponent in -16_i16..=15 {
        let steps = (value * 2f64.powi(-i32::from(exponent))).round();
        if (-1_024.0..=1_023.0).contains(&steps) {
            #[expect(clippy::cast_possible_truncation, reason = "-1024 to 1023")]
            let mantissa = steps as i16;
            return Some((exponent << 11).cast_unsigned() | mantissa.cast_unsigned() & 0x7ff);
        }
    }
    None
}

/// Powers that are whole divide or multiply: 0.1 is none of these numbers.
fn times_ten_to(value: f64, power: i32) -> f64 {
    if power < 0 { value / 10f64.powi(-power) } else { value * 10f64.powi(power) }
}

/// The nearest whole number in a range, as its low sixteen bits.
fn whole(value: f64, low: i32, high: i32) -> Result<u16, Error> {
    let nearest = value.round();
    if !(f64::from(low)..=f64::from(high)).contains(&nearest) {
        return Err(Error::OutOfRange);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within sixteen bits, with sign or without"
    )]
    Ok(nearest as i32 as u16)
}
