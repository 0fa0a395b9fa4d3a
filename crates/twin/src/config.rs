//! How the modelled host behaves when nothing is broken.

use boot_override::Target;
use units::Millis;

/// Who plays the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// The model itself, by the times in [`Config`].
    Scripted,
    /// A real guest outside (a virtual machine). The model says what to do with it
    /// ([`crate::Output::Guest`]) and is told when it stopped ([`crate::Input::GuestHalted`]).
    External,
}

/// What a short press does before the operating system listens to the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootPress {
    /// Nothing: the event is lost.
    Ignore,
    /// The chipset latches it; the operating system sees it once it is up.
    Latch,
    /// The firmware switches the host off at once, as most PC firmware does before ACPI is enabled.
    PowerOff,
}

/// Times and habits of the modelled host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether the host runs (operating system up) when the model starts.
    pub initially_on: bool,
    /// From the start of the supply to power-good. A server supply takes 100 ms to 2 s.
    pub power_good_delay: Millis,
    /// From cutting the supply to power-good low: output capacitors drain.
    pub power_off_delay: Millis,
    /// A press must last this long to be seen. Intel PCH: PWRBTN# has a 16 ms debounce.
    pub button_debounce: Millis,
    /// A press of this length switches hard off. ACPI 4.8.2.2.1: power button override, more than 4 s.
    pub hard_off_hold: Millis,
    /// Time in firmware after power-good or reset.
    pub post_time: Millis,
    /// Time from the boot loader to the login prompt.
    pub boot_time: Millis,
    /// From the ACPI button event to the operating system cutting the power.
    pub shutdown_time: Millis,
    /// On a reset, power-good drops for this long (boards whose power-good includes the platform reset); zero: not at all.
    pub reset_drops_power_good: Millis,
    /// What a press does before the operating system is up.
    pub boot_press: BootPress,
    /// Who plays the operating system.
    pub guest: Guest,
    /// What its firmware has boot options for: disk, CD, USB, PXE, UEFI HTTP. What is none of these is disregarded.
    pub boots_from: Vec<Target>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initially_on: false,
            power_good_delay: Millis::new(300),
            power_off_delay: Millis::new(50),
            button_debounce: Millis::new(16),
            hard_off_hold: Millis::new(4_000),
            post_time: Millis::new(500),
            boot_time: Millis::new(1_000),
            shutdown_time: Millis::new(1_500),
            reset_drops_power_good: Millis::ZERO,
            boot_press: BootPress::Latch,
            guest: Guest::Scripted,
            boots_from: vec![Target::Hdd, Target::Cd, Target::Usb, Target::Pxe, Target::UefiHttp],
        }
    }
}
