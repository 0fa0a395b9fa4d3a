//! How a reading with a unit becomes one byte (§36.3): `value = (M · raw + B · 10^BExp) · 10^RExp`, M and B of 10 bits, the exponents of 4.

/// How bytes and values go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// −512 to 511, not zero.
    pub m: i16,
    /// −512 to 511.
    pub b: i16,
    /// −8 to 7.
    pub b_exponent: i8,
    /// −8 to 7.
    pub r_exponent: i8,
}

/// Largest of M and B.
const LARGEST: f64 = 511.0;
/// Most steps of a byte.
const STEPS: f64 = 255.0;

fn power(exponent: i8) -> f64 {
    10_f64.powi(i32::from(exponent))
}

impl Scale {
    /// The finest that has all of `low` to `high` in 256 steps; `None` when there is none, or the range is none. A step is at most 1/250 of
    /// the range, and 1/180 where the range lies far from zero.
    #[must_use]
    pub fn fit(low: f64, high: f64) -> Option<Self> {
        if !(low.is_finite() && high.is_finite() && low < high) {
            return None;
        }
        let mut best: Option<(f64, Self)> = None;
        for r_exponent in (-8..=7_i8).rev() {
            let unit = power(r_exponent);
            // The least M with which 255 steps reach from the offset to the upper end.
            let wanted = (high - low) / (STEPS * unit);
            if wanted > LARGEST {
                continue;
            }
            // A larger M makes up for an offset that is not exact.
            for more in 0..=4_u8 {
                let m = (wanted.ceil() + f64::from(more)).max(1.0);
                if m > LARGEST {
                    break;
                }
                let Some(found) = Self::with(m, r_exponent, low, high) else { continue };
                let step = m * unit;
                // The largest unit of those that are as fine: the smallest numbers.
                if best.is_none_or(|(finest, _)| step < finest * (1.0 - 1e-9)) {
                    best = Some((step, found));
                }
                break;
            }
        }
        best.map(|(_, scale)| scale)
    }

    /// With this M: the largest offset that is not above `low`, if 255 steps from it reach `high`.
    fn with(m: f64, r_exponent: i8, low: f64, high: f64) -> Option<Self> {
        let unit = power(r_exponent);
        (-8..=7_i8)
            .filter_map(|b_exponent| {
                let b = (low / (unit * power(b_exponent))).floor();
                if b.abs() > LARGEST {
                    return None;
                }
                #[allow(clippy::cast_possible_truncation, reason = "at most 511")]
                let scale = Self {
                    m: m as i16,
                    b: b as i16,
                    b_exponent: if b == 0.0 { 0 } else { b_exponent },
                    r_exponent,
                };
                let reaches =
                    scale.value(0) <= low + m * unit / 2.0 && scale.value(u8::MAX) >= high - m * unit / 2.0;
                reaches.then_some(scale)
            })
            .next()
    }

    /// The value of a byte.
    #[must_use]
    pub fn value(self, raw: u8) -> f64 {
        (f64::from(self.m) * f64::from(raw) + f64::from(self.b) * power(self.b_exponent))
            * power(self.r_exponent)
    }

    /// The nearest byte; one at the end for what is beyond.
    #[must_use]
    pub fn raw(self, value: f64) -> u8 {
        let raw =
            (value / power(self.r_exponent) - f64::from(self.b) * power(self.b_exponent)) / f64::from(self.m);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255; NaN is 0")]
        let raw = raw.round().clamp(0.0, STEPS) as u8;
        raw
    }

    /// A difference as bytes: a hysteresis.
    #[must_use]
    pub fn steps(self, difference: f64) -> u8 {
        let steps = difference / self.step();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255; NaN is 0")]
        let steps = steps.round().clamp(0.0, STEPS) as u8;
        steps
    }

    /// Whether a byte can say this value, to half a step.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        let half = self.step() / 2.0;
        let (one, other) = (self.value(0), self.value(u8::MAX));
        value >= one.min(other) - half && value <= one.max(other) + half
    }

    /// How far two bytes beside each other are apart.
    #[must_use]
    pub fn step(self) -> f64 {
        f64::from(self.m) * power(self.r_exponent)
    }

    /// The four numbers as a sensor record has them, its bytes 25 to 30 (§43.1): M, its tolerance, B, its accuracy, the exponents.
    #[must_use]
    pub fn encode(self) -> [u8; 6] {
        let ten = |value: i16| {
            let [low, high] = value.to_le_bytes();
            (low, (high & 3) << 6)
        };
        let ((m_low, m_high), (b_low, b_high)) = (ten(self.m), ten(self.b));
        let [r] = self.r_exponent.to_le_bytes();
        let [b] = self.b_exponent.to_le_bytes();
        [m_low, m_high, b_low, b_high, 0, (r & 0xf) << 4 | b & 0xf]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_as_boards_have_them_are_fine_enough() {
        for (low, high, most) in [
            (-128.0, 127.0, 1.0),
            (0.0, 127.0, 0.5),
            (0.0, 20_000.0, 79.0),
            (0.0, 15.3, 0.0601),
            (0.0, 2000.0, 7.9),
            (3.0, 3.6, 0.003),
            (0.0, 100.0, 0.4),
            (90_000.0, 110_000.0, 111.0),
        ] {
            let scale = Scale::fit(low, high).unwrap();
            assert!(scale.step() <= most, "{low} to {high}: {scale:?} has steps of {}", scale.step());
        }
        assert_eq!(Scale::fit(0.0, 255.0), Some(Scale { m: 1, b: 0, b_exponent: 0, r_exponent: 0 }));
    }

    #[test]
    fn what_is_no_range_has_no_scale() {
        for (low, high) in [(0.0, 0.0), (1.0, 0.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (0.0, 1e14)] {
            assert_eq!(Scale::fit(low, high), None, "{low} to {high}");
        }
    }

    #[test]
    fn the_numbers_are_encoded_in_ten_and_four_bits() {
        let scale = Scale { m: -2, b: 300, b_exponent: -3, r_exponent: 2 };
        assert_eq!(scale.encode(), [0xfe, 0xc0, 0x2c, 0x40, 0x00, 0x2d]);
    }

    proptest! {
        #[test]
        fn each_value_in_a_range_is_within_half_a_step(low in -5e5..5e5_f64, span in 0.01..1e6_f64, at in 0.0..=1.0_f64) {
            // Ten bits of an offset do not say a small range that is far away.
            prop_assume!(span > low.abs() / 100.0);
            let scale = Scale::fit(low, low + span).unwrap();
            let value = low + span * at;
            let error = (scale.value(scale.raw(value)) - value).abs();
            prop_assert!(error <= scale.step() * 0.501, "{scale:?}: {value} is off by {error}");
            // The steps of that offset take part of the range of a byte: little, where it does not lie far away.
            prop_assert!(span < low.abs() / 10.0 || scale.step() <= span / 180.0, "{scale:?} for {span}");
        }
    }
}
