//! The status registers: what each bit says.

/// A status register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Register {
    /// STATUS_WORD (0x79), whose low byte is STATUS_BYTE (0x78).
    Word,
    /// STATUS_VOUT (0x7a).
    Vout,
    /// STATUS_IOUT (0x7b).
    Iout,
    /// STATUS_INPUT (0x7c).
    Input,
    /// STATUS_TEMPERATURE (0x7d).
    Temperature,
    /// STATUS_CML (0x7e): communication, memory and logic.
    Cml,
    /// STATUS_OTHER (0x7f).
    Other,
    /// STATUS_FANS_1_2 (0x81).
    Fans12,
    /// STATUS_FANS_3_4 (0x82).
    Fans34,
}

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Says where to look, or how the device is.
    State,
    /// A warning limit is passed.
    Warning,
    /// A fault limit is passed: the device may have switched itself off.
    Fault,
}

/// What one bit says while it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The bit, 0 the lowest.
    pub bit: u8,
    /// The specification's name for it, in lower case.
    pub name: &'static str,
    /// How bad it is.
    pub gravity: Gravity,
}

const fn state(bit: u8, name: &'static str) -> Condition {
    Condition { bit, name, gravity: Gravity::State }
}

const fn warning(bit: u8, name: &'static str) -> Condition {
    Condition { bit, name, gravity: Gravity::Warning }
}

const fn fault(bit: u8, name: &'static str) -> Condition {
    Condition { bit, name, gravity: Gravity::Fault }
}

impl Register {
    /// Every register.
    pub const ALL: [Register; 9] = [
        Register::Word,
        Register::Vout,
        Register::Iout,
        Register::Input,
        Register::Temperature,
        Register::Cml,
        Register::Other,
        Register::Fans12,
        Register::Fans34,
    ];

    /// Its command.
    #[must_use]
    pub fn command(self) -> u8 {
        match self {
            Register::Word => 0x79,
            Register::Vout => 0x7a,
            Register::Iout => 0x7b,
            Register::Input => 0x7c,
            Register::Temperature => 0x7d,
            Register::Cml => 0x7e,
            Register::Other => 0x7f,
            Register::Fans12 => 0x81,
            Register::Fans34 => 0x82,
        }
    }

