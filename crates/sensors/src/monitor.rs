//! All sensors of a board: which bus to ask when, and what follows from the answers.
//!
//! Each bus is asked by itself and for all that is due on it, and not again before it has answered: one that hangs delays nobody else.
//! What is due is counted from when it was due and not from when it was asked, so nothing drifts; what was missed is not made up for.
//!
//! Rails fall before anybody hears that the host is off. That a sensor of a host fell below a threshold or failed is therefore held back for the
//! time its values need to settle, and never told when the host turns out to be off. While the host is in transition it is held back as well: a
//! cycle takes the rails down and up again. What is over once the host is on and settled is never told then. Nobody waits for the end of a transition
//! of which nothing is heard any more ([`SILENCE_MAX`]).

use units::{Millis, Mono, Telling};

use crate::change::Filter;
use crate::compute::Op;
use crate::sensor::{Change, Fault, Quality, Reason, Sensor, Spec, Told};
use crate::threshold::Side;

/// Sensors due within this time are asked with those that are due now.
const TOGETHER: Millis = Millis::new(10);
/// How often all readings are told, news or not.
const FULL_EVERY: Millis = Millis::from_secs(30);

/// To so many polls one after the other nothing on a bus answers before it is told that the bus hangs: one may be chance.
const SILENT_POLLS: u32 = 2;
/// That a chip answers counts for so long: whether it still does is asked then, when nothing else on its bus answers.
const ALIVE: Millis = Millis::from_secs(2);

/// How long a host counts as in transition of which nothing is heard. Whoever knows its power is asked each second then and answers within seconds, also
/// after it was started again; where it does not for so long, power-good cannot be read, and an alarm that was held back is better told than not.
pub const SILENCE_MAX: Millis = Millis::from_secs(30);

/// Where a sensor's values come from. Sensors and buses are named by their places.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Asked for on this bus.
    Polled(usize),
    /// Told by itself, such as a line that changes: good until it is told otherwise.
    Pushed,
    /// Computed from sensors that stand before it.
    Computed(Op, Vec<usize>),
}

/// What happens to the monitor.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The time it asked for has come.
    Tick,
    /// What a bus answered.
    Polled {
        /// The bus.
        bus: usize,
        /// Sensors with what was read.
        samples: Vec<(usize, Result<f64, Fault>)>,
    },
    /// What a sensor told by itself.
    Pushed(usize, Result<f64, Fault>),
    /// What is known of a host's power.
    Host(usize, HostPower),
}

/// Power of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPower {
    /// It has none.
    Off,
    /// It has power and is about to lose it, or got it and is not on yet.
    Transition,
    /// It is on.
    On,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask this bus for these sensors, and answer with [`Event::Polled`], whatever comes of it.
    Poll {
        /// The bus.
        bus: usize,
        /// The sensors.
        sensors: Vec<usize>,
    },
    /// Something happened to a sensor.
    Changed(usize, Change),
    /// Nothing on a bus answers any more, or something does again; its sensors do not tell of it one by one.
    Bus {
        /// The bus.
        bus: usize,
        /// Whether it answers.
        answers: bool,
    },
    /// Tell the readings of these sensors; of all when `full`. An empty list tells that the sensors of the bus were read and show the same.
    Readings {
        /// The bus that was read; none when what happened was not on a bus.
        bus: Option<usize>,
        /// The sensors.
        sensors: Vec<usize>,
        /// They are all there are.
        full: bool,
    },
}

#[derive(Debug)]
struct Place {
    sensor: Sensor,
    source: Source,
    /// When it is to be asked next.
    due: Mono,
    filter: Filter,
    /// What it told last by itself, and whether that is yet to be taken: its host had not settled.
    said: Option<Result<f64, Fault>>,
    waits: bool,
    /// What came of it when it was asked last, and when.
    heard: Option<(Heard, Mono)>,
    /// Computed sensors that need it, directly.
    needed_by: Vec<usize>,
}

/// What came of asking a sensor, for its bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// It answered, whatever it said.
    Answer,
    /// No answer in time.
    Silence,
    /// Nobody is there: no answer, and no sign that the bus hangs. A driver that is not bound to its device says the same.
    Nobody,
}

