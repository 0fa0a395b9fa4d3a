//! Everything around the BMC: pins and models, joined. Pure: time comes in, effects go out.

use std::time::Duration;

use board::{Board, Input as Measured, LedWire, Power, Sim, SimHost};
use boot_override::{Mailbox, Order, Target};
use hal_sim::wire::{
    ControlRequest, FirmwareRequest, FromTwin, LineRequest, MailboxRequest, Outcome, TraceEntry,
};
use host_firmware::{FirmwareBox, Wishes};
use twin::{Config, Guest, GuestAction, Host, Input, Output, Role};
use units::{Millis, Mono};

use crate::boots::Boots;
use crate::firmware::Kept;
use crate::pins::{ConnectionId, PinEffect, Pins};
use crate::wire;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell a client.
    Send(ConnectionId, FromTwin),
    /// Tell those who follow the trace.
    Traced(TraceEntry),
    /// Text from the scripted host's serial port.
    Serial { host: usize, text: &'static str },
    /// To do with a guest.
    Guest { host: usize, action: GuestAction },
    /// What is in a mailbox has changed: it is to be kept, before anything is done or answered that comes of it.
    Keep { host: usize },
    /// So have the settings of a host's firmware.
    KeepFirmware { host: usize },
}

#[derive(Debug)]
struct Player {
    id: String,
    model: Host,
}

/// The world of one board.
#[derive(Debug)]
pub(crate) struct World {
    players: Vec<Player>,
    pins: Pins,
    external: bool,
}

impl World {
    /// The world of `board`, all hosts off.
    pub(crate) fn new(board: &Board, sim: &Sim, now: Duration) -> Self {
        let external = sim.host == SimHost::Qemu;
        let mut pins = Pins::default();
        let mut players = Vec::new();
        for (index, host) in board.hosts.iter().enumerate() {
            let id = host.id.as_str();
            let mut model = Host::new(model_config(sim, hw::boot_targets(board, host)));
            if matches!(host.power, Power::Level(_)) {
                // The model learns from the first level on the wire that its power is held and not pressed.
                model.step(mono(now), Input::PowerControl(false), &mut Vec::new());
            }
            for (key, _, line) in host.power.lines() {
                if let Some(role) = Role::of_key(key) {
                    pins.add(index, id, role, line);
                }
            }
            players.push(Player { id: id.to_owned(), model });
        }
        for led in &board.leds {
            if let LedWire::Line(line) = &led.wire {
                pins.add_light(board.chassis.id.as_str(), led.id.as_str(), line);
            }
        }
        for mux in &board.serial_muxes {
            for (bit, line) in mux.select.iter().enumerate() {
                pins.add_mux(board.chassis.id.as_str(), mux.id.as_str(), bit, line);
            }
        }
        for sensor in &board.sensors {
            if let Measured::Line { line, .. } = &sensor.input {
                pins.add_sensor(board.chassis.id.as_str(), sensor.id.as_str(), line);
            }
        }
        Self { players, pins, external }
    }

    /// The line of a sensor is at this level.
    pub(crate) fn show(&mut self, sensor: &str, active: bool, now: Duration, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.pins.show_sensor(sensor, active, now, &mut effects);
        self.settle(effects, now, out);
    }

    /// A request on the lines' socket.
    pub(crate) fn line(
        &mut self,
        connection: ConnectionId,
        request: LineRequest,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let mut effects = Vec::new();
        let outcome = self.pins.request(connection, request, now, &mut effects);
        self.settle(effects, now, out);
        outcome
    }

    /// A request on the control socket. `Follow` is the shell's business.
    pub(crate) fn control(
        &mut self,
        request: ControlRequest,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let (host, input) = match request {
            ControlRequest::Finger { host, button, down } => {
                (host, Input::Finger(wire::button(button), down))
            }
            ControlRequest::Fault { host, fault } => (host, Input::Fault(wire::fault(fault))),
            ControlRequest::OsReboot { host } => (host, Input::OsReboot),
            ControlRequest::Status { host } => {
                return match self.players.iter().find(|player| player.id == host) {
                    Some(player) => Outcome::Status(wire::status(&player.model, self.external)),
                    None => Outcome::NoHost,
                };
            }
            ControlRequest::Firmware { host } => {
                return match self.players.iter().find(|player| player.id == host) {
                    Some(player) => Outcome::Firmware(Box::new(player.model.seen(mono(now), 0))),
                    None => Outcome::NoHost,
                };
            }
            ControlRequest::Trace { after } => return Outcome::Trace(self.pins.trace(after)),
            ControlRequest::Follow => return Outcome::Done,
            // The sensors' tree and the drives are the shell's.
            ControlRequest::Load { .. }
            | ControlRequest::Break { .. }
            | ControlRequest::BreakAll { .. }
            | ControlRequest::Mend { .. }
            | ControlRequest::Broken
            | ControlRequest::ReadDrive { .. }
            | ControlRequest::EjectDrive { .. } => {
                return Outcome::Invalid { reason: "not of the pins".to_owned() };
            }
        };
        let Some(index) = self.index(&host) else { return Outcome::NoHost };
        self.input(index, input, now, out);
        Outcome::Done
    }

