//! Drivers for chips that were not there when the kernel looked for them: a supply that is put in later, an EEPROM behind power that came late.
//!
//! The kernel looks once, when driver and device meet; a chip that does not answer then stays without a driver, and whoever reads through it finds
//! nothing. So the operator, which may, has the kernel look again: when it is told that something was put in, and now and then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use units::{Millis, Mono};

/// What is told when something is put in, or a device is back (sensormon).
const PUT_IN: &str = "event.sensor.*.presence";
/// How soon the kernel looks again, at first and at the longest. A look is one transfer on the bus, and a line in the kernel's log with some drivers.
const AGAIN: Millis = Millis::from_secs(3);
const AGAIN_MAX: Millis = Millis::from_secs(60);

/// The chips that wait for a driver. Buses are the part of a name before its `-`: a look at a chip on one that hangs may take for ever, so each has
/// one under way.
#[derive(Debug, Default)]
struct Attempts {
    chips: BTreeMap<String, (Mono, Millis)>,
}

impl Attempts {
    /// Of the chips without a driver, the one of each bus that is to be looked for now. `busy` says of which bus a look is under way.
    fn due(&mut self, now: Mono, unbound: &[String], busy: impl Fn(&str) -> bool) -> Vec<String> {
        // One that got its driver, or whose device went, begins anew.
        self.chips.retain(|name, _| unbound.contains(name));
        let mut taken: Vec<&str> = Vec::new();
        let mut due = Vec::new();
        for name in unbound {
            let bus = bus_of(name);
            let (at, wait) = self.chips.get(name).copied().unwrap_or((now, AGAIN));
            if now < at || busy(bus) || taken.contains(&bus) {
                continue;
            }
            taken.push(bus);
            self.chips.insert(name.clone(), (now + wait, wait.saturating_mul(2).min(AGAIN_MAX)));
            due.push(name.clone());
        }
        due
    }

    /// All are looked for as if for the first time.
    fn anew(&mut self) {
        self.chips.clear();
    }
}

fn bus_of(name: &str) -> &str {
    name.split_once('-').map_or(name, |(bus, _)| bus)
}

/// Has the kernel look for drivers.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    attempts: Attempts,
    /// It was told since the last turn that something was put in.
    put_in: Arc<AtomicBool>,
    /// The buses on which a look is under way.
    busy: Arc<Mutex<Vec<String>>>,
}

/// A bus on which a look is under way, until it is dropped.
#[derive(Debug)]
struct Busy(Arc<Mutex<Vec<String>>>, String);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != self.1);
    }
}

impl Bindings {
    /// From now on looks at once when it is told that something was put in. Who tells that too often is bounded by himself.
    pub(crate) async fn listen(&self, bus: &ipc::Client) {
        let mut events = match bus.subscribe_events(PUT_IN).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "cannot hear what is put in: looking for drivers now and then");
                return;
            }
        };
        let put_in = Arc::clone(&self.put_in);
        tokio::spawn(async move {
            while events.next().await.is_some() {
                put_in.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Begins what is due, and waits for nothing. `unbound` are the board's chips without a driver, `sys` is `/sys`.
    pub(crate) fn tend(&mut self, now: Mono, unbound: &[String], sys: &Path) {
        if self.put_in.swap(false, Ordering::Relaxed) {
            self.attempts.anew();
        }
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for name in self.attempts.due(now, unbound, |bus| busy.iter().any(|known| known == bus)) {
            self.look(name, sys.to_owned());
        }
    }

    fn look(&self, name: String, sys: PathBuf) {
        let bus = bus_of(&name).to_owned();
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).push(bus.clone());
        let (busy, chip) = (Busy(Arc::clone(&self.busy), bus), name.clone());
        // Where no thread can be had, what it would have kept is dropped as well, and the bus is free again.
        let started = std::thread::Builder::new().name(format!("bind {name}")).spawn(move || {
            let _busy = busy;
            // It went meanwhile, or the site runs without root.
            if let Err(error) = hw::probe_chip(&sys, &chip) {
                tracing::debug!(chip, %error, "cannot have the kernel look for a driver");
            }
        });
        if let Err(error) = started {
            tracing::warn!(chip = name, %error, "cannot start thread for driver look-up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn one_chip_of_a_bus_at_a_time_and_each_ever_more_rarely() {
        let mut attempts = Attempts::default();
        let unbound = names(&["4-0050", "4-0051", "5-0050"]);
        let mut looked: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for second in (0..120).step_by(3) {
            for name in attempts.due(Mono::from_millis(second * 1_000), &unbound, |_| false) {
                looked.entry(name).or_default().push(second);
            }
        }
        assert_eq!(looked["5-0050"], [0, 3, 9, 21, 45, 93]);
        assert!(looked["4-0050"].len() >= 5 && looked["4-0051"].len() >= 4, "{looked:?}");
        assert!(looked["4-0051"].iter().all(|second| !looked["4-0050"].contains(second)));
    }

    #[test]
    fn what_was_bound_meanwhile_begins_anew_and_a_bus_that_hangs_is_left_alone() {
        let mut attempts = Attempts::default();
        let unbound = names(&["4-0050", "5-0050"]);
        let at = |second: u64| Mono::from_millis(second * 1_000);
        assert_eq!(attempts.due(at(0), &unbound, |_| false), unbound);
        assert_eq!(attempts.due(at(60), &unbound, |bus| bus == "4"), ["5-0050"]);
        assert_eq!(attempts.due(at(61), &unbound[..1], |_| false), ["4-0050"]);
        assert_eq!(attempts.due(at(62), &unbound, |_| false), ["5-0050"], "pulled and back");
    }

    #[test]
    fn what_was_put_in_is_looked_for_at_once() {
        let mut attempts = Attempts::default();
        let unbound = names(&["4-0050"]);
        let at = |second: u64| Mono::from_millis(second * 1_000);
        let looks = |attempts: &mut Attempts, from, to| {
            (from..to)
                .step_by(3)
                .filter(|second| !attempts.due(at(*second), &unbound, |_| false).is_empty())
                .count()
        };
        looks(&mut attempts, 0, 600);
        assert!(looks(&mut attempts, 600, 630) <= 1);
        attempts.anew();
        assert_eq!(looks(&mut attempts, 630, 640), 3, "and again soon, as a supply takes its time");
    }

    #[test]
    fn the_kernel_is_asked_beside_the_loop() {
        let sys = tempfile::tempdir().unwrap();
        let probe = sys.path().join("bus/i2c/drivers_probe");
        std::fs::create_dir_all(probe.parent().unwrap()).unwrap();
        // As a bus that hangs: whoever opens it to write waits until somebody reads.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &probe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let mut bindings = Bindings::default();
        let unbound = names(&["4-0051"]);
        bindings.tend(Mono::ZERO, &unbound, sys.path());
        bindings.tend(Mono::from_millis(60_000), &unbound, sys.path());
        assert_eq!(*bindings.busy.lock().unwrap(), ["4"], "one at a time");
        assert_eq!(std::fs::read_to_string(&probe).unwrap(), "4-0051");
    }
}
