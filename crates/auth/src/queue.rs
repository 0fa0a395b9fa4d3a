//! The line before the password hash: bounded in total, per address, and in how many are served at once.
//!
//! A password hash takes megabytes and up to a third of a second, and anyone may ask for one. So at most
//! [`QueueConfig::parallel`] run, at most [`QueueConfig::waiting`] wait, and one address gets only a few places.
//! Some places are kept for callers who are [preferred](Queue::push): an address that has logged in before, or a
//! request that is already authenticated. A flood from strange addresses then delays strangers only.

use std::collections::{HashMap, VecDeque};

use units::Mono;

use crate::lockout::Address;

/// Sizes of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Hashes computed at the same time: this many times [`crate::Cost::memory_kib`] is the peak of memory.
    pub parallel: usize,
    /// Requests waiting.
    pub waiting: usize,
    /// Of these, places only preferred callers get.
    pub reserved: usize,
    /// Requests of one address, waiting and being served.
    pub per_address: usize,
}

impl Default for QueueConfig {
    /// 32 waiting at two at a time and 0.35 s each (Cortex-A7, see [`crate::Cost`]) are 5.6 s for the last one,
    /// within the deadline of 10 s that a login has.
    fn default() -> Self {
        Self { parallel: 2, waiting: 32, reserved: 8, per_address: 8 }
    }
}

/// There is no place left; trying again later is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// This address has all the places it gets.
    #[error("too many logins at once from this address")]
    Address,
    /// Every place is taken.
    #[error("too many logins at once")]
    Total,
}

#[derive(Debug)]
struct Waiting<T> {
    address: Address,
    deadline: Mono,
    item: T,
}

/// Requests waiting for a hash, in two lines: preferred ones first.
#[derive(Debug)]
pub struct Queue<T> {
    config: QueueConfig,
    preferred: VecDeque<Waiting<T>>,
    others: VecDeque<Waiting<T>>,
    held: HashMap<Address, usize>,
    running: usize,
}

/// What [`Queue::next`] took out of the line.
#[derive(Debug)]
pub enum Next<T> {
    /// Serve it, then call [`Queue::done`] with the address.
    Serve(Address, T),
    /// Its deadline has passed: nobody waits for the answer, so no hash is spent on it. Its place is free already.
    Expired(T),
}

