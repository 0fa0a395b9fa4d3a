//! Memory that a load left behind is given back to the system: all daemons share a small machine.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(20);
/// What may come to the resident memory without a cause to look for free pages, in KiB.
const SLACK: u64 = 1024;

/// When to give memory back.
#[derive(Debug, Default)]
pub struct Memory {
    due: Option<Instant>,
    /// Resident memory as it was at the lowest since pages were given back, in KiB.
    floor: u64,
}

impl Memory {
    /// To be called now and then: most calls do nothing.
    pub fn tend(&mut self, now: Instant) {
        match self.due {
            None => self.due = Some(now + EVERY),
            Some(due) if now >= due => {
                self.due = Some(now + EVERY);
                if self.has_grown(resident()) {
                    hal_linux::memory::give_back();
                    self.floor = resident();
                }
            }
            Some(_) => {}
        }
    }

    fn has_grown(&mut self, resident: u64) -> bool {
        let grown = resident > self.floor.saturating_add(SLACK);
        self.floor = self.floor.min(resident);
        grown
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
    fn it_is_looked_for_free_pages_after_growth_only() {
        let mut memory = Memory { due: None, floor: 10_000 };
        assert!(!memory.has_grown(10_000 + SLACK));
        assert!(memory.has_grown(10_001 + SLACK));
        assert!(!memory.has_grown(5_000), "it shrank by itself");
        assert!(memory.has_grown(5_001 + SLACK));
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
