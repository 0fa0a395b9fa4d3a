//! Numbers of half precision: binary16 of IEEE 754-2008, which PMBus has since Part II revision 1.3 (section 8.4.4 of 1.3.1).

/// The value of sixteen bits: a number, an infinity or no number.
#[must_use]
pub fn from_half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let size = match bits >> 10 & 0x1f {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1_024.0 + fraction) * 2f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// The nearest half, ties to the even one. `None` for what is no finite number, or larger than the largest half (65,504).
#[must_use]
pub fn to_half(value: f64) -> Option<u16> {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if !size.is_finite() || size >= 65_520.0 {
        return None;
    }
    // The exponent of its place: that of the smallest numbers below 2^-14.
    let mut exponent = -14;
    while size >= 2f64.powi(exponent + 1) {
        exponent += 1;
    }
    // Below 2^11, or 2^11 when it is rounded up to the next place, which then carries into the exponent as it should.
    let steps = (size * 2f64.powi(10 - exponent)).round_ties_even();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2048")]
    let steps = steps as u16;
    let place = u16::try_from(exponent + 14).ok()?;
    Some(sign | (place * 0x400 + steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PMBus Part II revision 1.3.1, section 8.4.4, by the example of LT7170's reference manual (revision A, table 2): 0x4580 is
    /// 2^2 x (1 + 384/1024). The others are the corners of IEEE 754-2008, section 3.4.
    #[test]
    fn worked_values() {
        for (bits, value) in [
            (0x4580, 5.5),
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xbc00, -1.0),
            (0x3555, 0.333_251_953_125),
            (0x7bff, 65_504.0),
            (0x0400, 0.000_061_035_156_25),
            (0x03ff, 0.000_060_975_551_605_224_61),
            (0x0001, 0.000_000_059_604_644_775_390_63),
        ] {
            assert_eq!(from_half(bits).to_bits(), f64::to_bits(value), "{bits:#06x}");
            assert_eq!(to_half(value), Some(bits), "{value}");
        }
        assert!(from_half(0x7e00).is_nan());
        assert!(from_half(0x7c00).is_infinite());
    }

    #[test]
    fn every_finite_half_comes_back() {
        for bits in 0..=u16::MAX {
            let value = from_half(bits);
            assert_eq!(to_half(value), value.is_finite().then_some(bits), "{bits:#06x}");
        }
    }

    #[test]
    fn between_two_the_nearest_then_the_even() {
        assert_eq!(to_half(1.0 + 2f64.powi(-11)), Some(0x3c00));
        assert_eq!(to_half(1.0 + 3.0 * 2f64.powi(-11)), Some(0x3c02));
        assert_eq!(to_half(1.0 + 2f64.powi(-11) + 1e-9), Some(0x3c01));
        assert_eq!(to_half(2f64.powi(-25)), Some(0x0000));
        assert_eq!(to_half(2f64.powi(-14) - 2f64.powi(-26)), Some(0x0400));
        assert_eq!(to_half(65_519.9), Some(0x7bff));
        assert_eq!(to_half(65_520.0), None);
        assert_eq!(to_half(f64::NAN), None);
    }
}