    /// A request on the mailbox of a host's firmware.
    pub(crate) fn mailbox(&mut self, host: &str, request: MailboxRequest, out: &mut Vec<Effect>) -> Outcome {
        let Some(index) = self.index(host) else { return Outcome::NoHost };
        let Some(player) = self.players.get_mut(index) else { return Outcome::NoHost };
        if let MailboxRequest::Put { order } = request {
            player.model.put_order(order);
            out.push(Effect::Keep { host: index });
        }
        Outcome::Mailbox(Box::new(player.model.mailbox().clone()))
    }

    /// A request on the settings of a host's firmware.
    pub(crate) fn firmware(
        &mut self,
        host: &str,
        request: FirmwareRequest,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let Some(index) = self.index(host) else { return Outcome::NoHost };
        let Some(player) = self.players.get_mut(index) else { return Outcome::NoHost };
        let known = match request {
            FirmwareRequest::Look { known } => known,
            FirmwareRequest::Put { wishes, known } => {
                if let Some(reason) = wishes.as_deref().and_then(FirmwareRequest::excess) {
                    return Outcome::Invalid { reason };
                }
                player.model.put_wishes(wishes.map(|wishes| *wishes));
                out.push(Effect::KeepFirmware { host: index });
                known
            }
        };
        Outcome::Firmware(Box::new(player.model.seen(mono(now), known)))
    }

    /// What is in the mailbox of a host's firmware.
    pub(crate) fn mailbox_of(&self, host: usize) -> Option<(&str, &Mailbox)> {
        self.players.get(host).map(|player| (player.id.as_str(), player.model.mailbox()))
    }

    /// An order that could not be kept is none: this is in the mailbox of a host's firmware again.
    pub(crate) fn put_order_back(&mut self, host: usize, order: Option<Order>) {
        if let Some(player) = self.players.get_mut(host) {
            player.model.put_order(order);
        }
    }

    /// What is wished of a host's firmware.
    pub(crate) fn wishes_of(&self, host: usize) -> Option<&Wishes> {
        self.players.get(host)?.model.firmware().wishes.as_ref()
    }

    /// Wishes that could not be kept are none: these are there again.
    pub(crate) fn put_wishes_back(&mut self, host: usize, wishes: Option<Wishes>) {
        if let Some(player) = self.players.get_mut(host) {
            player.model.put_wishes(wishes);
        }
    }

    /// What of a host's firmware outlasts the twin.
    pub(crate) fn firmware_of(&self, host: usize) -> Option<(&str, FirmwareBox)> {
        self.players.get(host).map(|player| (player.id.as_str(), player.model.kept_firmware()))
    }

    /// The hosts' firmware is as an earlier twin kept it. What is damaged is as it leaves the factory; its reports are counted on from `lost`, which is above
    /// all that they were.
    pub(crate) fn restore_firmware(&mut self, kept: impl Fn(&str) -> Kept, lost: u64) {
        for player in &mut self.players {
            match kept(&player.id) {
                Kept::Nothing => {}
                Kept::Damaged => player.model.lose_firmware(lost),
                Kept::Whole(firmware) => player.model.restore_firmware(*firmware),
            }
        }
    }

    /// The mailboxes of the hosts' firmware are as an earlier twin kept them.
    pub(crate) fn restore(&mut self, kept: impl Fn(&str) -> Option<Mailbox>) {
        for player in &mut self.players {
            if let Some(mailbox) = kept(&player.id) {
                player.model.restore_mailbox(mailbox);
            }
        }
    }

    /// What a host's boot was begun by.
    pub(crate) fn boots(&self, host: usize) -> Boots {
        let of = |player: &Player| Boots {
            told: player.model.resolved_order(),
            order: player.model.changed_order(),
        };
        self.players.get(host).map(of).unwrap_or_default()
    }

