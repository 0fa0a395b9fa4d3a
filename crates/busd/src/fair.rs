//! Who is next at the stream thread, without a clock: a line per user, the one served least goes first, and nobody takes more than its
//! share of the time.
//!
//! ```text
//!   push(user, bytes) ──► line of the user ──► pop: of those within their share the one that was served least
//!                 ◄── refused: its line is as long as what is free
//!   charge(line, cost), pass(time): what was taken, and what is given back
//! ```
//!
//! Within a line the order is that of arrival. A line that was empty begins where the others are: who was silent has saved nothing up.
//! With one user there is nothing to share, and the line is as it would be without this.

use std::collections::VecDeque;
use std::time::Duration;

/// What one may take at once.
const SHARE: Duration = Duration::from_millis(1);
/// In the long run it may take one part in so many of the time: on a single processor the daemons that answer, and who waits for their
/// answers, need theirs, too.
const PARTS: u32 = 4;
/// The most that is held against a line.
const OWED: Duration = Duration::from_millis(50);
/// What a message costs at least, so that each moves its line on.
const LEAST: Duration = Duration::from_micros(1);

/// Time that was taken and is given back at a fraction of the speed at which time passes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Share(Duration);

impl Share {
    pub(super) fn charge(&mut self, cost: Duration, owed: Duration) {
        self.0 = (self.0 + cost).min(owed);
    }

    pub(super) fn pass(&mut self, passed: Duration) {
        self.0 = self.0.saturating_sub(passed / PARTS);
    }

    /// How long until something may be taken again; zero: now.
    pub(super) fn wait(self) -> Duration {
        if self.0 < SHARE { Duration::ZERO } else { (self.0 - SHARE) * PARTS + LEAST * PARTS }
    }
}

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<(usize, T)>,
    bytes: usize,
    /// All it has ever been charged, or what those had that were served when it came back.
    served: Duration,
    share: Share,
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, served: Duration::ZERO, share: Share::default() }
    }
}

/// The lines of all users, and one for what comes from inside.
#[derive(Debug)]
pub(super) struct Fair<T> {
    lines: Vec<Line<T>>,
    /// Bytes that may wait in all lines together.
    room: usize,
    bytes: usize,
    /// What the line served last had been charged before.
    front: Duration,
    looked: Option<Duration>,
    shared: bool,
}

impl<T> Fair<T> {
    /// For so many users, and `room` bytes of all of them.
    pub(super) fn new(users: usize, room: usize) -> Self {
        let shared = users > 1;
        let lines = if shared { users + 1 } else { 1 };
        Self {
            lines: (0..lines).map(|_| Line::new()).collect(),
            room,
            bytes: 0,
            front: Duration::ZERO,
            looked: None,
            shared,
        }
    }

