//! The line before the password hash: bounded, shared out fairly, and nobody in it waits longer than he wants to.
//!
//! ```text
//!   administrators known from there, or logged in ─► flows by account and address ─┐
//!   others known from there, or logged in ─────────► flows by account and address ─┼─► in turn ─► at most `parallel` at once
//!   everybody else ────────────────────────────────► flows by address ─────────────┘
//! ```
//!
//! A password hash takes megabytes and up to a third of a second, and anyone may ask for one. Three rules:
//!
//! - The classes are served in turn, and so are the flows of a class. However many requests others have in line, the first one
//!   of a flow waits for as many hashes as there are flows in its class, times the classes.
//! - Each class has [`QueueConfig::reserved`] places nobody else gets.
//! - A flow that has fewer places than another of its class takes one from the longest rather than be refused.
//!
//! So an account that logs in all the time delays itself, and a flood from a few addresses delays these.

use std::collections::{HashMap, VecDeque};

use units::Mono;

use crate::lockout::{Address, Key};

/// Sizes of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Hashes computed at the same time: this many times [`crate::Cost::memory_kib`] is the peak of memory.
    pub parallel: usize,
    /// Requests waiting.
    pub waiting: usize,
    /// Of these, places of each [`Class`] that only this class gets; at most a third of `waiting`.
    pub reserved: usize,
    /// Requests of one flow, waiting and being served.
    pub per_flow: usize,
}

impl Default for QueueConfig {
    /// 32 waiting at two at a time and 0.35 s each (Cortex-A7, see [`crate::Cost`]) are 5.6 s for the last one,
    /// within the deadline of 10 s that a login has.
    fn default() -> Self {
        Self { parallel: 2, waiting: 32, reserved: 8, per_flow: 8 }
    }
}

/// Who asks, in the order in which the classes take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// An administrator's account, logged in or known from the address.
    Administrator,
    /// Another account, logged in or known from the address.
    Known,
    /// Somebody of whom nothing is known yet.
    Stranger,
}

impl Class {
    const ALL: [Self; 3] = [Self::Administrator, Self::Known, Self::Stranger];

    fn index(self) -> usize {
        match self {
            Self::Administrator => 0,
            Self::Known => 1,
            Self::Stranger => 2,
        }
    }

    /// Whether one more of this class fits into `total` places beside what the others hold, and beside the `reserved` ones that each of them
    /// has for itself.
    pub fn has_room(self, held: impl Fn(Self) -> usize, reserved: usize, total: usize) -> bool {
        let others = Self::ALL.into_iter().filter(|other| *other != self);
        let kept: usize = others.map(|other| held(other).max(reserved)).sum();
        held(self) + kept < total
    }
}

/// Whose turn it is. Of accounts that are known, each address is one by itself, so that nobody behind one of them takes the
/// places of the account's owner behind another; there are few such addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// For [`Class::Administrator`] and [`Class::Known`].
    Pair(Key, Address),
    /// For [`Class::Stranger`].
    Address(Address),
}

/// There is no place left; trying again later is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// This account or address has all the places it gets.
    #[error("too many logins at once from this account or address")]
    Share,
    /// Every place is taken.
    #[error("too many logins at once")]
    Total,
}

/// Names a place that is held, to be given back with [`Queue::done`].
pub type Place = (Class, Flow);

#[derive(Debug)]
struct Waiting<T> {
    deadline: Mono,
    item: T,
}

/// The flows of one class, the one whose turn it is first. No flow is empty.
#[derive(Debug)]
struct Line<T> {
    flows: VecDeque<(Flow, VecDeque<Waiting<T>>)>,
    len: usize,
}

/// Requests waiting for a hash.
#[derive(Debug)]
pub struct Queue<T> {
    config: QueueConfig,
    lines: [Line<T>; 3],
    /// The class whose turn it is.
    turn: usize,
    /// Places held by what waits and what is served.
    held: HashMap<Place, usize>,
    running: usize,
}

