//! How long things take, with the sources of the defaults.

use units::Millis;

/// Times of one host. Defaults are those of x86-power-control unless said otherwise: the boards of the field are made
/// for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// A short press of the power button. `PowerPulseMs`, 200 ms.
    pub press: Millis,
    /// The longest a force-off holds the button; it lets go when power-good falls. `ForceOffPulseMs`, 15 s. Chipsets cut
    /// power after 4 s (ACPI 4.8.2.2.1), some boards need up to 10 s.
    pub force_off_hold: Millis,
    /// A press of the reset button. `ResetPulseMs`, 500 ms.
    pub reset: Millis,
    /// A press of the NMI button. 200 ms.
    pub nmi: Millis,
    /// How long power stays off in a cycle. `PowerCycleMs`, 5 s.
    pub cycle_off: Millis,
    /// How long power-good may take after a press. `PowerOKWatchdogMs`, 8 s.
    pub power_good_timeout: Millis,
    /// How long an operating system may take to shut down. `GracefulPowerOffS`, 300 s.
    pub graceful_off_timeout: Millis,
    /// A loss of power-good shorter than this is a warm reset. `WarmResetCheckMs`, 500 ms.
    pub warm_reset_check: Millis,
    /// How long power-good must be steady to be believed. 20 ms: ATX12V 3.3.1 lets PWR_OK bounce while rails settle and
    /// asks for a rise below 10 ms; twice that.
    pub debounce: Millis,
    /// How long after power-good fell the host is left alone, so that rails and the chipset's S5 entry are through before
    /// the next press. 500 ms, above the 50-ms-class discharge of supplies with a minimum load.
    pub off_settle: Millis,
    /// The shortest pause between two presses of one button, so that no debounce joins them. 100 ms, six times the 16 ms
    /// of PWRBTN#.
    pub press_gap: Millis,
    /// How often letting go of a button is tried again when the line refuses. 50 ms.
    pub release_retry: Millis,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            press: Millis::new(200),
            force_off_hold: Millis::from_secs(15),
            reset: Millis::new(500),
            nmi: Millis::new(200),
            cycle_off: Millis::from_secs(5),
            power_good_timeout: Millis::from_secs(8),
            graceful_off_timeout: Millis::from_secs(300),
            warm_reset_check: Millis::new(500),
            debounce: Millis::new(20),
            off_settle: Millis::new(500),
            press_gap: Millis::new(100),
            release_retry: Millis::new(50),
        }
    }
}
