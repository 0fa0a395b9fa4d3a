//! The board's pins: physical levels, who holds them, who watches them, and the trace of their edges. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use hal::LineId;
use hal_sim::wire::{FromTwin, LineRequest, Outcome, TraceEntry};
use twin::Role;

/// Edges kept for the trace; a power cycle makes about ten.
const TRACE_MAX: usize = 8192;

/// Edges in one reply to a trace request, so that it fits a frame.
const TRACE_PART: usize = 256;

/// A client connection.
pub(crate) type ConnectionId = u64;

/// What follows from a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PinEffect {
    /// Tell a client.
    Send(ConnectionId, FromTwin),
    /// The BMC drove a host's pin to this logical level.
    Driven { host: usize, role: Role, active: bool },
    /// Tell those who follow the trace.
    Traced(TraceEntry),
}

#[derive(Debug)]
struct Pin {
    id: LineId,
    /// What it is to a host; a light is nothing to any.
    role: Option<(usize, Role)>,
    /// The machine drives it, whatever it is to a host.
    is_sensor: bool,
    /// Whose it is and what it is called, in the trace.
    owner: String,
    key: String,
    active_low: bool,
    /// The physical level.
    high: bool,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    connection: ConnectionId,
    handle: u64,
    owner: String,
    active_low: bool,
    watch: Option<Watch>,
}

/// A debounced input: the level reported last, and since when another one waits to be believed.
#[derive(Debug)]
struct Watch {
    debounce: Duration,
    settled: bool,
    due: Option<Duration>,
}

/// All pins of the board.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pins: Vec<Pin>,
    trace: VecDeque<TraceEntry>,
    last_seq: u64,
}

impl Pins {
    /// Adds a pin at its inactive level, as its pull resistor holds it.
    pub(crate) fn add(&mut self, host: usize, host_id: &str, role: Role, line: &hal::Line) {
        self.push(Some((host, role)), false, host_id, role.key().to_owned(), line);
    }

    /// Adds the pin of a light, dark.
    pub(crate) fn add_light(&mut self, chassis: &str, led: &str, line: &hal::Line) {
        self.push(None, false, chassis, format!("led.{led}"), line);
    }

    /// Adds a pin that chooses whose a shared serial port is. The hosts have ports of their own here, whatever it says.
    pub(crate) fn add_mux(&mut self, chassis: &str, mux: &str, bit: usize, line: &hal::Line) {
        self.push(None, false, chassis, format!("mux.{mux}.{bit}"), line);
    }

    /// Adds the pin of a sensor, inactive.
    pub(crate) fn add_sensor(&mut self, chassis: &str, sensor: &str, line: &hal::Line) {
        self.push(None, true, chassis, format!("sensor.{sensor}"), line);
    }

    fn push(
        &mut self,
        role: Option<(usize, Role)>,
        is_sensor: bool,
        owner: &str,
        key: String,
        line: &hal::Line,
    ) {
        self.pins.push(Pin {
            id: line.id.clone(),
            role,
            is_sensor,
            owner: owner.to_owned(),
            key,
            active_low: line.active_low,
            high: line.active_low,
            holder: None,
        });
    }

    /// The world changes a pin the BMC reads. A board without the pin does not notice.
    pub(crate) fn show(
        &mut self,
        host: usize,
        role: Role,
        active: bool,
        now: Duration,
        out: &mut Vec<PinEffect>,
    ) {
        if let Some(index) = self.pins.iter().position(|pin| pin.role == Some((host, role))) {
            self.change(index, active, now, out);
        }
    }

    /// The machine changes the pin of a sensor.
    pub(crate) fn show_sensor(
        &mut self,
        sensor: &str,
        active: bool,
        now: Duration,
        out: &mut Vec<PinEffect>,
    ) {
        let is = |pin: &Pin| pin.is_sensor && pin.key.strip_prefix("sensor.") == Some(sensor);
        if let Some(index) = self.pins.iter().position(is) {
            self.change(index, active, now, out);
        }
    }

    /// Sets the pin's logical level (by the board's polarity) and tells who must know.
    fn change(&mut self, index: usize, active: bool, now: Duration, out: &mut Vec<PinEffect>) {
        let Some(pin) = self.pins.get_mut(index) else { return };
        let high = active != pin.active_low;
        if pin.high == high {
            return;
        }
        pin.high = high;
        if let Some(holder) = &mut pin.holder
            && let Some(watch) = &mut holder.watch
        {
            if watch.debounce.is_zero() {
                watch.settled = high;
                out.push(PinEffect::Send(
                    holder.connection,
                    edge(holder.handle, high != holder.active_low, now),
                ));
            } else {
                watch.due = (high != watch.settled).then(|| now + watch.debounce);
            }
        }
        self.last_seq += 1;
        let entry = TraceEntry {
            seq: self.last_seq,
            at_ns: nanos(now),
            host: pin.owner.clone(),
            pin: pin.key.clone(),
            active,
        };
        if self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(entry.clone());
        out.push(PinEffect::Traced(entry));
        if let Some((host, role)) = pin.role.filter(|(_, role)| role.is_driven()) {
            out.push(PinEffect::Driven { host, role, active });
        }
    }

