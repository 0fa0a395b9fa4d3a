//! Memory that a load left behind is given back to the system: all daemons share a small machine.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked: three times, the longest that free pages stay after a load, is within a minute.
const EVERY: Duration = Duration::from_secs(15);
/// What may come to the resident memory without a cause to look for free pages, in KiB.
const SLACK: u64 = 1024;

/// When to give memory back.
#[derive(Debug, Default)]
pub struct Memory {
    due: Option<Instant>,
    /// Resident memory at its lowest, in KiB.
    floor: Option<u64>,
    /// As it was when pages were last given back.
    left: u64,
    /// Looks without a search for free pages since.
    passed: u32,
}

impl Memory {
    /// To be called now and then: most calls do nothing.
    pub fn tend(&mut self, now: Instant) {
        match self.due {
            None => self.due = Some(now + EVERY),
            Some(due) if now >= due => {
                self.due = Some(now + EVERY);
                if self.is_worth_it(resident()) {
                    hal_linux::memory::give_back();
                    self.given_back(resident());
                }
            }
            Some(_) => {}
        }
    }

    /// Whether free pages are to be looked for: when there is more than there once was. What is in use now may be free soon, and nothing
    /// tells when, so it is looked again, but every other time where nothing has come since.
    fn is_worth_it(&mut self, resident: u64) -> bool {
        // What the start left.
        let Some(floor) = self.floor else {
            self.floor = Some(resident);
            return true;
        };
        self.floor = Some(floor.min(resident));
        let more = |than: u64| resident > than.saturating_add(SLACK);
        let look = more(floor) && (more(self.left) || self.passed > 0);
        self.passed = if look || !more(floor) { 0 } else { self.passed + 1 };
        look
    }

    fn given_back(&mut self, resident: u64) {
        self.left = resident;
        self.floor = self.floor.map(|floor| floor.min(resident));
    }
}

/// What of this process is in memory, in KiB; 0 where it is not known.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_free_pages_after_growth_and_until_they_are_found() {
        let mut memory = Memory::default();
        assert!(memory.is_worth_it(12_000), "what the start left");
        memory.given_back(10_000);
        assert!(!memory.is_worth_it(10_000 + SLACK));
        assert!(memory.is_worth_it(30_000));
        // A load goes on: nothing is free. Then it ends, and no number says so.
        memory.given_back(30_000);
        let looks: Vec<bool> = (0..4).map(|_| memory.is_worth_it(30_000)).collect();
        assert_eq!(looks, [false, true, false, true]);
        memory.given_back(10_500);
        assert!((0..4).all(|_| !memory.is_worth_it(10_500)));
        assert!(!memory.is_worth_it(5_000), "it shrank by itself");
        assert!(memory.is_worth_it(5_001 + SLACK) || memory.is_worth_it(5_001 + SLACK));
    }

    #[test]
    fn what_a_load_left_is_given_back() {
        let start = Instant::now();
        let mut memory = Memory::default();
        memory.tend(start);
        // Small pieces with one that stays above each hundred: the allocator cannot shorten its heap by itself.
        let mut pieces: Vec<Option<Vec<u8>>> = (0..40_000).map(|_| Some(vec![1; 1000])).collect();
        let loaded = resident();
        pieces.iter_mut().enumerate().filter(|(at, _)| at % 100 != 0).for_each(|(_, piece)| *piece = None);
        memory.tend(start + EVERY);
        let after = resident();
        assert!(loaded > 39_000 && after < loaded - 20_000, "{loaded} KiB, then {after}");
        assert_eq!(pieces.iter().flatten().count(), 400);
    }
}