    /// Whether something waits for a host's next boot.
    pub(crate) fn is_boot_awaited(&self, host: usize) -> bool {
        self.players.get(host).is_some_and(|player| player.model.is_boot_awaited())
    }

    /// Whether a host has power.
    pub(crate) fn is_on(&self, host: usize) -> bool {
        self.players.get(host).is_some_and(|player| player.model.power_good())
    }

    /// Which boot of a host's operating system it is that runs now; `None` while none does.
    pub(crate) fn boot(&self, host: usize) -> Option<u32> {
        let model = &self.players.get(host)?.model;
        let runs = model.supply() == twin::Supply::On && model.os() == twin::Os::Running;
        runs.then(|| model.starts() + model.resets())
    }

    /// The number of the host with this id.
    pub(crate) fn index(&self, host: &str) -> Option<usize> {
        self.players.iter().position(|player| player.id == host)
    }

    /// A host's guest has stopped by itself.
    pub(crate) fn guest_halted(&mut self, host: usize, now: Duration, out: &mut Vec<Effect>) {
        self.input(host, Input::GuestHalted, now, out);
    }

    /// A host's guest has ended as it restarts itself.
    pub(crate) fn guest_rebooted(&mut self, host: usize, now: Duration, out: &mut Vec<Effect>) {
        self.input(host, Input::OsReboot, now, out);
    }

    /// A client is gone.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.pins.disconnect(connection);
    }

    /// When something next happens by itself.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let models = self.players.iter().filter_map(|player| player.model.deadline());
        let models = models.map(|at| Duration::from_millis(at.as_millis())).min();
        [models, self.pins.deadline()].into_iter().flatten().min()
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now: Duration, out: &mut Vec<Effect>) {
        for index in 0..self.players.len() {
            if self
                .players
                .get(index)
                .and_then(|player| player.model.deadline())
                .is_some_and(|at| at <= mono(now))
            {
                self.input(index, Input::Tick, now, out);
            }
        }
        let mut effects = Vec::new();
        self.pins.tick(now, &mut effects);
        self.settle(effects, now, out);
    }

    fn input(&mut self, index: usize, input: Input, now: Duration, out: &mut Vec<Effect>) {
        let Some(player) = self.players.get_mut(index) else { return };
        let mut outputs = Vec::new();
        player.model.step(mono(now), input, &mut outputs);
        let mut effects = Vec::new();
        for output in outputs {
            if let Some((role, active)) = output.pin() {
                self.pins.show(index, role, active, now, &mut effects);
            }
            match output {
                Output::Serial(text) => out.push(Effect::Serial { host: index, text }),
                Output::Guest(action) => out.push(Effect::Guest { host: index, action }),
                Output::Mailbox => {
                    out.push(Effect::Keep { host: index });
                    out.push(Effect::KeepFirmware { host: index });
                }
                Output::PowerGood(_) | Output::ButtonIn(..) => {}
            }
        }
        self.settle(effects, now, out);
    }

    /// Hands what the BMC drove to the models. Ends because models drive only pins that no model listens to.
    fn settle(&mut self, effects: Vec<PinEffect>, now: Duration, out: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                PinEffect::Send(connection, frame) => out.push(Effect::Send(connection, frame)),
                PinEffect::Traced(entry) => out.push(Effect::Traced(entry)),
                PinEffect::Driven { host, role, active } => {
                    let Some(input) = role.driven(active) else { continue };
                    self.input(host, input, now, out);
                }
            }
        }
    }
}

/// The model's settings for a host of this board. Firmware is taken to need a third of the boot, as on most servers it does.
fn model_config(sim: &Sim, boots_from: Vec<Target>) -> Config {
    let boot = wire::millis(sim.scripted.boot).get();
    Config {
        power_good_delay: wire::millis(sim.scripted.power_on),
        post_time: Millis::new(boot / 3),
        boot_time: Millis::new(boot - boot / 3),
        shutdown_time: wire::millis(sim.scripted.shutdown),
        hard_off_hold: wire::millis(sim.scripted.override_hold),
        guest: match sim.host {
            SimHost::Scripted => Guest::Scripted,
            SimHost::Qemu => Guest::External,
        },
        boots_from,
        ..Config::default()
    }
}

fn mono(now: Duration) -> Mono {
    Mono::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
