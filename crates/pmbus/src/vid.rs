//! Codes of voltages: tables of processor makers, which VOUT_MODE names by a number (Part II, section 8.3.2).
//!
//! Of VR11 the guidelines of VRM and EVRD 11.1 have the table. The documents of the others are not public: their first code, first voltage and step are those
//! by which Linux reads the same codes (`pmbus_reg2data_vid` of drivers/hwmon/pmbus/pmbus_core.c).

/// A table of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Vid {
    /// Intel VR11: 1.60 V at code 0x02, 6.25 mV down a step, to 0xb2 (VRM and EVRD 11.1 design guidelines, table 2-1).
    Vr11,
    /// Intel VR12 and VR12.5: 0.25 V at code 1, 5 mV up a step. Code 0 is off.
    Vr12,
    /// Intel VR13, steps of 10 mV: 0.50 V at code 1. Code 0 is off.
    Vr13,
    /// Intel IMVP9: 0.20 V at code 1, 10 mV up a step. Code 0 is off.
    Imvp9,
    /// AMD SVI2: 1.55 V at code 0, 6.25 mV down a step, to 0xd8.
    Amd625,
    /// NVIDIA PWM-VID: 0.195 V at code 1, 5 mV up a step. Code 0 is off.
    Nvidia195,
}

/// What a table is made of: 10 µV, so that steps of 6.25 mV are whole numbers.
struct Ladder {
    first: u16,
    last: u16,
    at_first: i32,
    step: i32,
}

impl Vid {
    /// Every table.
    pub const ALL: [Vid; 6] = [Vid::Vr11, Vid::Vr12, Vid::Vr13, Vid::Imvp9, Vid::Amd625, Vid::Nvidia195];

    fn ladder(self) -> Ladder {
        let (first, last, at_first, step) = match self {
            Vid::Vr11 => (0x02, 0xb2, 160_000, -625),
            Vid::Vr12 => (0x01, 0xff, 25_000, 500),
            Vid::Vr13 => (0x01, 0xff, 50_000, 1_000),
            Vid::Imvp9 => (0x01, 0xff, 20_000, 1_000),
            Vid::Amd625 => (0x00, 0xd8, 155_000, -625),
            Vid::Nvidia195 => (0x01, 0xff, 19_500, 500),
        };
        Ladder { first, last, at_first, step }
    }

    /// The voltage of a code, in volts. `None` where the table has none: the output is off, or the code is not in use.
    #[must_use]
    pub fn volts(self, code: u16) -> Option<f64> {
        let ladder = self.ladder();
        let steps = code.checked_sub(ladder.first).filter(|_| code <= ladder.last)?;
        Some(f64::from(ladder.at_first + ladder.step * i32::from(steps)) / 100_000.0)
    }

    /// The code nearest to a voltage. `None` for one that is more than half a step outside of the table.
    #[must_use]
    pub fn code(self, volts: f64) -> Option<u16> {
        let ladder = self.ladder();
        let steps = ((volts * 100_000.0 - f64::from(ladder.at_first)) / f64::from(ladder.step)).round();
        if !(0.0..=f64::from(ladder.last - ladder.first)).contains(&steps) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        Some(ladder.first + steps as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of each table, and one of the middle. Of VR11 they stand in table 2-1 of the guidelines; of the others no document is public, so they are
    /// worked out by hand from first code, first voltage and step, and hold the arithmetic and not the makers' word.
    #[test]
    fn worked_values() {
        for (vid, code, volts) in [
            (Vid::Vr11, 0x02, Some(1.6)),
            (Vid::Vr11, 0x03, Some(1.593_75)),
            (Vid::Vr11, 0xb2, Some(0.5)),
            (Vid::Vr11, 0x01, None),
            (Vid::Vr11, 0xb3, None),
            (Vid::Vr12, 0x00, None),
            (Vid::Vr12, 0x01, Some(0.25)),
            (Vid::Vr12, 0xff, Some(1.52)),
            (Vid::Vr12, 0x100, None),
            (Vid::Vr13, 0x01, Some(0.5)),
            (Vid::Vr13, 0x83, Some(1.8)),
            (Vid::Vr13, 0xff, Some(3.04)),
            (Vid::Imvp9, 0x01, Some(0.2)),
            (Vid::Imvp9, 0xff, Some(2.74)),
            (Vid::Amd625, 0x00, Some(1.55)),
            (Vid::Amd625, 0x58, Some(1.0)),
            (Vid::Amd625, 0xd8, Some(0.2)),
            (Vid::Amd625, 0xd9, None),
            (Vid::Nvidia195, 0x01, Some(0.195)),
            (Vid::Nvidia195, 0xff, Some(1.465)),
        ] {
            assert_eq!(vid.volts(code), volts, "{vid:?} {code:#x}");
        }
    }

    #[test]
    fn every_code_comes_back_and_no_voltage_panics() {
        for vid in Vid::ALL {
            for code in 0..=u16::MAX {
                if let Some(volts) = vid.volts(code) {
                    assert_eq!(vid.code(volts), Some(code), "{vid:?} {volts}");
                }
            }
            for volts in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
                assert_eq!(vid.code(volts), None);
            }
        }
    }
}