    /// Whether there is more than one to share with.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn line_of(&self, user: Option<usize>) -> usize {
        let last = self.lines.len() - 1;
        user.map_or(last, |user| user.min(last))
    }

    /// Whether something of this user waits.
    pub(super) fn holds(&self, user: Option<usize>) -> bool {
        self.lines.get(self.line_of(user)).is_some_and(|line| !line.waiting.is_empty())
    }

    /// Takes `item` in, unless there is no room: a user may hold as much as is left to the others. `first` (acknowledgements) may take
    /// all there is.
    pub(super) fn push(&mut self, user: Option<usize>, bytes: usize, first: bool, item: T) -> Result<(), T> {
        let at = self.line_of(user);
        let (shared, front) = (self.shared && !first, self.front);
        let Some(line) = self.lines.get_mut(at) else { return Err(item) };
        let free = self.room.saturating_sub(self.bytes);
        if bytes > free || shared && line.bytes + bytes > free {
            return Err(item);
        }
        if line.waiting.is_empty() {
            line.served = line.served.max(front);
        }
        line.waiting.push_back((bytes, item));
        line.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// The next messages, at most `most` and all of one line, which is to be charged for them. `all`: shares do not count.
    pub(super) fn pop(&mut self, most: usize, all: bool) -> Option<(usize, Vec<(usize, T)>)> {
        let may = |line: &Line<T>| !line.waiting.is_empty() && (all || line.share.wait().is_zero());
        let ready = self.lines.iter_mut().enumerate().filter(|(_, line)| may(line));
        let (at, line) = ready.min_by_key(|(_, line)| line.served)?;
        let taken: Vec<_> = line.waiting.drain(..most.min(line.waiting.len())).collect();
        let bytes: usize = taken.iter().map(|(bytes, _)| bytes).sum();
        line.bytes -= bytes;
        self.bytes -= bytes;
        self.front = line.served;
        // What a flood took is given back.
        if line.waiting.is_empty() && line.waiting.capacity() > 1024 {
            line.waiting = VecDeque::new();
        }
        Some((at, taken))
    }

    /// What was popped and not handled goes back to where it was.
    pub(super) fn put_back(&mut self, at: usize, items: impl DoubleEndedIterator<Item = (usize, T)>) {
        let Some(line) = self.lines.get_mut(at) else { return };
        for (bytes, item) in items.rev() {
            line.waiting.push_front((bytes, item));
            line.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// What handling a line's messages took.
    pub(super) fn charge(&mut self, at: usize, cost: Duration) {
        if !self.shared {
            return;
        }
        if let Some(line) = self.lines.get_mut(at) {
            let cost = cost.max(LEAST);
            line.served += cost;
            line.share.charge(cost, OWED);
        }
    }

    /// The time now, of a monotonic clock: shares come back.
    pub(super) fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.looked.replace(now).unwrap_or(now));
        self.lines.iter_mut().for_each(|line| line.share.pass(passed));
    }

    /// How long until something can be popped; zero: now.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.lines.iter().filter(|line| !line.waiting.is_empty()).map(|line| line.share.wait()).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_flood_waits_behind_its_own_messages_only() {
        let mut fair = Fair::new(3, 1000);
        for n in 0..400 {
            let _ = fair.push(Some(0), 1, false, (0, n));
        }
        let (line, taken) = fair.pop(8, false).expect("the flood");
        assert_eq!((line, taken.len()), (0, 8));
        fair.charge(0, MS / 2);
        fair.push(Some(1), 1, false, (1, 0)).expect("room for another");
        assert_eq!(fair.pop(8, false).map(|(line, _)| line), Some(1), "who was served least is next");
        fair.charge(1, MS / 10);
        assert_eq!(fair.pop(8, false).map(|(line, _)| line), Some(0));
        fair.charge(0, MS * 3);
        assert_eq!(fair.pop(8, false), None, "it has had its share");
        let wait = fair.wait().expect("it waits");
        assert!(wait > MS * 4, "{wait:?}");
        fair.pass(MS);
        fair.pass(MS + wait);
        assert_eq!(fair.wait(), Some(Duration::ZERO));
        assert_eq!(fair.pop(8, false).map(|(line, _)| line), Some(0));
        assert!(fair.pop(usize::MAX, true).is_some(), "at the end nothing stays");
    }

    #[test]
    fn there_is_always_room_for_another_user_and_for_acknowledgements() {
        let mut fair = Fair::new(2, 1024);
        let taken = (0..2000).filter(|n| fair.push(Some(0), 1, false, *n).is_ok()).count();
        assert_eq!(taken, 512, "half of what there is");
        assert_eq!(fair.push(Some(1), 200, false, 1), Ok(()));
        assert_eq!(fair.push(None, 100, false, 1), Ok(()));
        assert_eq!(fair.push(Some(0), 1, false, 1), Err(1));
        assert_eq!(fair.push(Some(0), 1, true, 1), Ok(()));
        assert_eq!(fair.bytes(), 813);
    }

    #[test]
    fn one_user_has_all_the_room_and_all_the_time() {
        let mut fair = Fair::new(1, 100);
        assert_eq!((0..200).filter(|n| fair.push(Some(0), 1, false, *n).is_ok()).count(), 100);
        fair.charge(0, MS * 1000);
        assert_eq!(fair.wait(), Some(Duration::ZERO));
        assert_eq!(fair.pop(200, false).map(|(_, taken)| taken.len()), Some(100));
        assert_eq!((fair.bytes(), fair.wait()), (0, None));
    }

    proptest! {
        /// Whatever comes: each user's order is kept, nothing is lost or made up, the bound holds, and of two that always have something
        /// waiting neither gets ahead of the other by more than one batch and what is held against it at most.
        #[test]
        fn order_bounds_and_shares_hold(steps in prop::collection::vec((0usize..4, 1usize..60, 0u64..3000, any::<bool>()), 1..300)) {
            let mut fair = Fair::new(3, 2000);
            let mut sent = [0u32; 4];
            let mut got = [0u32; 4];
            let mut clock = Duration::ZERO;
            for (user, bytes, micros, back) in steps {
                let who = (user < 3).then_some(user);
                if fair.push(who, bytes, false, sent[user]).is_ok() {
                    sent[user] += 1;
                }
                prop_assert!(fair.bytes() <= 2000);
                clock += Duration::from_micros(micros);
                fair.pass(clock);
                if micros % 3 == 0 && let Some((line, mut taken)) = fair.pop(4, false) {
                    let rest = if back { taken.split_off(1) } else { Vec::new() };
                    for (_, n) in taken {
                        prop_assert_eq!(n, got[line]);
                        got[line] += 1;
                    }
                    fair.put_back(line, rest.into_iter());
                    fair.charge(line, Duration::from_micros(micros));
                }
            }
            while let Some((line, taken)) = fair.pop(7, true) {
                for (_, n) in taken {
                    prop_assert_eq!(n, got[line]);
                    got[line] += 1;
                }
            }
            prop_assert_eq!(sent, got);
            prop_assert_eq!(fair.bytes(), 0);
        }

        /// Two floods of messages that cost differently get the same time.
        #[test]
        fn what_is_shared_is_time_and_not_messages(one in 1u64..200, other in 1u64..200) {
            let mut fair = Fair::new(2, 1_000_000);
            let mut clock = Duration::ZERO;
            let cost = [Duration::from_micros(one), Duration::from_micros(other)];
            let mut took = [Duration::ZERO; 2];
            for n in 0..2000 {
                while !fair.holds(Some(0)) || !fair.holds(Some(1)) {
                    let _ = fair.push(Some(0), 1, false, n);
                    let _ = fair.push(Some(1), 1, false, n);
                }
                fair.pass(clock);
                if let Some((line, _)) = fair.pop(1, false) {
                    fair.charge(line, cost[line]);
                    took[line] += cost[line];
                    clock += cost[line];
                } else {
                    clock += fair.wait().unwrap_or_default();
                }
            }
            let apart = took[0].abs_diff(took[1]);
            prop_assert!(apart <= MS * 2, "{took:?}");
        }
    }
}