impl Heard {
    fn of(sample: &Result<f64, Fault>) -> Self {
        match sample {
            Err(Fault::TimedOut) => Self::Silence,
            Err(Fault::Missing) => Self::Nobody,
            _ => Self::Answer,
        }
    }
}

#[derive(Debug, Default)]
struct Bus {
    /// It was asked and has not answered.
    asked: bool,
    /// Polls one after the other to which nothing on it has answered.
    silent: u32,
    /// It was told that it does not answer, and how often that may be.
    told: bool,
    telling: Telling,
    sensors: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Host {
    /// That its sensors are read.
    on: Option<bool>,
    /// When it was switched on; none when it was on before the monitor was.
    since: Option<Mono>,
    /// It is on and about to lose its power; until when that counts without another word.
    moving: Option<Mono>,
    /// When it ended a transition, on.
    moved: Option<Mono>,
}

/// Changes that are held back at most; a sensor that flutters makes some in the time, and boards have a few hundred sensors.
const HELD_MAX: usize = 1_024;

/// What happened to a sensor of a host, held back until it is known that the host was on.
#[derive(Debug)]
struct Held {
    until: Mono,
    index: usize,
    change: Change,
    /// It happened around a transition of the host: not told when it is over by the time it is due.
    around: bool,
}

/// All sensors of a board.
#[derive(Debug)]
pub struct Monitor {
    places: Vec<Place>,
    /// In the order in which it happened.
    held: Vec<Held>,
    buses: Vec<Bus>,
    hosts: Vec<Host>,
    full_at: Mono,
}

impl Monitor {
    /// A monitor of these sensors, which are all due now; `hosts` and `buses` say how many there are. A sensor that names a bus, a host or a
    /// sensor (behind itself) that is not there is never read.
    pub fn new(now: Mono, sensors: Vec<(Spec, Source)>, buses: usize, hosts: usize) -> Self {
        let mut places: Vec<Place> = sensors
            .into_iter()
            .map(|(spec, source)| Place {
                sensor: Sensor::new(spec, now),
                source,
                due: now,
                filter: Filter::default(),
                said: None,
                waits: false,
                heard: None,
                needed_by: Vec::new(),
            })
            .collect();
        let mut on: Vec<Bus> = std::iter::repeat_with(Bus::default).take(buses).collect();
        for index in 0..places.len() {
            match places.get(index).map(|place| place.source.clone()) {
                Some(Source::Polled(bus)) => {
                    if let Some(bus) = on.get_mut(bus) {
                        bus.sensors.push(index);
                    }
                }
                Some(Source::Computed(_, inputs)) => {
                    for input in inputs.into_iter().filter(|input| *input < index) {
                        if let Some(input) = places.get_mut(input)
                            && !input.needed_by.contains(&index)
                        {
                            input.needed_by.push(index);
                        }
                    }
                }
                Some(Source::Pushed) | None => {}
            }
        }
        let hosts = vec![Host { on: None, since: None, moving: None, moved: None }; hosts];
        Self { places, held: Vec::new(), buses: on, hosts, full_at: now + FULL_EVERY }
    }

    /// A sensor by its place.
    pub fn sensor(&self, index: usize) -> Option<&Sensor> {
        self.places.get(index).map(|place| &place.sensor)
    }

    /// All sensors, in order.
    pub fn sensors(&self) -> impl Iterator<Item = &Sensor> {
        self.places.iter().map(|place| &place.sensor)
    }

    /// Where a sensor's values come from.
    pub fn source(&self, index: usize) -> Option<&Source> {
        self.places.get(index).map(|place| &place.source)
    }

    /// Judges a sensor by other thresholds from now on.
    pub fn set_thresholds(
        &mut self,
        now: Mono,
        index: usize,
        thresholds: crate::Thresholds,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.places.get_mut(index) else { return };
        let mut changes = Vec::new();
        place.sensor.set_thresholds(now, thresholds, &mut changes);
        // A sensor that is judged anew shows what it did before: nothing has to settle.
        let (mut before, mut after): (Vec<Change>, Vec<Change>) = (Vec::new(), changes);
        self.held.retain(|held| {
            let keep = held.index != index;
            if !keep {
                before.push(held.change);
            }
            keep
        });
        before.append(&mut after);
        out.extend(before.into_iter().map(|change| Action::Changed(index, change)));
        let sensors = self.news([index]);
        if !sensors.is_empty() {
            out.push(Action::Readings { bus: None, sensors, full: false });
        }
    }

