//! The host itself: supply, buttons, operating system, faults.

use boot_override::{Mailbox, Order, Target};
use host_firmware::{FirmwareBox, Progress, Seen, Stage, Wishes};
use units::{Millis, Mono};

use crate::config::{BootPress, Config, Guest};
use crate::firmware::Firmware;
use crate::serial;

/// A button on the front panel, as a person presses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Button {
    /// The power button.
    Power,
    /// The reset button.
    Reset,
}

/// Something going wrong, or arriving from outside, on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// From now on power-good takes this long after the supply starts.
    PowerGoodDelay(Millis),
    /// From now on each change of power-good bounces: `toggles` extra edges, `every` apart. Zero toggles: clean again.
    PowerGoodBounce {
        /// Extra edges; an odd number is rounded up so that the level ends where it should.
        toggles: u8,
        /// Time between the edges.
        every: Millis,
    },
    /// While set, a start of the supply fails: no power-good, and the supply gives up and is off again.
    PowerGoodMissing(bool),
    /// Power-good drops for this long while the supply is in fact fine.
    Glitch(Millis),
    /// The supply trips now. The host is off and stays off.
    PowerLoss,
    /// The host starts by itself (Wake-on-LAN, RTC alarm, firmware restore policy).
    Wake,
    /// While set, the operating system hangs: it ignores the button and never shuts down.
    OsHang(bool),
    /// The next so many presses (of the power button, from the BMC) are not seen at all.
    IgnorePresses(u32),
}

/// What happens to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The BMC drives the power button line: active or not.
    PowerButton(bool),
    /// The BMC drives the reset button line.
    ResetButton(bool),
    /// The BMC drives the NMI line.
    Nmi(bool),
    /// The BMC drives the held power-control level (boards without a power button).
    PowerControl(bool),
    /// A person presses or lets go of a button on the front panel.
    Finger(Button, bool),
    /// Something breaks, heals or arrives from outside.
    Fault(Fault),
    /// The external guest has stopped (it powered itself down, or was killed). Ignored with a scripted guest.
    GuestHalted,
    /// The operating system restarts itself (a `reboot` typed on the host).
    OsReboot,
    /// Time passed: [`Host::deadline`] was reached.
    Tick,
}

/// What to do with an external guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestAction {
    /// Power came up: start it.
    Start,
    /// Send it the ACPI power button event.
    PowerButton,
    /// Reset it.
    Reset,
    /// Inject a non-maskable interrupt.
    Nmi,
    /// Power is gone: kill it.
    Kill,
}

/// What the host does to its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The power-good wire changed.
    PowerGood(bool),
    /// The wire that shows the BMC what a person presses changed.
    ButtonIn(Button, bool),
    /// Text on the serial console (scripted guest only).
    Serial(&'static str),
    /// To do with the external guest (external guest only).
    Guest(GuestAction),
    /// A boot has begun, and its firmware has noted which order it uses and what it has taken of what is wished. What follows is done by that, so
    /// both are to be kept first: [`Host::mailbox`] and [`Host::kept_firmware`].
    Mailbox,
}

/// The state of the power supply: the truth behind the power-good wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// No power.
    Off,
    /// Coming up; power-good at the given time, if at all.
    Starting {
        /// When the start ends, well or badly.
        until: Mono,
    },
    /// Up.
    On,
    /// Cut; power-good drops at the given time.
    Stopping {
        /// When the rails are down.
        until: Mono,
    },
}

/// What the operating system is doing. Only meaningful with the supply on and a scripted guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// Not running.
    Down,
    /// Firmware.
    Post {
        /// When the boot loader starts.
        until: Mono,
    },
    /// Kernel and services come up.
    Booting {
        /// When the login prompt appears.
        until: Mono,
    },
    /// Up.
    Running,
    /// In the set-up screens of the firmware, until somebody leaves them.
    Setup,
    /// Shutting down after the button event.
    ShuttingDown {
        /// When it cuts the power.
        until: Mono,
    },
}