    /// The meaning of its bits, the highest first (Part II, sections 17.1 to 17.10). Bits that are not here are reserved.
    #[must_use]
    pub fn bits(self) -> &'static [Condition] {
        match self {
            Register::Word => {
                const {
                    &[
                        state(15, "vout"),
                        state(14, "iout_pout"),
                        state(13, "input"),
                        state(12, "mfr_specific"),
                        state(11, "power_good_not"),
                        state(10, "fans"),
                        state(9, "other"),
                        state(8, "unknown"),
                        state(7, "busy"),
                        state(6, "off"),
                        fault(5, "vout_ov_fault"),
                        fault(4, "iout_oc_fault"),
                        fault(3, "vin_uv_fault"),
                        state(2, "temperature"),
                        state(1, "cml"),
                        state(0, "none_of_the_above"),
                    ]
                }
            }
            Register::Vout => {
                const {
                    &[
                        fault(7, "vout_ov_fault"),
                        warning(6, "vout_ov_warning"),
                        warning(5, "vout_uv_warning"),
                        fault(4, "vout_uv_fault"),
                        warning(3, "vout_max_warning"),
                        fault(2, "ton_max_fault"),
                        warning(1, "toff_max_warning"),
                        warning(0, "vout_tracking_error"),
                    ]
                }
            }
            Register::Iout => {
                const {
                    &[
                        fault(7, "iout_oc_fault"),
                        fault(6, "iout_oc_lv_fault"),
                        warning(5, "iout_oc_warning"),
                        fault(4, "iout_uc_fault"),
                        fault(3, "current_share_fault"),
                        state(2, "power_limiting"),
                        fault(1, "pout_op_fault"),
                        warning(0, "pout_op_warning"),
                    ]
                }
            }
            Register::Input => {
                const {
                    &[
                        fault(7, "vin_ov_fault"),
                        warning(6, "vin_ov_warning"),
                        warning(5, "vin_uv_warning"),
                        fault(4, "vin_uv_fault"),
                        fault(3, "vin_low_off"),
                        fault(2, "iin_oc_fault"),
                        warning(1, "iin_oc_warning"),
                        warning(0, "pin_op_warning"),
                    ]
                }
            }
            Register::Temperature => {
                const {
                    &[
                        fault(7, "ot_fault"),
                        warning(6, "ot_warning"),
                        warning(5, "ut_warning"),
                        fault(4, "ut_fault"),
                    ]
                }
            }
            Register::Cml => {
                const {
                    &[
                        fault(7, "invalid_command"),
                        fault(6, "invalid_data"),
                        fault(5, "pec_failed"),
                        fault(4, "memory_fault"),
                        fault(3, "processor_fault"),
                        fault(1, "other_communication_fault"),
                        fault(0, "other_memory_or_logic_fault"),
                    ]
                }
            }
            Register::Other => {
                const {
                    &[
                        fault(5, "input_a_fuse_fault"),
                        fault(4, "input_b_fuse_fault"),
                        fault(3, "input_a_oring_fault"),
                        fault(2, "input_b_oring_fault"),
                        fault(1, "output_oring_fault"),
                        state(0, "first_to_alert"),
                    ]
                }
            }
            Register::Fans12 => {
                const {
                    &[
                        fault(7, "fan1_fault"),
                        fault(6, "fan2_fault"),
                        warning(5, "fan1_warning"),
                        warning(4, "fan2_warning"),
                        state(3, "fan1_speed_override"),
                        state(2, "fan2_speed_override"),
                        fault(1, "airflow_fault"),
                        warning(0, "airflow_warning"),
                    ]
                }
            }
            Register::Fans34 => {
                const {
                    &[
                        fault(7, "fan3_fault"),
                        fault(6, "fan4_fault"),
                        warning(5, "fan3_warning"),
                        warning(4, "fan4_warning"),
                        state(3, "fan3_speed_override"),
                        state(2, "fan4_speed_override"),
                    ]
                }
            }
        }
    }

    /// The conditions of a value, the highest bit first. A register of one byte is read as such and widened.
    pub fn conditions(self, value: u16) -> impl Iterator<Item = Condition> {
        self.bits().iter().copied().filter(move |condition| value >> condition.bit & 1 == 1)
    }

    /// How bad the worst condition of a value is. `None` when no known bit is set.
    #[must_use]
    pub fn worst(self, value: u16) -> Option<Gravity> {
        self.conditions(value).map(|condition| condition.gravity).max()
    }

    /// Which registers a STATUS_WORD says to look at.
    pub fn named_by(word: u16) -> impl Iterator<Item = Register> {
        const FROM: [(u16, Register); 8] = [
            (1 << 15 | 1 << 5, Register::Vout),
            (1 << 14 | 1 << 4, Register::Iout),
            (1 << 13 | 1 << 3, Register::Input),
            (1 << 10, Register::Fans12),
            (1 << 10, Register::Fans34),
            (1 << 9, Register::Other),
            (1 << 2, Register::Temperature),
            (1 << 1, Register::Cml),
        ];
        FROM.into_iter().filter(move |(bits, _)| word & bits != 0).map(|(_, register)| register)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(register: Register, value: u16) -> Vec<&'static str> {
        register.conditions(value).map(|condition| condition.name).collect()
    }

    /// Part II, section 17, tables 15 to 24.
    #[test]
    fn worked_values() {
        assert_eq!(names(Register::Word, 0x0000), [""; 0]);
        assert_eq!(names(Register::Word, 0x2848), ["input", "power_good_not", "off", "vin_uv_fault"]);
        assert_eq!(names(Register::Vout, 0x90), ["vout_ov_fault", "vout_uv_fault"]);
        assert_eq!(names(Register::Iout, 0x25), ["iout_oc_warning", "power_limiting", "pout_op_warning"]);
        assert_eq!(names(Register::Input, 0x18), ["vin_uv_fault", "vin_low_off"]);
        assert_eq!(names(Register::Temperature, 0x4f), ["ot_warning"]);
        assert_eq!(
            names(Register::Cml, 0xa6),
            ["invalid_command", "pec_failed", "other_communication_fault"]
        );
        assert_eq!(names(Register::Fans12, 0x81), ["fan1_fault", "airflow_warning"]);
        assert_eq!(names(Register::Fans34, 0x53), ["fan4_fault", "fan4_warning"]);
        assert_eq!(names(Register::Other, 0xc1), ["first_to_alert"]);
    }

    #[test]
    fn the_worst_of_a_value() {
        assert_eq!(Register::Temperature.worst(0x0f), None);
        assert_eq!(Register::Temperature.worst(0x40), Some(Gravity::Warning));
        assert_eq!(Register::Temperature.worst(0xc0), Some(Gravity::Fault));
        assert_eq!(Register::Word.worst(0x0800), Some(Gravity::State));
    }

    #[test]
    fn where_to_look() {
        let named = |word| Register::named_by(word).collect::<Vec<_>>();
        assert_eq!(named(0), []);
        assert_eq!(named(0x0040), []);
        assert_eq!(named(0x2008), [Register::Input]);
        assert_eq!(named(0x0404), [Register::Fans12, Register::Fans34, Register::Temperature]);
        assert_eq!(named(0xffff).len(), 8);
    }

    #[test]
    fn bits_are_of_their_register_and_descend() {
        for register in Register::ALL {
            let width = if register == Register::Word { 16 } else { 8 };
            assert!(register.bits().iter().all(|c| c.bit < width));
            assert!(register.bits().is_sorted_by(|a, b| a.bit > b.bit), "{register:?}");
        }
    }
}