    /// Goes on from what was told of a sensor before this start.
    pub fn remember(&mut self, index: usize, told: &Told) {
        if let Some(place) = self.places.get_mut(index) {
            place.sensor.remember(told);
        }
    }

    /// It was told before this start that nothing on this bus answers.
    pub fn remember_silent(&mut self, bus: usize) {
        if let Some(bus) = self.buses.get_mut(bus) {
            bus.told = true;
        }
    }

    /// Begins a sensor's statistics anew.
    pub fn reset_stats(&mut self, now: Mono, index: usize) {
        if let Some(place) = self.places.get_mut(index) {
            place.sensor.reset_stats(now);
        }
    }

    /// Takes what happened and says what is to be done.
    pub fn step(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        let mut made = Vec::new();
        let dropped = match event {
            Event::Host(host, HostPower::Off) => self.drop_held(host),
            _ => Vec::new(),
        };
        self.happened(now, event, &mut made);
        self.hold(now, made, dropped, out);
    }

    fn happened(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Host(host, power) => self.power(now, host, power, out),
            Event::Pushed(index, sample) => {
                let Some(place) = self.places.get_mut(index) else { return };
                (place.said, place.waits) = (Some(sample), true);
            }
            Event::Polled { bus, samples } => self.polled(now, bus, samples, out),
        }
        self.hear(now, out);
        self.overdue(now, out);
        self.poll(now, out);
        if self.full_at <= now {
            self.full(now, out);
        }
    }

    /// Takes what sensors told by themselves, once that means something: an edge is told once, also one of the time before its host settled.
    fn hear(&mut self, now: Mono, out: &mut Vec<Action>) {
        for index in 0..self.places.len() {
            let waits = self.places.get(index).is_some_and(|place| place.waits);
            if !waits || !self.is_usable(now, index) {
                continue;
            }
            let Some(place) = self.places.get_mut(index) else { continue };
            place.waits = false;
            let Some(sample) = place.said else { continue };
            let mut changes = Vec::new();
            place.sensor.sample(now, sample, &mut changes);
            out.extend(changes.into_iter().map(|change| Action::Changed(index, change)));
            self.tell(now, None, vec![index], out);
        }
    }

    /// What was held back of this host's sensors: it was going down.
    fn drop_held(&mut self, host: usize) -> Vec<(usize, Change)> {
        let (dropped, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| self.sensor(held.index).is_some_and(|sensor| sensor.spec().host == Some(host)));
        self.held = held;
        let dropped: Vec<Held> = dropped;
        dropped.into_iter().map(|held| (held.index, held.change)).collect()
    }

    /// Tells what is due, holds back what is to be, and leaves out what ends something that is not told (`dropped`).
    fn hold(&mut self, now: Mono, made: Vec<Action>, dropped: Vec<(usize, Change)>, out: &mut Vec<Action>) {
        let mut untold: Vec<(usize, Change)> = Vec::new();
        for (index, change) in dropped {
            if begins(&change) {
                untold.push((index, change));
            } else if !take_ended(&mut untold, index, &change) {
                out.push(Action::Changed(index, change));
            }
        }
        for (index, change) in &untold {
            if let (Change::Failed(_), Some(place)) = (change, self.places.get_mut(*index)) {
                place.sensor.failure_untold();
            }
        }
        // What was held long enough comes before what happened now.
        self.leave_out_what_is_over(now);
        let (due, held) =
            std::mem::take(&mut self.held).into_iter().partition(|held| self.due_at(held) <= now);
        self.held = held;
        let due: Vec<Held> = due;
        out.extend(due.into_iter().map(|held| Action::Changed(held.index, held.change)));
        for action in made {
            let Action::Changed(index, change) = action else {
                out.push(action);
                continue;
            };
            if take_ended(&mut untold, index, &change) {
                continue;
            }
            let spec = self.sensor(index).map(Sensor::spec);
            let settle = spec.filter(|spec| spec.host.is_some()).map(|spec| spec.settle);
            let rate = spec.map_or(Millis::ZERO, |spec| spec.rate);
            // In order: what follows something that is held back is told when that is. Too much follows nothing: it is never held back, nor its end.
            let too_much = matches!(change, Change::Crossed(crossing) if crossing.side == Side::Upper);
            let after = self.held.iter().rev().find(|held| held.index == index).map(|held| held.until);
            let around = self.is_around(now, index);
            match (settle, after) {
                (Some(settle), _) if begins(&change) && (settle > Millis::ZERO || around) => {
                    let until = if around { now + settle + rate } else { now + settle };
                    self.held.push(Held { until, index, change, around });
                }
                (_, Some(until)) if !too_much => {
                    self.held.push(Held { until, index, change, around });
                }
                _ => out.push(Action::Changed(index, change)),
            }
        }
        // With more than that the oldest are told: a late word that the host was off is better than none.
        let surplus = self.held.len().saturating_sub(HELD_MAX);
        out.extend(self.held.drain(..surplus).map(|held| Action::Changed(held.index, held.change)));
    }