/// A button that is down: since when, and what it has caused so far.
#[derive(Debug, Clone, Copy)]
struct Press {
    since: Mono,
    seen: bool,
    overridden: bool,
    ignored: bool,
}

/// Edges still to come on the power-good wire.
#[derive(Debug, Clone, Copy)]
struct Bounce {
    left: u8,
    every: Millis,
    next: Mono,
}

/// How far the firmware comes before it boots something, in equal parts of its time.
const POST_STAGES: [Stage; 6] = [
    Stage::PrimaryProcessor,
    Stage::Bus,
    Stage::Memory,
    Stage::SecondaryProcessor,
    Stage::PciResources,
    Stage::HardwareComplete,
];

/// One host.
#[derive(Debug)]
pub struct Host {
    config: Config,
    supply: Supply,
    os: Os,
    latched: bool,
    bmc_power: bool,
    bmc_reset: bool,
    bmc_nmi: bool,
    control: Option<bool>,
    finger_power: bool,
    finger_reset: bool,
    press: Option<Press>,
    reset_until: Option<Mono>,
    glitch_until: Option<Mono>,
    bounce: Option<Bounce>,
    wire: bool,
    // What the firmware was told to boot from, and what the boot that runs was.
    mailbox: Mailbox,
    order: Option<Order>,
    firmware: Firmware,
    // What the boot that runs tries, and how long its firmware takes.
    tries: Vec<Target>,
    post: Millis,
    // Faults in force.
    bounce_toggles: u8,
    bounce_every: Millis,
    missing: bool,
    hang: bool,
    ignore: u32,
    // What a test may ask about.
    starts: u32,
    acpi_events: u32,
    hard_offs: u32,
    resets: u32,
    nmis: u32,
}

impl Host {
    /// A host as `config` describes it, with all lines inactive.
    pub fn new(config: Config) -> Self {
        let on = config.initially_on;
        // What plays a guest has no secure boot.
        let firmware = Firmware::new(&config.boots_from, config.guest == Guest::Scripted);
        Self {
            supply: if on { Supply::On } else { Supply::Off },
            os: if on { Os::Running } else { Os::Down },
            wire: on,
            latched: false,
            bmc_power: false,
            bmc_reset: false,
            bmc_nmi: false,
            control: None,
            finger_power: false,
            finger_reset: false,
            press: None,
            reset_until: None,
            glitch_until: None,
            bounce: None,
            mailbox: Mailbox::default(),
            order: None,
            tries: if on { firmware.own_order() } else { Vec::new() },
            firmware,
            post: config.post_time,
            config,
            bounce_toggles: 0,
            bounce_every: Millis::ZERO,
            missing: false,
            hang: false,
            ignore: 0,
            starts: 0,
            acpi_events: 0,
            hard_offs: 0,
            resets: 0,
            nmis: 0,
        }
    }

    /// The level on the power-good wire now.
    pub fn power_good(&self) -> bool {
        self.wire
    }

    /// The truth about the supply, which the wire may not show.
    pub fn supply(&self) -> Supply {
        self.supply
    }

    /// What the operating system is doing.
    pub fn os(&self) -> Os {
        self.os
    }

    /// Whether the person presses `button` now: the level of the button-in wire.
    pub fn button_in(&self, button: Button) -> bool {
        match button {
            Button::Power => self.finger_power,
            Button::Reset => self.finger_reset,
        }
    }

    /// Whether the supply is on and steady and no edge is pending: the wire shows the truth.
    pub fn is_quiet(&self) -> bool {
        matches!(self.supply, Supply::On | Supply::Off)
            && self.press.is_none()
            && self.glitch_until.is_none()
            && self.bounce.is_none()
            && self.reset_until.is_none()
            && !matches!(self.os, Os::ShuttingDown { .. })
            && !self.latched
    }

    /// The mailbox of the firmware.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// The BMC puts an order into the mailbox, or takes away what is there.
    pub fn put_order(&mut self, order: Option<Order>) {
        self.mailbox.put(order);
    }

