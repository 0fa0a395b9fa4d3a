//! The commands that are read or written here, and what their numbers are of.

use crate::limits::Limits;

/// What a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Volts.
    Volts,
    /// Amperes.
    Amperes,
    /// Watts.
    Watts,
    /// Degrees Celsius.
    Celsius,
    /// Revolutions a minute.
    Rpm,
    /// Percent.
    Percent,
}

/// What a command transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// A number of two bytes, in LINEAR11, DIRECT or half precision.
    Number(Unit),
    /// An output voltage, in the format of VOUT_MODE.
    Vout,
    /// A byte of bits.
    Byte,
    /// Two bytes of bits.
    Word,
    /// A text in a block.
    Text,
}

/// A command (Part II, appendix I, table 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[repr(u8)]
pub enum Command {
    /// Which of several outputs the next commands are for.
    Page = 0x00,
    /// Forgets what the status registers hold.
    ClearFaults = 0x03,
    /// What the device can do on the bus.
    Capability = 0x19,
    /// Which format output voltages have.
    VoutMode = 0x20,
    /// The line of DIRECT numbers.
    Coefficients = 0x30,
    /// How fans 1 and 2 are connected.
    FanConfig12 = 0x3a,
    /// The output voltage at which the device protects itself from too much.
    VoutOvFaultLimit = 0x40,
    /// The output voltage from which on it warns of too much.
    VoutOvWarnLimit = 0x42,
    /// The output voltage from which on it warns of too little.
    VoutUvWarnLimit = 0x43,
    /// The output voltage at which it protects itself from too little.
    VoutUvFaultLimit = 0x44,
    /// The output current at which it protects itself.
    IoutOcFaultLimit = 0x46,
    /// The output current from which on it warns.
    IoutOcWarnLimit = 0x4a,
    /// The output current at which it protects itself from too little.
    IoutUcFaultLimit = 0x4b,
    /// The temperature at which it protects itself.
    OtFaultLimit = 0x4f,
    /// The temperature from which on it warns.
    OtWarnLimit = 0x51,
    /// The temperature from which on it warns of cold.
    UtWarnLimit = 0x52,
    /// The temperature at which it protects itself from cold.
    UtFaultLimit = 0x53,
    /// The input voltage at which it protects itself from too much.
    VinOvFaultLimit = 0x55,
    /// The input voltage from which on it warns of too much.
    VinOvWarnLimit = 0x57,
    /// The input voltage from which on it warns of too little.
    VinUvWarnLimit = 0x58,
    /// The input voltage at which it protects itself from too little.
    VinUvFaultLimit = 0x59,
    /// The input current at which it protects itself.
    IinOcFaultLimit = 0x5b,
    /// The input current from which on it warns.
    IinOcWarnLimit = 0x5d,
    /// The output power at which it protects itself.
    PoutOpFaultLimit = 0x68,
    /// The output power from which on it warns.
    PoutOpWarnLimit = 0x6a,
    /// The input power from which on it warns.
    PinOpWarnLimit = 0x6b,
    /// The speed fan 1 shall have.
    FanCommand1 = 0x3b,
    /// The speed fan 2 shall have.
    FanCommand2 = 0x3c,
    /// How fans 3 and 4 are connected.
    FanConfig34 = 0x3d,
    /// The speed fan 3 shall have.
    FanCommand3 = 0x3e,
    /// The speed fan 4 shall have.
    FanCommand4 = 0x3f,
    /// The upper half of what is wrong, and the lower.
    StatusWord = 0x79,
    /// Input voltage.
    ReadVin = 0x88,
    /// Input current.
    ReadIin = 0x89,
    /// Voltage of the capacitor that bridges gaps of the input.
    ReadVcap = 0x8a,
    /// Output voltage.
    ReadVout = 0x8b,
    /// Output current.
    ReadIout = 0x8c,
    /// First temperature.
    ReadTemperature1 = 0x8d,
    /// Second temperature.
    ReadTemperature2 = 0x8e,
    /// Third temperature.
    ReadTemperature3 = 0x8f,
    /// Speed of fan 1.
    ReadFanSpeed1 = 0x90,
    /// Speed of fan 2.
    ReadFanSpeed2 = 0x91,
    /// Speed of fan 3.
    ReadFanSpeed3 = 0x92,
    /// Speed of fan 4.
    ReadFanSpeed4 = 0x93,
    /// Duty of a switching converter.
    ReadDutyCycle = 0x94,
    /// Output power.
    ReadPout = 0x96,
    /// Input power.
    ReadPin = 0x97,
    /// Revisions of the specification.
    PmbusRevision = 0x98,
    /// Who made it.
    MfrId = 0x99,
    /// What it is.
    MfrModel = 0x9a,
    /// Of which revision.
    MfrRevision = 0x9b,
    /// Where it was made.
    MfrLocation = 0x9c,
    /// When, as YYMMDD.
    MfrDate = 0x9d,
    /// Its serial number.
    MfrSerial = 0x9e,
}