    /// Removes what began and ended around a transition, once it is due.
    fn leave_out_what_is_over(&mut self, now: Mono) {
        let mut at = 0;
        while let Some(held) = self.held.get(at) {
            let (index, change) = (held.index, held.change);
            let due = self.due_at(held) <= now;
            let ends = |later: &Held| later.index == index && ends(&change, &later.change);
            let wanted = due && held.around && begins(&change);
            let ended = wanted.then(|| self.held.iter().skip(at + 1).position(ends)).flatten();
            match ended {
                Some(after) => {
                    self.held.remove(at + 1 + after);
                    self.held.remove(at);
                }
                None => at += 1,
            }
        }
    }

    fn host_of(&self, index: usize) -> Option<&Host> {
        self.hosts.get(self.places.get(index)?.sensor.spec().host?)
    }

    /// When it is told: not before its host's transition is over, or nobody tells of that any more.
    fn due_at(&self, held: &Held) -> Mono {
        let moving = self.host_of(held.index).and_then(|host| host.moving);
        moving.map_or(held.until, |until| held.until.max(until))
    }

    /// Whether the sensor's host is in transition, or has not settled since.
    fn is_around(&self, now: Mono, index: usize) -> bool {
        let settle = self.sensor(index).map_or(Millis::ZERO, |sensor| sensor.spec().settle);
        self.host_of(index)
            .and_then(|host| host.moving.or_else(|| Some(host.moved? + settle)))
            .is_some_and(|until| now < until)
    }

    /// Tells all readings now. Once at the start, for who asks, and every 30 s.
    pub fn full(&mut self, now: Mono, out: &mut Vec<Action>) {
        self.full_at = now + FULL_EVERY;
        for place in &mut self.places {
            let level = place.sensor.level();
            place.filter.told(place.sensor.reading(), level);
        }
        out.push(Action::Readings { bus: None, sensors: (0..self.places.len()).collect(), full: true });
    }

    /// When [`Event::Tick`] is wanted next.
    pub fn deadline(&self) -> Mono {
        let polls = self
            .buses
            .iter()
            .filter(|bus| !bus.asked)
            .flat_map(|bus| &bus.sensors)
            .filter_map(|index| Some((*index, self.places.get(*index)?)))
            .filter_map(|(index, place)| Some(place.due.max(self.usable_from(index)?)));
        let stale = self
            .places
            .iter()
            .filter(|place| matches!(place.source, Source::Polled(_)))
            .filter_map(|place| place.sensor.deadline());
        let held = self.held.iter().map(|held| self.due_at(held));
        let waits = |(_, place): &(usize, &Place)| place.waits;
        let heard = self.places.iter().enumerate().filter(waits);
        let heard = heard.filter_map(|(index, _)| self.usable_from(index));
        polls.chain(stale).chain(held).chain(heard).fold(self.full_at, Mono::min)
    }

    /// From when on a sensor's values mean something; never while its host is off or not known.
    fn usable_from(&self, index: usize) -> Option<Mono> {
        let spec = self.places.get(index)?.sensor.spec();
        let Some(host) = spec.host else { return Some(Mono::ZERO) };
        let host = self.hosts.get(host)?;
        (host.on == Some(true)).then(|| host.since.map_or(Mono::ZERO, |since| since + spec.settle))
    }