    /// The mailbox is as it was when this host was last modelled: it lasts, as the memory of real firmware does.
    pub fn restore_mailbox(&mut self, mailbox: Mailbox) {
        self.mailbox = mailbox;
    }

    /// What the controller sees of the settings of the firmware at `now`, if it knows the report of revision `known`.
    pub fn seen(&self, now: Mono, known: u64) -> Seen {
        Seen { progress: self.progress(now), ..self.firmware.memory().seen(known) }
    }

    /// What the memory of the firmware has; how far a boot has come is no part of it.
    pub fn firmware(&self) -> &FirmwareBox {
        self.firmware.memory()
    }

    /// The BMC wishes settings of the firmware, or none.
    pub fn put_wishes(&mut self, wishes: Option<Wishes>) {
        self.firmware.put(wishes);
    }

    /// What of the firmware outlasts this model. Its `progress` has the number of the boot that began last, and says nothing of how far it has come.
    pub fn kept_firmware(&self) -> FirmwareBox {
        self.firmware.kept()
    }

    /// The firmware is as [`Host::kept_firmware`] had it when this host was last modelled. Settings and boot options that it has no longer are gone, new
    /// ones are as the factory sets them.
    pub fn restore_firmware(&mut self, kept: FirmwareBox) {
        self.firmware.restore(kept);
    }

    /// The memory of the firmware is lost: it is as it leaves the factory. `revision` is to be above all that its reports had.
    pub fn lose_firmware(&mut self, revision: u64) {
        self.firmware.lose_memory(revision);
    }

    /// What the boot that runs tries, in this order; the first that is there is what it boots from. Empty while nothing runs, or when no boot option is
    /// enabled.
    pub fn tries(&self) -> &[Target] {
        &self.tries
    }

    /// What the firmware tries when it is told nothing, where that is not as the factory has it.
    pub fn changed_order(&self) -> Option<Vec<Target>> {
        (!self.firmware.has_factory_order()).then(|| self.firmware.own_order())
    }

    /// The order the boot that runs was begun by, with the boot option that it names resolved to what that boots from.
    pub fn resolved_order(&self) -> Option<Order> {
        self.order.as_ref().map(|order| self.firmware.resolve(order))
    }

    /// Whether something waits for the next boot: an order, or wishes.
    pub fn is_boot_awaited(&self) -> bool {
        self.mailbox.pending().is_some() || self.firmware.memory().pending().is_some()
    }

    /// How far the boot that runs has come. What plays a guest cannot tell.
    fn progress(&self, now: Mono) -> Option<Progress> {
        if self.config.guest == Guest::External {
            return None;
        }
        let stage = match self.os {
            Os::Down => return None,
            Os::Post { until } => {
                let left = now.until(until).get().min(self.post.get());
                let part = self.post.get().div_ceil(POST_STAGES.len() as u64).max(1);
                let passed = usize::try_from((self.post.get() - left) / part).unwrap_or(usize::MAX);
                POST_STAGES.get(passed).copied().unwrap_or(Stage::HardwareComplete)
            }
            Os::Setup => Stage::SetupEntered,
            Os::Booting { .. } => Stage::OsStarted,
            Os::Running | Os::ShuttingDown { .. } => Stage::OsRunning,
        };
        Some(Progress { boot: self.firmware.boots(), stage })
    }

    /// The order the boot that runs was begun by; `None` when the firmware chose itself, or nothing runs.
    pub fn boot_order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// How often the supply was started.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// How many button events the operating system received.
    pub fn acpi_events(&self) -> u32 {
        self.acpi_events
    }

    /// How often a long press cut the power.
    pub fn hard_offs(&self) -> u32 {
        self.hard_offs
    }

    /// How often the host was reset.
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// How many non-maskable interrupts arrived.
    pub fn nmis(&self) -> u32 {
        self.nmis
    }