impl<T> Queue<T> {
    /// An empty line.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self { config, preferred: VecDeque::new(), others: VecDeque::new(), held: HashMap::new(), running: 0 }
    }

    /// Lines up `item`, to be served before `deadline`.
    ///
    /// # Errors
    /// [`QueueFull`] together with the item.
    pub fn push(
        &mut self,
        item: T,
        address: Address,
        preferred: bool,
        deadline: Mono,
    ) -> Result<(), (QueueFull, T)> {
        let places = if preferred {
            self.config.waiting
        } else {
            self.config.waiting.saturating_sub(self.config.reserved)
        };
        if self.preferred.len() + self.others.len() >= places {
            return Err((QueueFull::Total, item));
        }
        let held = self.held.get(&address).copied().unwrap_or(0);
        if held >= self.config.per_address {
            return Err((QueueFull::Address, item));
        }
        self.held.insert(address, held + 1);
        let line = if preferred { &mut self.preferred } else { &mut self.others };
        line.push_back(Waiting { address, deadline, item });
        Ok(())
    }

    /// The next request to deal with, if there is one and a hash may be started.
    pub fn next(&mut self, now: Mono) -> Option<Next<T>> {
        if self.running >= self.config.parallel {
            return None;
        }
        let Waiting { address, deadline, item } =
            self.preferred.pop_front().or_else(|| self.others.pop_front())?;
        if deadline <= now {
            self.release(address);
            return Some(Next::Expired(item));
        }
        self.running += 1;
        Some(Next::Serve(address, item))
    }

    /// A request served under [`Next::Serve`] is finished.
    pub fn done(&mut self, address: Address) {
        self.running = self.running.saturating_sub(1);
        self.release(address);
    }

    fn release(&mut self, address: Address) {
        if let Some(held) = self.held.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&address);
            }
        }
    }

    /// Requests waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.preferred.len() + self.others.len()
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

    fn ip(last: u8) -> Address {
        Address::parse(&format!("192.0.2.{last}"))
    }

    fn small() -> Queue<u32> {
        Queue::new(QueueConfig { parallel: 1, waiting: 4, reserved: 1, per_address: 2 })
    }

    fn serve(queue: &mut Queue<u32>) -> Option<(Address, u32)> {
        match queue.next(Mono::ZERO)? {
            Next::Serve(address, item) => Some((address, item)),
            Next::Expired(item) => panic!("{item} expired"),
        }
    }

    #[test]
    fn one_address_gets_only_its_places() {
        let mut queue = small();
        queue.push(1, ip(1), false, LATER).unwrap();
        queue.push(2, ip(1), false, LATER).unwrap();
        assert_eq!(queue.push(3, ip(1), false, LATER), Err((QueueFull::Address, 3)));
        queue.push(4, ip(2), false, LATER).unwrap();
        let (address, first) = serve(&mut queue).unwrap();
        assert_eq!(first, 1);
        // Being served still holds the place.
        assert_eq!(queue.push(5, ip(1), false, LATER), Err((QueueFull::Address, 5)));
        queue.done(address);
        queue.push(6, ip(1), false, LATER).unwrap();
    }

    #[test]
    fn strangers_leave_places_for_the_preferred_who_go_first() {
        let mut queue = small();
        for stranger in 1..=3 {
            queue.push(u32::from(stranger), ip(stranger), false, LATER).unwrap();
        }
        assert_eq!(queue.push(9, ip(9), false, LATER), Err((QueueFull::Total, 9)));
        queue.push(10, ip(10), true, LATER).unwrap();
        assert_eq!(queue.push(11, ip(11), true, LATER), Err((QueueFull::Total, 11)));
        assert_eq!(serve(&mut queue).unwrap().1, 10);
        assert!(queue.next(Mono::ZERO).is_none(), "one at a time");
        queue.done(ip(10));
        assert_eq!(serve(&mut queue).unwrap().1, 1);
    }

    #[test]
    fn no_hash_is_spent_on_a_request_nobody_waits_for() {
        let mut queue = small();
        queue.push(1, ip(1), false, Mono::from_millis(5)).unwrap();
        queue.push(2, ip(1), false, LATER).unwrap();
        assert!(matches!(queue.next(Mono::from_millis(5)), Some(Next::Expired(1))));
        assert!(matches!(queue.next(Mono::from_millis(5)), Some(Next::Serve(_, 2))));
    }

    proptest! {
        #[test]
        fn whatever_comes_the_bounds_hold_and_all_that_was_taken_in_comes_out(
            steps in proptest::collection::vec((0..6_u8, any::<bool>(), any::<bool>()), 0..300),
        ) {
            let config = QueueConfig { parallel: 2, waiting: 6, reserved: 2, per_address: 3 };
            let mut queue = Queue::new(config);
            let mut serving = Vec::new();
            let (mut taken, mut served) = (0_u32, 0_u32);
            for (address, preferred, finish) in steps {
                if queue.push(taken, ip(address), preferred, LATER).is_ok() {
                    taken += 1;
                }
                if finish && let Some(address) = serving.pop() {
                    queue.done(address);
                }
                while let Some(Next::Serve(address, _)) = queue.next(Mono::ZERO) {
                    serving.push(address);
                    served += 1;
                }
                prop_assert!(queue.waiting() <= config.waiting);
                prop_assert!(queue.running() <= config.parallel);
                prop_assert_eq!(queue.running(), serving.len());
            }
            while queue.running() > 0 || queue.waiting() > 0 {
                if let Some(address) = serving.pop() {
                    queue.done(address);
                }
                while let Some(Next::Serve(address, _)) = queue.next(Mono::ZERO) {
                    serving.push(address);
                    served += 1;
                }
            }
            prop_assert_eq!(taken, served);
            prop_assert!(queue.held.is_empty());
        }
    }
}