    fn is_usable(&self, now: Mono, index: usize) -> bool {
        self.usable_from(index).is_some_and(|from| from <= now)
    }

    fn power(&mut self, now: Mono, host: usize, power: HostPower, out: &mut Vec<Action>) {
        let Some(known) = self.hosts.get_mut(host) else { return };
        // One on its way up stays off until it is on.
        let is_off = power == HostPower::Off || power == HostPower::Transition && known.on == Some(false);
        let moving = power == HostPower::Transition && !is_off;
        let until = moving.then(|| now + SILENCE_MAX);
        let moved = std::mem::replace(&mut known.moving, until).is_some() && !moving && !is_off;
        if moved {
            known.moved = Some(now);
        }
        if moved || moving {
            // Also what happened just before: a rail may fall before the word comes, and rise before the next.
            let mut held = std::mem::take(&mut self.held);
            for held in &mut held {
                let Some(spec) = self.sensor(held.index).map(Sensor::spec) else { continue };
                if spec.host == Some(host) {
                    held.around = true;
                    // Read once more by then.
                    held.until = held.until.max(now + spec.settle + spec.rate);
                }
            }
            self.held = held;
        }
        self.host(now, host, !is_off, out);
    }

    fn host(&mut self, now: Mono, host: usize, on: bool, out: &mut Vec<Action>) {
        let Some(known) = self.hosts.get_mut(host) else { return };
        if known.on == Some(on) {
            return;
        }
        // One that is found on has been on for a while.
        let was_known = known.on.is_some();
        let since = was_known.then_some(now);
        *known = Host { on: Some(on), since, ..*known };
        let of: Vec<usize> = (0..self.places.len())
            .filter(|index| self.sensor(*index).is_some_and(|sensor| sensor.spec().host == Some(host)))
            .collect();
        for index in &of {
            let Some(place) = self.places.get_mut(*index) else { continue };
            if matches!(place.source, Source::Computed(..)) {
                continue;
            }
            let mut changes = Vec::new();
            if on && !was_known {
                // What was crossed before the monitor was is crossed until a value says otherwise.
                place.sensor.unread(Reason::NotRead);
            } else {
                place.sensor.unavailable(Reason::HostOff, &mut changes);
            }
            (place.due, place.heard) = (now, None);
            // A line that did not change since is as it was.
            place.waits = place.said.is_some();
            out.extend(changes.into_iter().map(|change| Action::Changed(*index, change)));
        }
        self.tell(now, None, of, out);
    }

    fn polled(
        &mut self,
        now: Mono,
        bus: usize,
        samples: Vec<(usize, Result<f64, Fault>)>,
        out: &mut Vec<Action>,
    ) {
        let Some(asked) = self.buses.get_mut(bus) else { return };
        asked.asked = false;
        let has = |wanted| samples.iter().any(|(_, sample)| Heard::of(sample) == wanted);
        let (answered, silent) = (has(Heard::Answer), !has(Heard::Answer) && has(Heard::Silence));
        asked.silent = match (answered, silent) {
            (true, _) => 0,
            (_, true) => asked.silent.saturating_add(1),
            // Where nobody is, nothing is heard of the bus.
            _ => asked.silent,
        };
        for (index, sample) in &samples {
            if let Some(place) = self.places.get_mut(*index) {
                place.heard = Some((Heard::of(sample), now));
            }
        }
        // One chip that does not answer on a bus on which others do is that chip's fault.
        let others = self.last_answer(now, bus);
        // Of one that has failed, and was told of, nothing is to be found out, and nothing of an empty place.
        let is_news = |(index, sample): &(usize, Result<f64, Fault>)| {
            let sensor = self.sensor(*index);
            Heard::of(sample) == Heard::Silence && sensor.is_some_and(|sensor| !sensor.has_told_failure())
        };
        let is_old = |at: Mono| now.since(at) > ALIVE && samples.iter().any(is_news);
        let may_hang = silent && others.is_none_or(is_old);
        if may_hang && others.is_some() {
            // Whether those that are read rarely still do is asked at once.
            let those: Vec<usize> = self.answering(now, bus).map(|(index, _)| index).collect();
            for index in those {
                if let Some(place) = self.places.get_mut(index) {
                    place.due = now;
                }
            }
        }
        let any_silent = self.any_silent(now, bus);
        if let Some(asked) = self.buses.get_mut(bus) {
            let hangs = silent && others.is_none() && asked.silent >= SILENT_POLLS;
            if hangs && !asked.told && asked.telling.take(now) {
                asked.told = true;
                out.push(Action::Bus { bus, answers: false });
            } else if (answered || !any_silent) && std::mem::take(&mut asked.told) {
                out.push(Action::Bus { bus, answers: true });
            }
        }
        let mut read = Vec::with_capacity(samples.len());
        for (index, sample) in samples {
            // What was asked while the host was on may come back when it is off.
            let usable = self.is_usable(now, index);
            let Some(place) = self.places.get_mut(index) else { continue };
            if place.source != Source::Polled(bus) || !usable {
                continue;
            }
            let mut changes = Vec::new();
            if may_hang && sample == Err(Fault::TimedOut) {
                place.sensor.bus_silent(now);
            } else {
                place.sensor.sample(now, sample, &mut changes);
            }
            // A driver that had no new value is asked again when it is due: it will not have one sooner.
            let again = matches!(sample, Err(Fault::Missing | Fault::Io | Fault::Malformed) | Ok(_));
            if again && place.sensor.wants_retry() {
                place.due = place.due.min(now + place.sensor.spec().retry_after());
            }
            out.extend(changes.into_iter().map(|change| Action::Changed(index, change)));
            read.push(index);
        }
        self.tell(now, Some(bus), read, out);
    }

