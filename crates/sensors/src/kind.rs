//! What a sensor measures, and in which unit.

use serde::{Deserialize, Serialize};

/// What a sensor measures. The words of `ReadingType` in Redfish's `Sensor` schema (DSP2046) are given by [`Kind::reading_type`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Degrees Celsius.
    Temperature,
    /// Volts.
    Voltage,
    /// Amperes.
    Current,
    /// Watts.
    Power,
    /// Joules.
    Energy,
    /// Revolutions a minute.
    Fan,
    /// Percent of relative humidity.
    Humidity,
    /// Pascals.
    Pressure,
    /// Percent of something.
    Percent,
    /// Hertz.
    Frequency,
    /// Whether something is there: 1 or 0.
    Presence,
    /// Whether something is signalled: 1 or 0.
    Alert,
}

impl Kind {
    /// All of them, with the word for each in a board file.
    pub const WORDS: [(&'static str, Self); 12] = [
        ("temperature", Self::Temperature),
        ("voltage", Self::Voltage),
        ("current", Self::Current),
        ("power", Self::Power),
        ("energy", Self::Energy),
        ("fan", Self::Fan),
        ("humidity", Self::Humidity),
        ("pressure", Self::Pressure),
        ("percent", Self::Percent),
        ("frequency", Self::Frequency),
        ("presence", Self::Presence),
        ("alert", Self::Alert),
    ];

    /// The word in a board file.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// The unit's symbol (UCUM, as Redfish's `ReadingUnits` has it); empty for what is either so or not.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Temperature => "Cel",
            Self::Voltage => "V",
            Self::Current => "A",
            Self::Power => "W",
            Self::Energy => "J",
            Self::Fan => "{rev}/min",
            Self::Humidity | Self::Percent => "%",
            Self::Pressure => "Pa",
            Self::Frequency => "Hz",
            Self::Presence | Self::Alert => "",
        }
    }

    /// Redfish's word; none for what Redfish has no `Sensor` for.
    pub fn reading_type(self) -> Option<&'static str> {
        Some(match self {
            Self::Temperature => "Temperature",
            Self::Voltage => "Voltage",
            Self::Current => "Current",
            Self::Power => "Power",
            Self::Energy => "EnergyJoules",
            Self::Fan => "Rotational",
            Self::Humidity => "Humidity",
            Self::Pressure => "PressurePa",
            Self::Percent => "Percent",
            Self::Frequency => "Frequency",
            Self::Presence | Self::Alert => return None,
        })
    }

    /// Whether its values are 1 and 0 only.
    pub fn is_discrete(self) -> bool {
        matches!(self, Self::Presence | Self::Alert)
    }

    /// Least and largest value that can be true of a machine; what lies beyond is a fault of the sensor.
    pub fn plausible(self) -> (f64, f64) {
        match self {
            Self::Temperature => (-55.0, 250.0),
            Self::Voltage => (-100.0, 1_000.0),
            Self::Current => (-2_000.0, 2_000.0),
            Self::Power => (-1_000.0, 100_000.0),
            Self::Energy => (0.0, 1e18),
            Self::Fan => (0.0, 60_000.0),
            Self::Humidity => (0.0, 100.0),
            Self::Pressure => (0.0, 1e8),
            Self::Percent => (0.0, 1_000.0),
            Self::Frequency => (0.0, 1e12),
            Self::Presence | Self::Alert => (0.0, 1.0),
        }
    }

    /// The step below which a change is no news, when the board file does not say.
    pub fn resolution(self) -> f64 {
        match self {
            Self::Temperature | Self::Humidity | Self::Percent => 0.25,
            Self::Voltage => 0.005,
            Self::Current => 0.05,
            Self::Power => 0.5,
            Self::Energy => 100.0,
            Self::Fan => 10.0,
            Self::Pressure => 10.0,
            Self::Frequency => 1_000.0,
            Self::Presence | Self::Alert => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_word_and_a_range_its_resolution_fits() {
        for (index, (word, kind)) in Kind::WORDS.iter().enumerate() {
            assert_eq!(kind.as_str(), *word);
            assert_eq!(Kind::WORDS.iter().position(|(_, other)| other == kind), Some(index));
            let (least, most) = kind.plausible();
            assert!(least < most && kind.resolution() > 0.0 && kind.resolution() <= most - least);
            assert_eq!(kind.reading_type().is_none(), kind.is_discrete());
        }
    }
}