impl<T> Queue<T> {
    /// An empty line.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        let line = || Line { flows: VecDeque::new(), len: 0 };
        Self { config, lines: [line(), line(), line()], turn: 0, held: HashMap::new(), running: 0 }
    }

    /// Lines up `item`, to be served before `deadline`. Gives back the item that lost its place to it, if one did: the newest of
    /// the longest flow of the class.
    ///
    /// # Errors
    /// [`QueueFull`] together with the item.
    pub fn push(
        &mut self,
        item: T,
        class: Class,
        flow: Flow,
        deadline: Mono,
    ) -> Result<Option<T>, (QueueFull, T)> {
        let held = self.held.get(&(class, flow)).copied().unwrap_or(0);
        if held >= self.config.per_flow {
            return Err((QueueFull::Share, item));
        }
        let mut lost = None;
        if !self.has_room(class) {
            match self.take_from_longest(class, flow) {
                Some(evicted) => lost = Some(evicted),
                None => return Err((QueueFull::Total, item)),
            }
        }
        *self.held.entry((class, flow)).or_insert(0) += 1;
        if let Some(line) = self.lines.get_mut(class.index()) {
            let waiting = Waiting { deadline, item };
            line.len += 1;
            match line.flows.iter_mut().find(|(other, _)| *other == flow) {
                Some((_, items)) => items.push_back(waiting),
                None => line.flows.push_back((flow, VecDeque::from([waiting]))),
            }
        }
        Ok(lost)
    }

    /// Whether one more of `class` fits beside what is reserved for the other classes.
    fn has_room(&self, class: Class) -> bool {
        let len = |class: Class| self.lines.get(class.index()).map_or(0, |line| line.len);
        let QueueConfig { waiting, reserved, .. } = self.config;
        class.has_room(len, reserved, waiting.max(reserved * Class::ALL.len()))
    }

    /// Takes the newest request of the flow that has most of them waiting, if `flow` will have fewer even with one more.
    fn take_from_longest(&mut self, class: Class, flow: Flow) -> Option<T> {
        let line = self.lines.get_mut(class.index())?;
        let own = line.flows.iter().find(|(other, _)| *other == flow).map_or(0, |(_, items)| items.len());
        let at = (0..line.flows.len()).max_by_key(|at| line.flows.get(*at).map(|(_, items)| items.len()))?;
        let (longest, items) = line.flows.get_mut(at)?;
        if items.len() <= own + 1 {
            return None;
        }
        let place = (class, *longest);
        let evicted = items.pop_back()?;
        line.len -= 1;
        self.release(place);
        Some(evicted.item)
    }

    /// The next request to serve, if there is one and a hash may be started. Call [`Self::expired`] before.
    pub fn serve(&mut self) -> Option<(Place, T)> {
        if self.running >= self.config.parallel {
            return None;
        }
        for step in 0..Class::ALL.len() {
            let index = (self.turn + step) % Class::ALL.len();
            let Some(class) = Class::ALL.get(index).copied() else { continue };
            let Some(line) = self.lines.get_mut(index) else { continue };
            let Some((flow, mut items)) = line.flows.pop_front() else { continue };
            let next = items.pop_front();
            if !items.is_empty() {
                line.flows.push_back((flow, items));
            }
            let Some(next) = next else { continue };
            line.len -= 1;
            self.turn = index + 1;
            self.running += 1;
            return Some(((class, flow), next.item));
        }
        None
    }

    /// Takes out all requests whose deadline has passed: nobody waits for their answer, so no hash is spent on them.
    pub fn expired(&mut self, now: Mono) -> Vec<T> {
        let mut expired = Vec::new();
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return expired;
        }
        let mut released = Vec::new();
        for (line, class) in self.lines.iter_mut().zip(Class::ALL) {
            for (flow, items) in &mut line.flows {
                for waiting in std::mem::take(items) {
                    if waiting.deadline <= now {
                        released.push((class, *flow));
                        expired.push(waiting.item);
                    } else {
                        items.push_back(waiting);
                    }
                }
            }
            line.flows.retain(|(_, items)| !items.is_empty());
            line.len = line.flows.iter().map(|(_, items)| items.len()).sum();
        }
        released.into_iter().for_each(|place| self.release(place));
        expired
    }

    /// The earliest deadline of what waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.lines
            .iter()
            .flat_map(|line| &line.flows)
            .flat_map(|(_, items)| items)
            .map(|waiting| waiting.deadline)
            .min()
    }

    /// A request that [`Self::serve`] gave out is finished.
    pub fn done(&mut self, place: Place) {
        self.running = self.running.saturating_sub(1);
        self.release(place);
    }

    fn release(&mut self, place: Place) {
        if let Some(held) = self.held.get_mut(&place) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&place);
            }
        }
    }

    /// Requests waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lines.iter().map(|line| line.len).sum()
    }

    /// Requests being served.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LATER: Mono = Mono::from_millis(10_000);

    fn from(last: u8) -> Flow {
        Flow::Address(Address::parse(&format!("192.0.2.{last}")))
    }

    fn of(name: &str) -> Flow {
        Flow::Pair(Key::account(name), Address::parse("192.0.2.1"))
    }

    fn small() -> Queue<u32> {
        Queue::new(QueueConfig { parallel: 1, waiting: 9, reserved: 2, per_flow: 4 })
    }

    /// Serves all that waits, one at a time, in order.
    fn order(queue: &mut Queue<u32>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some((place, item)) = queue.serve() {
            order.push(item);
            queue.done(place);
        }
        order
    }

    #[test]
    fn one_flow_gets_only_its_places() {
        let mut queue = small();
        for n in 0..4 {
            assert_eq!(queue.push(n, Class::Stranger, from(1), LATER), Ok(None));
        }
        assert_eq!(queue.push(9, Class::Stranger, from(1), LATER), Err((QueueFull::Share, 9)));
        let (place, first) = queue.serve().unwrap();
        assert_eq!(first, 0);
        // Being served still holds the place.
        assert_eq!(queue.push(9, Class::Stranger, from(1), LATER), Err((QueueFull::Share, 9)));
        queue.done(place);
        assert_eq!(queue.push(9, Class::Stranger, from(1), LATER), Ok(None));
    }

    #[test]
    fn whoever_has_least_is_served_next_however_long_the_others_lines_are() {
        let mut queue = small();
        for n in 0..4 {
            queue.push(n, Class::Known, of("poller"), LATER).unwrap();
        }
        queue.push(10, Class::Stranger, from(1), LATER).unwrap();
        queue.push(20, Class::Known, of("bob"), LATER).unwrap();
        queue.push(30, Class::Administrator, of("admin"), LATER).unwrap();
        assert_eq!(order(&mut queue), [30, 0, 10, 20, 1, 2, 3]);
    }

    #[test]
    fn each_class_has_places_of_its_own() {
        let mut queue = small();
        for n in 0..5 {
            queue.push(n.into(), Class::Stranger, from(n), LATER).unwrap();
        }
        assert_eq!(queue.push(9, Class::Stranger, from(9), LATER), Err((QueueFull::Total, 9)));
        for n in 0..2 {
            queue.push(10 + n, Class::Known, of("bob"), LATER).unwrap();
            queue.push(20 + n, Class::Administrator, of("admin"), LATER).unwrap();
        }
        assert_eq!(queue.push(30, Class::Administrator, of("second"), LATER), Ok(Some(21)), "admin has two");
    }

    #[test]
    fn a_newcomer_takes_a_place_from_who_has_most() {
        let mut queue = small();
        for n in 0..4 {
            queue.push(n, Class::Stranger, from(1), LATER).unwrap();
        }
        queue.push(10, Class::Stranger, from(2), LATER).unwrap();
        assert_eq!(queue.push(20, Class::Stranger, from(3), LATER), Ok(Some(3)));
        assert_eq!(queue.push(21, Class::Stranger, from(3), LATER), Ok(Some(2)));
        assert_eq!(queue.push(22, Class::Stranger, from(3), LATER), Err((QueueFull::Total, 22)));
        assert_eq!(order(&mut queue), [0, 10, 20, 1, 21]);
    }

    #[test]
    fn no_hash_is_spent_on_a_request_nobody_waits_for() {
        let mut queue = small();
        queue.push(1, Class::Stranger, from(1), Mono::from_millis(5)).unwrap();
        queue.push(2, Class::Stranger, from(1), LATER).unwrap();
        assert_eq!(queue.deadline(), Some(Mono::from_millis(5)));
        assert!(queue.expired(Mono::from_millis(4)).is_empty());
        assert_eq!(queue.expired(Mono::from_millis(5)), [1]);
        assert_eq!(queue.deadline(), Some(LATER));
        assert_eq!(order(&mut queue), [2]);
    }

    proptest! {
        #[test]
        fn whatever_comes_the_bounds_hold_and_nobody_is_starved(
            steps in proptest::collection::vec((0..3_usize, 0..5_u8, any::<bool>(), 0..8_u8), 0..300),
        ) {
            let config = QueueConfig { parallel: 2, waiting: 12, reserved: 2, per_flow: 4 };
            let mut queue = Queue::new(config);
            let mut serving: Vec<Place> = Vec::new();
            // What is inside, and how many others were served while it was the first of its flow.
            let mut inside: Vec<(u32, Place, u32)> = Vec::new();
            let mut next = 0_u32;
            for (class, who, finish, wait) in steps {
                let class = Class::ALL[class];
                let place = (class, if class == Class::Stranger { from(who) } else { of(&who.to_string()) });
                let deadline = Mono::from_millis(u64::from(next) + u64::from(wait) * 40);
                match queue.push(next, class, place.1, deadline) {
                    Ok(lost) => {
                        inside.push((next, place, 0));
                        if let Some(lost) = lost {
                            let at = inside.iter().position(|(item, ..)| *item == lost).unwrap();
                            prop_assert_ne!(inside.remove(at).1, place, "nobody pushes out his own");
                        }
                    }
                    Err((full, _)) => prop_assert!(full == QueueFull::Share || !queue.has_room(class)),
                }
                next += 1;
                let now = Mono::from_millis(next.into());
                for gone in queue.expired(now) {
                    inside.retain(|(item, ..)| *item != gone);
                }
                if finish && let Some(place) = serving.pop() {
                    queue.done(place);
                }
                while let Some((place, item)) = queue.serve() {
                    serving.push(place);
                    let at = inside.iter().position(|(other, ..)| *other == item).unwrap();
                    prop_assert_eq!(inside.remove(at).1, place);
                    let mut seen = Vec::new();
                    for (_, place, passed) in &mut inside {
                        if !seen.contains(place) {
                            seen.push(*place);
                            *passed += 1;
                            // Five flows in each of three classes.
                            prop_assert!(*passed <= 3 * 5, "starved");
                        }
                    }
                }
                prop_assert!(queue.waiting() <= config.waiting);
                prop_assert!(queue.running() <= config.parallel);
                prop_assert_eq!((queue.running(), queue.waiting()), (serving.len(), inside.len()));
            }
            for place in serving {
                queue.done(place);
            }
            while let Some((place, _)) = queue.serve() {
                queue.done(place);
            }
            prop_assert!(queue.held.is_empty());
        }
    }
}