    /// What came of the sensors of a bus that can be asked, when they were asked last.
    fn heard_on(&self, now: Mono, bus: usize) -> impl Iterator<Item = (usize, Heard, Mono)> + '_ {
        let on = self.buses.get(bus).map(|bus| bus.sensors.as_slice()).unwrap_or_default();
        let usable = on.iter().copied().filter(move |index| self.is_usable(now, *index));
        usable.filter_map(move |index| {
            let (heard, at) = self.places.get(index)?.heard?;
            Some((index, heard, at))
        })
    }

    /// The sensors of a bus that answered when they were asked last, and when that was.
    fn answering(&self, now: Mono, bus: usize) -> impl Iterator<Item = (usize, Mono)> + '_ {
        let answers = self.heard_on(now, bus).filter(|(_, heard, _)| *heard == Heard::Answer);
        answers.map(|(index, _, at)| (index, at))
    }

    /// When any of them did last.
    fn last_answer(&self, now: Mono, bus: usize) -> Option<Mono> {
        self.answering(now, bus).map(|(_, at)| at).max()
    }

    /// Whether any sensor of a bus did not answer when it was asked last.
    fn any_silent(&self, now: Mono, bus: usize) -> bool {
        self.heard_on(now, bus).any(|(_, heard, _)| heard == Heard::Silence)
    }

    /// Computes what depends on these, and tells what is news.
    fn tell(&mut self, now: Mono, bus: Option<usize>, mut touched: Vec<usize>, out: &mut Vec<Action>) {
        // A computed sensor stands behind those it needs, so in this order each is computed once.
        let mut todo = std::collections::BTreeSet::new();
        for index in &touched {
            todo.extend(
                self.places.get(*index).into_iter().flat_map(|place| place.needed_by.iter().copied()),
            );
        }
        for index in &touched {
            if self.places.get(*index).is_some_and(|place| matches!(place.source, Source::Computed(..))) {
                todo.insert(*index);
            }
        }
        while let Some(index) = todo.pop_first() {
            let Some(Source::Computed(op, inputs)) = self.places.get(index).map(|place| &place.source) else {
                continue;
            };
            let inputs: Vec<_> =
                inputs.iter().filter_map(|input| Some(*self.places.get(*input)?.sensor.reading())).collect();
            let reading = op.compute(&inputs);
            let host = self.places.get(index).and_then(|place| place.sensor.spec().host);
            let is_known = host.is_none_or(|host| self.hosts.get(host).is_some_and(|host| host.on.is_some()));
            let usable = host.is_none() || self.is_usable(now, index);
            let Some(place) = self.places.get_mut(index) else { continue };
            let mut changes = Vec::new();
            if usable {
                place.sensor.computed(now, reading, &mut changes);
            } else if !is_known {
                place.sensor.unread(Reason::HostUnknown);
            } else {
                place.sensor.unavailable(Reason::HostOff, &mut changes);
            }
            out.extend(changes.into_iter().map(|change| Action::Changed(index, change)));
            todo.extend(place.needed_by.iter().copied());
            touched.push(index);
        }
        touched.sort_unstable();
        touched.dedup();
        let sensors = self.news(touched);
        if bus.is_some() || !sensors.is_empty() {
            out.push(Action::Readings { bus, sensors, full: false });
        }
    }

    fn news(&mut self, of: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut news = Vec::new();
        for index in of {
            let Some(place) = self.places.get_mut(index) else { continue };
            let (level, resolution) = (place.sensor.level(), place.sensor.spec().resolution);
            if place.filter.is_news(place.sensor.reading(), level, resolution) {
                news.push(index);
            }
        }
        news
    }

    /// Values that should have been renewed.
    fn overdue(&mut self, now: Mono, out: &mut Vec<Action>) {
        let mut touched = Vec::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            if matches!(place.source, Source::Polled(_)) {
                place.sensor.tick(now);
                if place.sensor.reading().reason == Reason::Overdue
                    && place.sensor.reading().quality == Quality::Stale
                {
                    touched.push(index);
                }
            }
        }
        if !touched.is_empty() {
            self.tell(now, None, touched, out);
        }
    }

    fn poll(&mut self, now: Mono, out: &mut Vec<Action>) {
        let until = now + TOGETHER;
        for bus in 0..self.buses.len() {
            let Some(state) = self.buses.get(bus) else { continue };
            if state.asked {
                continue;
            }
            let usable = |index: &usize| self.is_usable(now, *index);
            let due = |index: &usize| self.places.get(*index).is_some_and(|place| place.due <= until);
            let wanted = |limit: Mono| {
                let is = |index: &usize| self.places.get(*index).is_some_and(|place| place.due <= limit);
                state.sensors.iter().copied().filter(usable).any(|index| is(&index))
            };
            if !wanted(now) {
                continue;
            }
            let sensors: Vec<usize> = state.sensors.iter().copied().filter(due).filter(usable).collect();
            for index in &sensors {
                if let Some(place) = self.places.get_mut(*index) {
                    place.due = next_due(place.due, place.sensor.spec().rate, now);
                }
            }
            if let Some(state) = self.buses.get_mut(bus) {
                state.asked = true;
            }
            out.push(Action::Poll { bus, sensors });
        }
    }
}