impl Command {
    /// Its code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it transfers. `None` for one that has no data, or whose data is its own.
    #[must_use]
    pub fn shape(self) -> Option<Shape> {
        use Command as C;
        Some(match self {
            C::ClearFaults | C::Coefficients => return None,
            C::Page | C::Capability | C::VoutMode | C::FanConfig12 | C::FanConfig34 | C::PmbusRevision => {
                Shape::Byte
            }
            C::StatusWord => Shape::Word,
            C::FanCommand1 | C::FanCommand2 | C::FanCommand3 | C::FanCommand4 | C::ReadDutyCycle => {
                Shape::Number(Unit::Percent)
            }
            C::ReadVin
            | C::ReadVcap
            | C::VinOvFaultLimit
            | C::VinOvWarnLimit
            | C::VinUvWarnLimit
            | C::VinUvFaultLimit => Shape::Number(Unit::Volts),
            C::ReadIin
            | C::ReadIout
            | C::IinOcFaultLimit
            | C::IinOcWarnLimit
            | C::IoutOcFaultLimit
            | C::IoutOcWarnLimit
            | C::IoutUcFaultLimit => Shape::Number(Unit::Amperes),
            C::ReadVout
            | C::VoutOvFaultLimit
            | C::VoutOvWarnLimit
            | C::VoutUvWarnLimit
            | C::VoutUvFaultLimit => Shape::Vout,
            C::ReadTemperature1
            | C::ReadTemperature2
            | C::ReadTemperature3
            | C::OtFaultLimit
            | C::OtWarnLimit
            | C::UtWarnLimit
            | C::UtFaultLimit => Shape::Number(Unit::Celsius),
            C::ReadFanSpeed1 | C::ReadFanSpeed2 | C::ReadFanSpeed3 | C::ReadFanSpeed4 => {
                Shape::Number(Unit::Rpm)
            }
            C::ReadPout | C::ReadPin | C::PoutOpFaultLimit | C::PoutOpWarnLimit | C::PinOpWarnLimit => {
                Shape::Number(Unit::Watts)
            }
            C::MfrId | C::MfrModel | C::MfrRevision | C::MfrLocation | C::MfrDate | C::MfrSerial => {
                Shape::Text
            }
        })
    }
}

impl Command {
    /// The commands that hold the limits of what this command reads; none for those that it cannot have (Part II, section 15; those of the temperatures are for all of them).
    #[must_use]
    pub fn limits(self) -> Limits<Self> {
        use Command as C;
        let of = |lower_fault, lower_warning, upper_warning, upper_fault| Limits {
            upper_fault,
            upper_warning,
            lower_warning,
            lower_fault,
        };
        match self {
            C::ReadVin => of(
                Some(C::VinUvFaultLimit),
                Some(C::VinUvWarnLimit),
                Some(C::VinOvWarnLimit),
                Some(C::VinOvFaultLimit),
            ),
            C::ReadVout => of(
                Some(C::VoutUvFaultLimit),
                Some(C::VoutUvWarnLimit),
                Some(C::VoutOvWarnLimit),
                Some(C::VoutOvFaultLimit),
            ),
            C::ReadIin => of(None, None, Some(C::IinOcWarnLimit), Some(C::IinOcFaultLimit)),
            C::ReadIout => {
                of(Some(C::IoutUcFaultLimit), None, Some(C::IoutOcWarnLimit), Some(C::IoutOcFaultLimit))
            }
            C::ReadPin => of(None, None, Some(C::PinOpWarnLimit), None),
            C::ReadPout => of(None, None, Some(C::PoutOpWarnLimit), Some(C::PoutOpFaultLimit)),
            C::ReadTemperature1 | C::ReadTemperature2 | C::ReadTemperature3 => {
                of(Some(C::UtFaultLimit), Some(C::UtWarnLimit), Some(C::OtWarnLimit), Some(C::OtFaultLimit))
            }
            _ => Limits::default(),
        }
    }
}