    /// When the model next does something by itself.
    pub fn deadline(&self) -> Option<Mono> {
        let supply = match self.supply {
            Supply::Starting { until } | Supply::Stopping { until } => Some(until),
            Supply::On | Supply::Off => None,
        };
        let os = match self.os {
            Os::Post { until } | Os::Booting { until } => Some(until),
            Os::ShuttingDown { until } if !self.hang => Some(until),
            Os::ShuttingDown { .. } | Os::Down | Os::Running | Os::Setup => None,
        };
        let press = self
            .press
            .filter(|p| !p.ignored && !p.overridden)
            .map(|p| p.since + if p.seen { self.config.hard_off_hold } else { self.config.button_debounce });
        let bounce = self.bounce.map(|b| b.next);
        [supply, os, press, bounce, self.reset_until, self.glitch_until].into_iter().flatten().min()
    }

    /// Lets `input` happen at `now`. Everything that became due before is done first.
    pub fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Output>) {
        self.run_due(now, out);
        match input {
            Input::PowerButton(active) => {
                self.bmc_power = active;
                self.power_button(now, out);
            }
            Input::Finger(Button::Power, down) => {
                if self.finger_power != down {
                    self.finger_power = down;
                    out.push(Output::ButtonIn(Button::Power, down));
                }
                self.power_button(now, out);
            }
            Input::ResetButton(active) => {
                let before = self.bmc_reset || self.finger_reset;
                self.bmc_reset = active;
                self.reset_button(now, before, out);
            }
            Input::Finger(Button::Reset, down) => {
                let before = self.bmc_reset || self.finger_reset;
                if self.finger_reset != down {
                    self.finger_reset = down;
                    out.push(Output::ButtonIn(Button::Reset, down));
                }
                self.reset_button(now, before, out);
            }
            Input::Nmi(active) => {
                if active && !self.bmc_nmi && self.supply == Supply::On {
                    self.nmis += 1;
                    self.guest(GuestAction::Nmi, out);
                    self.serial(serial::NMI, out);
                }
                self.bmc_nmi = active;
            }
            Input::PowerControl(active) => {
                let before = self.control.replace(active);
                if active && before != Some(true) {
                    self.start(now, out);
                } else if !active {
                    self.cut(now, out);
                }
            }
            Input::Fault(fault) => self.fault(now, fault, out),
            Input::GuestHalted => {
                if self.config.guest == Guest::External {
                    self.os = Os::Down;
                    self.cut(now, out);
                }
            }
            Input::OsReboot => {
                if self.supply == Supply::On && self.os == Os::Running {
                    self.reset(now, out);
                }
            }
            Input::Tick => {}
        }
        self.run_due(now, out);
        self.update_wire(now, out);
    }

    /// Does, in order, everything whose time has come.
    fn run_due(&mut self, now: Mono, out: &mut Vec<Output>) {
        // Each turn consumes one due moment; a moment never schedules another at or before itself except bounces,
        // which count down.
        while let Some(due) = self.deadline().filter(|d| *d <= now) {
            self.one_due(due, out);
            self.update_wire(due, out);
        }
    }

    fn one_due(&mut self, at: Mono, out: &mut Vec<Output>) {
        if let Some(mut bounce) = self.bounce.filter(|b| b.next <= at) {
            self.flip(out);
            bounce.left -= 1;
            bounce.next += bounce.every.max(Millis::new(1));
            self.bounce = (bounce.left > 0).then_some(bounce);
            return;
        }
        if self.reset_until.is_some_and(|t| t <= at) {
            self.reset_until = None;
            return;
        }
        if self.glitch_until.is_some_and(|t| t <= at) {
            self.glitch_until = None;
            return;
        }
        match self.supply {
            Supply::Starting { until } if until <= at => {
                if self.missing {
                    self.supply = Supply::Off;
                } else {
                    self.supply = Supply::On;
                    self.boot(at, out);
                    self.guest(GuestAction::Start, out);
                }
                return;
            }
            Supply::Stopping { until } if until <= at => {
                self.supply = Supply::Off;
                return;
            }
            Supply::Starting { .. } | Supply::Stopping { .. } | Supply::On | Supply::Off => {}
        }
        if let Some(press) = self.press {
            let seen_at = press.since + self.config.button_debounce;
            let over_at = press.since + self.config.hard_off_hold;
            if !press.ignored && !press.seen && seen_at <= at {
                self.press = Some(Press { seen: true, ..press });
                self.pressed(at, out);
                return;
            }
            if !press.ignored && press.seen && !press.overridden && over_at <= at {
                self.press = Some(Press { overridden: true, ..press });
                if matches!(self.supply, Supply::On | Supply::Starting { .. }) {
                    self.hard_offs += 1;
                    self.cut(at, out);
                }
                return;
            }
        }
        match self.os {
            Os::Post { until } if until <= at => {
                let target = self.tries.first().copied();
                self.says(serial::boot(target), out);
                if target.is_none_or(|target| target == Target::BiosSetup) {
                    self.os = Os::Setup;
                } else {
                    self.serial(serial::KERNEL, out);
                    self.os = Os::Booting { until: until + self.config.boot_time };
                }
            }
            Os::Booting { until } if until <= at => {
                self.os = Os::Running;
                self.serial(serial::LOGIN, out);
                if std::mem::take(&mut self.latched) {
                    self.acpi(at, out);
                }
            }
            Os::ShuttingDown { until } if until <= at => {
                self.os = Os::Down;
                self.serial(serial::POWER_DOWN, out);
                self.cut(at, out);
            }
            Os::Post { .. }
            | Os::Booting { .. }
            | Os::ShuttingDown { .. }
            | Os::Down
            | Os::Running
            | Os::Setup => {}
        }
    }

    /// The line level changed: a press begins or ends.
    fn power_button(&mut self, now: Mono, out: &mut Vec<Output>) {
        let down = self.bmc_power || self.finger_power;
        match (down, self.press) {
            (true, None) => {
                let ignored = self.ignore > 0;
                self.ignore = self.ignore.saturating_sub(1);
                self.press = Some(Press { since: now, seen: false, overridden: false, ignored });
            }
            (false, Some(_)) => self.press = None,
            (true, Some(_)) | (false, None) => {}
        }
        self.update_wire(now, out);
    }

    /// A press lasted long enough to be seen.
    fn pressed(&mut self, at: Mono, out: &mut Vec<Output>) {
        match self.supply {
            Supply::Off => {
                if self.control.is_none() {
                    self.start(at, out);
                }
            }
            Supply::On => match self.os {
                Os::Running => self.acpi(at, out),
                Os::Post { .. } | Os::Booting { .. } => match self.config.boot_press {
                    BootPress::Ignore => {}
                    BootPress::Latch => self.latched = true,
                    BootPress::PowerOff => self.cut(at, out),
                },
                // No operating system listens: the firmware switches off.
                Os::Setup => self.cut(at, out),
                Os::Down | Os::ShuttingDown { .. } => {}
            },
            Supply::Starting { .. } | Supply::Stopping { .. } => {}
        }
    }

    fn acpi(&mut self, at: Mono, out: &mut Vec<Output>) {
        self.acpi_events += 1;
        self.guest(GuestAction::PowerButton, out);
        if self.config.guest == Guest::Scripted && !self.hang {
            self.serial(serial::POWER_KEY, out);
            self.os = Os::ShuttingDown { until: at + self.config.shutdown_time };
        }
    }

    fn reset_button(&mut self, now: Mono, before: bool, out: &mut Vec<Output>) {
        let after = self.bmc_reset || self.finger_reset;
        if after && !before && self.supply == Supply::On {
            self.reset(now, out);
        }
    }

    fn reset(&mut self, now: Mono, out: &mut Vec<Output>) {
        self.resets += 1;
        self.hang = false;
        self.boot(now, out);
        self.guest(GuestAction::Reset, out);
        if !self.config.reset_drops_power_good.is_zero() {
            self.reset_until = Some(now + self.config.reset_drops_power_good);
        }
    }

    fn boot(&mut self, now: Mono, out: &mut Vec<Output>) {
        self.latched = false;
        self.order = self.mailbox.boot();
        self.firmware.boot();
        self.tries = self.firmware.tries(self.order.as_ref());
        out.push(Output::Mailbox);
        match self.config.guest {
            Guest::Scripted => {
                self.post = self.config.post_time + self.firmware.timeout();
                self.os = Os::Post { until: now + self.post };
                let text = if self.firmware.is_quiet() { serial::QUIET_POST } else { serial::POST };
                self.says(text, out);
            }
            Guest::External => self.os = Os::Running,
        }
    }

    fn start(&mut self, now: Mono, out: &mut Vec<Output>) {
        if matches!(self.supply, Supply::Off | Supply::Stopping { .. }) {
            self.starts += 1;
            self.hang = false;
            self.supply = Supply::Starting { until: now + self.config.power_good_delay };
        }
        self.update_wire(now, out);
    }

    fn cut(&mut self, now: Mono, out: &mut Vec<Output>) {
        match self.supply {
            Supply::On => {
                self.supply = Supply::Stopping { until: now + self.config.power_off_delay };
                self.guest(GuestAction::Kill, out);
            }
            Supply::Starting { .. } => self.supply = Supply::Off,
            Supply::Off | Supply::Stopping { .. } => {}
        }
        self.os = Os::Down;
        self.order = None;
        self.tries.clear();
        self.latched = false;
        self.reset_until = None;
        self.glitch_until = None;
        self.update_wire(now, out);
    }

    fn fault(&mut self, now: Mono, fault: Fault, out: &mut Vec<Output>) {
        match fault {
            Fault::PowerGoodDelay(delay) => self.config.power_good_delay = delay,
            Fault::PowerGoodBounce { toggles, every } => {
                self.bounce_toggles = toggles.saturating_add(toggles % 2);
                self.bounce_every = every;
            }
            Fault::PowerGoodMissing(missing) => self.missing = missing,
            Fault::Glitch(span) => {
                if self.supply == Supply::On && !span.is_zero() {
                    self.glitch_until = Some(now + span);
                }
            }
            Fault::PowerLoss => self.cut(now, out),
            Fault::Wake => {
                if self.control != Some(false) {
                    self.start(now, out);
                }
            }
            Fault::OsHang(hang) => self.hang = hang,
            Fault::IgnorePresses(presses) => self.ignore = presses,
        }
    }

    /// Brings the power-good wire in line with the supply, with the bounces in force.
    fn update_wire(&mut self, now: Mono, out: &mut Vec<Output>) {
        if self.bounce.is_some() {
            return;
        }
        let up = matches!(self.supply, Supply::On | Supply::Stopping { .. });
        let level = up && self.reset_until.is_none() && self.glitch_until.is_none();
        if level != self.wire {
            self.flip(out);
            if self.bounce_toggles > 0 {
                let every = self.bounce_every.max(Millis::new(1));
                self.bounce = Some(Bounce { left: self.bounce_toggles, every, next: now + every });
            }
        }
    }

    fn flip(&mut self, out: &mut Vec<Output>) {
        self.wire = !self.wire;
        out.push(Output::PowerGood(self.wire));
    }

    fn guest(&self, action: GuestAction, out: &mut Vec<Output>) {
        if self.config.guest == Guest::External {
            out.push(Output::Guest(action));
        }
    }

    /// The firmware says something.
    fn says(&self, text: &'static str, out: &mut Vec<Output>) {
        if self.firmware.is_heard() {
            self.serial(text, out);
        }
    }

    fn serial(&self, text: &'static str, out: &mut Vec<Output>) {
        if self.config.guest == Guest::Scripted {
            out.push(Output::Serial(text));
        }
    }
}

#[cfg(test)]
mod tests;
