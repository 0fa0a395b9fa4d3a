//! The server around the SoC: levels of its pins, models of its hosts, the trace of edges. Pure: time comes in, effects go out.
//!
//! ```text
//!  what the pins are (data, direction) ──►┌───────┐──► level to put on a pin that the firmware does not drive
//!  fingers, faults ──────────────────────►│ World │──► text of a host's serial port
//!  time ─────────────────────────────────►└───────┘──► trace
//! ```
//!
//! A pin that the firmware does not drive has the level of what is around it: a button's pull resistor says "not pressed", and a
//! line that holds power keeps its last level, as the pins of a real SoC do over a reset of it. QEMU forgets all levels at a reset, so
//! they are put back; a firmware that takes its outputs as they are (I-2) finds them.

use std::collections::VecDeque;
use std::time::Duration;

use board::{Board, Power};
use twin::{Config, Host, Input, Output, Role};
use units::Mono;

use crate::pins::Wire;

/// Edges kept; a power cycle makes about ten.
const TRACE_MAX: usize = 16 * 1024;

/// An edge on a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Counts up from 1.
    pub seq: u64,
    /// When it was seen, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// The host's id.
    pub host: String,
    /// The wire.
    pub role: Role,
    /// The level after it.
    pub active: bool,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put a physical level on the pin of this wire, by its number.
    Put {
        /// Number of the wire.
        wire: usize,
        /// The level.
        high: bool,
    },
    /// Text from a host's serial port.
    Serial {
        /// Number of the host.
        host: usize,
        /// What it printed.
        text: &'static str,
    },
}

/// What a look at the registers told of one pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The firmware drives it.
    pub driven: bool,
    /// The physical level.
    pub high: bool,
}

#[derive(Debug)]
struct Line {
    wire: Wire,
    /// The logical level as the host sees it, or drives it.
    active: bool,
}

/// The world of one board.
#[derive(Debug)]
pub struct World {
    ids: Vec<String>,
    hosts: Vec<Host>,
    lines: Vec<Line>,
    trace: VecDeque<Edge>,
    last_seq: u64,
}

impl World {
    /// The world of `board`; with `running` its hosts are on and their operating systems up.
    #[must_use]
    pub fn new(board: &Board, wires: Vec<Wire>, running: bool, now: Duration) -> Self {
        let mut hosts = Vec::new();
        for wired in &board.hosts {
            let mut host = Host::new(Config { initially_on: running, ..Config::default() });
            if matches!(wired.power, Power::Level(_)) {
                // The model learns from the first level on the wire that its power is held and not pressed.
                host.step(mono(now), Input::PowerControl(running), &mut Vec::new());
            }
            hosts.push(host);
        }
        let lines = wires.into_iter().map(|wire| {
            let active = running && matches!(wire.role, Role::Control | Role::PowerGood);
            Line { wire, active }
        });
        Self {
            ids: board.hosts.iter().map(|host| host.id.as_str().to_owned()).collect(),
            hosts,
            lines: lines.collect(),
            trace: VecDeque::new(),
            last_seq: 0,
        }
    }

    /// The wires, in the order of their numbers.
    pub fn wires(&self) -> impl Iterator<Item = &Wire> {
        self.lines.iter().map(|line| &line.wire)
    }

    /// The model of a host.
    #[must_use]
    pub fn host(&self, id: &str) -> Option<&Host> {
        self.hosts.get(self.index(id)?)
    }

    /// The number of the host with this id.
    #[must_use]
    pub fn index(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|known| known == id)
    }

    /// What the registers say about a wire's pin now.
    pub fn look(&mut self, wire: usize, look: Look, now: Duration, out: &mut Vec<Effect>) {
        let Some(line) = self.lines.get(wire) else { return };
        let role = line.wire.role;
        if role.is_driven() && look.driven {
            self.drive(wire, look.high != line.wire.active_low, now, out);
            return;
        }
        // A button that nobody drives is not pressed; a line that holds power stays as it is.
        if role.is_driven() && role != Role::Control {
            self.drive(wire, false, now, out);
        }
        self.restore(wire, look, out);
    }

    /// Puts the level that should be there, unless it is.
    fn restore(&self, wire: usize, look: Look, out: &mut Vec<Effect>) {
        let Some(line) = self.lines.get(wire) else { return };
        let high = line.active != line.wire.active_low;
        if high != look.high {
            out.push(Effect::Put { wire, high });
        }
    }

    /// The BMC's side of a wire is at this level now.
    fn drive(&mut self, wire: usize, active: bool, now: Duration, out: &mut Vec<Effect>) {
        let Some(line) = self.lines.get(wire) else { return };
        let (host, input) = (line.wire.host, line.wire.role.driven(active));
        if self.change(wire, active, now)
            && let Some(input) = input
        {
            self.input(host, input, now, out);
        }
    }

    /// Something happens to a host.
    pub fn input(&mut self, host: usize, input: Input, now: Duration, out: &mut Vec<Effect>) {
        let Some(model) = self.hosts.get_mut(host) else { return };
        let mut outputs = Vec::new();
        model.step(mono(now), input, &mut outputs);
        for output in outputs {
            if let Output::Serial(text) = output {
                out.push(Effect::Serial { host, text });
            }
            let Some((role, active)) = output.pin() else { continue };
            let wire = self.lines.iter().position(|line| line.wire.host == host && line.wire.role == role);
            if let Some(wire) = wire
                && self.change(wire, active, now)
                && let Some(line) = self.lines.get(wire)
            {
                out.push(Effect::Put { wire, high: active != line.wire.active_low });
            }
        }
    }

    /// When something next happens by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let next = self.hosts.iter().filter_map(Host::deadline).min();
        next.map(|at| Duration::from_millis(at.as_millis()))
    }

    /// Time passed.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Effect>) {
        for host in 0..self.hosts.len() {
            let due = self.hosts.get(host).and_then(Host::deadline).is_some_and(|at| at <= mono(now));
            if due {
                self.input(host, Input::Tick, now, out);
            }
        }
    }

    /// Takes a new level over and traces the edge; whether it is new.
    fn change(&mut self, wire: usize, active: bool, at: Duration) -> bool {
        let Some(line) = self.lines.get_mut(wire).filter(|line| line.active != active) else { return false };
        line.active = active;
        self.last_seq += 1;
        if self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        let host = self.ids.get(line.wire.host).cloned().unwrap_or_default();
        self.trace.push_back(Edge { seq: self.last_seq, at, host, role: line.wire.role, active });
        true
    }

    /// Number of the last edge.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Kept edges after number `after`, oldest first.
    #[must_use]
    pub fn trace(&self, after: u64) -> Vec<Edge> {
        self.trace.iter().filter(|edge| edge.seq > after).cloned().collect()
    }

    /// The level of a host's wire.
    #[must_use]
    pub fn active(&self, host: usize, role: Role) -> Option<bool> {
        let line = self.lines.iter().find(|line| line.wire.host == host && line.wire.role == role)?;
        Some(line.active)
    }
}