/// The fastest clock of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Speed {
    /// 100 kHz.
    Khz100,
    /// 400 kHz.
    Khz400,
    /// 1 MHz (since revision 1.3).
    Mhz1,
}

/// The byte of CAPABILITY (section 11.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// It checks packet error codes and sends them.
    pub pec: bool,
    /// The fastest clock. `None` for a value that is reserved.
    pub speed: Option<Speed>,
    /// It has a line for alerts.
    pub alert: bool,
    /// Its numbers are of half precision (since revision 1.3).
    pub half: bool,
}

impl Capability {
    /// Reads the byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        Capability {
            pec: byte & 0x80 != 0,
            speed: match byte >> 5 & 0x03 {
                0 => Some(Speed::Khz100),
                1 => Some(Speed::Khz400),
                2 => Some(Speed::Mhz1),
                _ => None,
            },
            alert: byte & 0x10 != 0,
            half: byte & 0x08 != 0,
        }
    }
}

/// One fan of FAN_CONFIG_1_2 or FAN_CONFIG_3_4 (section 14.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanConfig {
    /// There is a fan.
    pub installed: bool,
    /// FAN_COMMAND is a speed in revolutions a minute; else a duty in percent.
    pub by_speed: bool,
    /// Pulses of the tachometer in one revolution, 1 to 4.
    pub pulses: u8,
}

impl FanConfig {
    /// The two fans of a byte: 1 and 2, or 3 and 4.
    #[must_use]
    pub fn from_byte(byte: u8) -> [Self; 2] {
        [byte >> 4, byte & 0x0f].map(|bits| FanConfig {
            installed: bits & 0x8 != 0,
            by_speed: bits & 0x4 != 0,
            pulses: (bits & 0x3) + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 11.12, table 11; 0xb0 is what ADM1276 answers (data sheet revision C, table 9).
    #[test]
    fn what_a_device_can_do() {
        let adm1276 = Capability { pec: true, speed: Some(Speed::Khz400), alert: true, half: false };
        assert_eq!(Capability::from_byte(0xb0), adm1276);
        assert_eq!(Capability::from_byte(0x48).speed, Some(Speed::Mhz1));
        assert!(Capability::from_byte(0x48).half);
        assert_eq!(Capability::from_byte(0x60).speed, None);
    }

    /// Section 14.10, table 13.
    #[test]
    fn how_fans_are_connected() {
        let [one, two] = FanConfig::from_byte(0x90);
        assert_eq!(one, FanConfig { installed: true, by_speed: false, pulses: 2 });
        assert_eq!(two, FanConfig { installed: false, by_speed: false, pulses: 1 });
        let [_, four] = FanConfig::from_byte(0x0f);
        assert_eq!(four, FanConfig { installed: true, by_speed: true, pulses: 4 });
    }

    #[test]
    fn codes_of_readings() {
        assert_eq!(Command::ReadVout.code(), 0x8b);
        // Appendix I, table 27.
        let codes = |limits: Limits<Command>| {
            [limits.lower_fault, limits.lower_warning, limits.upper_warning, limits.upper_fault]
                .map(|command| command.map(Command::code))
        };
        for (command, expected) in [
            (Command::ReadVin, [Some(0x59), Some(0x58), Some(0x57), Some(0x55)]),
            (Command::ReadVout, [Some(0x44), Some(0x43), Some(0x42), Some(0x40)]),
            (Command::ReadIin, [None, None, Some(0x5d), Some(0x5b)]),
            (Command::ReadIout, [Some(0x4b), None, Some(0x4a), Some(0x46)]),
            (Command::ReadPin, [None, None, Some(0x6b), None]),
            (Command::ReadPout, [None, None, Some(0x6a), Some(0x68)]),
            (Command::ReadTemperature2, [Some(0x53), Some(0x52), Some(0x51), Some(0x4f)]),
            (Command::ReadFanSpeed1, [None; 4]),
        ] {
            assert_eq!(codes(command.limits()), expected, "{command:?}");
            let limits = [command.limits().upper_fault, command.limits().lower_fault];
            assert!(limits.into_iter().flatten().all(|limit| limit.shape() == command.shape()));
        }
        assert_eq!(Command::ReadVout.shape(), Some(Shape::Vout));
        assert_eq!(Command::ReadTemperature1.code(), 0x8d);
        assert_eq!(Command::MfrSerial.code(), 0x9e);
        assert_eq!(Command::ClearFaults.shape(), None);
    }
}