    /// A request on the lines' socket.
    pub(crate) fn request(
        &mut self,
        connection: ConnectionId,
        request: LineRequest,
        now: Duration,
        out: &mut Vec<PinEffect>,
    ) -> Outcome {
        match request {
            LineRequest::Output { handle, line, active_low, initial, owner } => {
                let index = match self.free(connection, handle, &line.into()) {
                    Ok(index) => index,
                    Err(outcome) => return outcome,
                };
                let Some(pin) = self.pins.get_mut(index) else { return Outcome::NoLine };
                if pin.is_sensor || pin.role.is_some_and(|(_, role)| !role.is_driven()) {
                    let reason = format!("{} is driven by the machine; two drivers would fight", pin.key);
                    return Outcome::Invalid { reason };
                }
                pin.holder = Some(Holder { connection, handle, owner, active_low, watch: None });
                let high = initial.map_or(pin.high, |active| active != active_low);
                let active = high != pin.active_low;
                self.change(index, active, now, out);
                Outcome::Level(high != active_low)
            }
            LineRequest::Input { handle, line, active_low, debounce_us, owner } => {
                let index = match self.free(connection, handle, &line.into()) {
                    Ok(index) => index,
                    Err(outcome) => return outcome,
                };
                let Some(pin) = self.pins.get_mut(index) else { return Outcome::NoLine };
                let watch =
                    Watch { debounce: Duration::from_micros(debounce_us), settled: pin.high, due: None };
                pin.holder = Some(Holder { connection, handle, owner, active_low, watch: Some(watch) });
                Outcome::Level(pin.high != active_low)
            }
            LineRequest::Set { handle, active } => {
                let Some(index) = self.held(connection, handle) else { return not_held() };
                let Some(pin) = self.pins.get(index) else { return not_held() };
                let Some(holder) = &pin.holder else { return not_held() };
                if holder.watch.is_some() {
                    return Outcome::Invalid { reason: "the line was requested as an input".to_owned() };
                }
                let high = active != holder.active_low;
                let board_active = high != pin.active_low;
                self.change(index, board_active, now, out);
                Outcome::Level(active)
            }
            LineRequest::Get { handle } => {
                let pin = self.held(connection, handle).and_then(|index| self.pins.get(index));
                let Some((pin, holder)) = pin.and_then(|pin| Some((pin, pin.holder.as_ref()?))) else {
                    return not_held();
                };
                // As the kernel does: a debounced line reads as what was reported last.
                let high = match &holder.watch {
                    Some(watch) if !watch.debounce.is_zero() => watch.settled,
                    _ => pin.high,
                };
                Outcome::Level(high != holder.active_low)
            }
            LineRequest::Close { handle } => match self.held(connection, handle) {
                Some(index) => {
                    if let Some(pin) = self.pins.get_mut(index) {
                        pin.holder = None;
                    }
                    Outcome::Done
                }
                None => not_held(),
            },
        }
    }

    /// A client is gone. Its lines are free, their levels stay.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        for pin in &mut self.pins {
            if pin.holder.as_ref().is_some_and(|holder| holder.connection == connection) {
                pin.holder = None;
            }
        }
    }

    /// When a debounced input is next believed.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.watches().filter_map(|watch| watch.due).min()
    }

    /// Believes the inputs whose time has come.
    pub(crate) fn tick(&mut self, now: Duration, out: &mut Vec<PinEffect>) {
        for pin in &mut self.pins {
            let Some(holder) = &mut pin.holder else { continue };
            let Some(watch) = &mut holder.watch else { continue };
            if let Some(due) = watch.due
                && due <= now
            {
                watch.due = None;
                watch.settled = pin.high;
                out.push(PinEffect::Send(
                    holder.connection,
                    edge(holder.handle, pin.high != holder.active_low, due),
                ));
            }
        }
    }

    /// Kept edges after `after`, oldest first.
    pub(crate) fn trace(&self, after: u64) -> Vec<TraceEntry> {
        self.trace.iter().filter(|entry| entry.seq > after).take(TRACE_PART).cloned().collect()
    }

    fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.pins.iter().filter_map(|pin| pin.holder.as_ref()?.watch.as_ref())
    }

    /// The pin `id`, if nobody has it.
    fn free(&self, connection: ConnectionId, handle: u64, id: &LineId) -> Result<usize, Outcome> {
        if self.held(connection, handle).is_some() {
            return Err(Outcome::Invalid { reason: format!("handle {handle} is in use") });
        }
        let index = self.pins.iter().position(|pin| pin.id == *id).ok_or(Outcome::NoLine)?;
        match self.pins.get(index).and_then(|pin| pin.holder.as_ref()) {
            Some(holder) => Err(Outcome::Busy { owner: holder.owner.clone() }),
            None => Ok(index),
        }
    }

    fn held(&self, connection: ConnectionId, handle: u64) -> Option<usize> {
        self.pins.iter().position(|pin| {
            pin.holder
                .as_ref()
                .is_some_and(|holder| holder.connection == connection && holder.handle == handle)
        })
    }
}

fn not_held() -> Outcome {
    Outcome::Invalid { reason: "no such line is open on this connection".to_owned() }
}

fn edge(handle: u64, active: bool, at: Duration) -> FromTwin {
    FromTwin::Edge { handle, active, at_ns: nanos(at) }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}