fn mono(now: Duration) -> Mono {
    Mono::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::wires;
    use std::path::Path;

    const BUTTONS: &str = r#"
[board]
name = "b"
vendor = "v"
model = "m"
hal = "linux"
[[hosts]]
id = "system"
[hosts.power]
kind = "buttons"
power = { chip = "1e780000.gpio", offset = 1, active_low = true }
power_good = { chip = "1e780000.gpio", offset = 2 }
"#;
    const LEVEL: &str = r#"
[board]
name = "l"
vendor = "v"
model = "m"
hal = "linux"
[[hosts]]
id = "system"
[hosts.power]
kind = "level"
control = { chip = "1e780000.gpio", offset = 1 }
power_good = { chip = "1e780000.gpio", offset = 2 }
"#;

    fn world(text: &str, running: bool) -> World {
        let board = board::parse(Path::new("board.toml"), text, &[]).into_board().unwrap();
        let wires = wires(&board, &Default::default()).unwrap();
        World::new(&board, wires, running, Duration::ZERO)
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_undriven_button_is_put_at_its_pulls_level_and_a_press_is_seen_by_the_host() {
        let mut world = world(BUTTONS, false);
        let mut out = Vec::new();
        world.look(0, Look { driven: false, high: false }, at(1), &mut out);
        assert_eq!(out, [Effect::Put { wire: 0, high: true }]);
        out.clear();
        world.look(0, Look { driven: true, high: true }, at(2), &mut out);
        assert!(out.is_empty() && world.last_seq() == 0, "taken over as it is: no edge");
        world.look(0, Look { driven: true, high: false }, at(10), &mut out);
        world.look(0, Look { driven: true, high: true }, at(210), &mut out);
        world.tick(at(2_000), &mut out);
        assert!(out.contains(&Effect::Put { wire: 1, high: true }), "power-good");
        let edges: Vec<_> = world.trace(0).into_iter().map(|edge| (edge.role, edge.active)).collect();
        let power = Role::PowerButton;
        assert_eq!(edges, [(power, true), (power, false), (Role::PowerGood, true)]);
        // The firmware dies in the middle of a press: the pull lets the button go.
        world.look(0, Look { driven: true, high: false }, at(3_000), &mut out);
        world.look(0, Look { driven: false, high: false }, at(3_100), &mut out);
        assert_eq!(world.active(0, Role::PowerButton), Some(false));
    }

    #[test]
    fn a_line_that_holds_power_keeps_its_level_over_a_reset_of_the_soc() {
        let mut world = world(LEVEL, false);
        let mut out = Vec::new();
        world.look(0, Look { driven: true, high: true }, at(0), &mut out);
        world.tick(at(1_000), &mut out);
        assert_eq!(world.active(0, Role::PowerGood), Some(true));
        out.clear();
        let forgotten = Look { driven: false, high: false };
        world.look(0, forgotten, at(2_000), &mut out);
        world.look(1, forgotten, at(2_000), &mut out);
        assert_eq!(out, [Effect::Put { wire: 0, high: true }, Effect::Put { wire: 1, high: true }]);
        assert_eq!(world.last_seq(), 2, "control and power-good, once each");
    }

    #[test]
    fn a_host_that_runs_from_the_start_shows_it_on_the_pins() {
        for text in [BUTTONS, LEVEL] {
            let mut world = world(text, true);
            let mut out = Vec::new();
            world.look(1, Look { driven: false, high: false }, at(1), &mut out);
            assert_eq!(out, [Effect::Put { wire: 1, high: true }]);
            world.tick(at(60_000), &mut out);
            assert_eq!(world.last_seq(), 0, "and stays on");
        }
    }
}