/// Whether it is the beginning of what falling rails look like: too little, or a chip that does not answer. Too much is told at once.
fn begins(change: &Change) -> bool {
    match change {
        Change::Failed(_) => true,
        Change::Crossed(crossing) => crossing.asserted && crossing.side == Side::Lower,
        Change::Recovered | Change::Removed | Change::Inserted | Change::Late | Change::Turned(_) => false,
    }
}

/// Whether a later change of the same sensor is the end of what began with `begun`.
fn ends(begun: &Change, change: &Change) -> bool {
    match (begun, change) {
        (Change::Crossed(one), Change::Crossed(other)) => {
            !other.asserted && (one.side, one.level) == (other.side, other.level)
        }
        (Change::Failed(_), Change::Recovered) => true,
        _ => false,
    }
}

/// Removes from `begun` what this change of the sensor is the end of; false when there is none.
fn take_ended(begun: &mut Vec<(usize, Change)>, index: usize, change: &Change) -> bool {
    let found = begun.iter().position(|(of, begun)| *of == index && ends(begun, change));
    found.map(|found| begun.remove(found)).is_some()
}

/// The first multiple of `rate` after `due` that is in the future.
fn next_due(due: Mono, rate: Millis, now: Mono) -> Mono {
    let rate = Millis::new(rate.get().max(1));
    let missed = now.since(due).get() / rate.get();
    let next = due + rate.saturating_mul(missed.saturating_add(1));
    // What was due in a moment and is asked now is not due again in that moment.
    if next <= now + TOGETHER && rate > TOGETHER { next + rate } else { next }
}
