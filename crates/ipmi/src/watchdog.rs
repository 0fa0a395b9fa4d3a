//! The watchdog timer (§27): it is set, started by each reset of it, and does what it was told to when nobody resets it in time.
//!
//! ```text
//!            Set                 Reset                    pre-timeout            deadline
//!  not set ───────► stopped ─────────────► running ──────► Interrupt ┄ running ──────► Expire, stopped
//!                      ▲   ◄── Set (without "don't stop"), machine off or restarted ──┘
//! ```

use units::{Millis, Mono};

use crate::bytes::Bytes;
use crate::completion::Completion;

/// A count of the timer (table 27-3).
const COUNT_MS: u64 = 100;
/// Uses there are: BIOS FRB2, BIOS/POST, OS load, SMS/OS, OEM.
const USES: std::ops::RangeInclusive<u8> = 1..=5;
/// Bits of the flags of uses that have expired.
const FLAGS: u8 = 0x3e;
/// What is asked of it needs one that was set (table 27-5).
const NEVER_SET: Completion = Completion(0x80);

/// What happens to the machine at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing: it is told.
    Tell,
    /// Hard reset.
    Reset,
    /// Power off.
    PowerDown,
    /// Power off, and on again.
    PowerCycle,
}

/// What the timer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The interrupt before the end: a non-maskable one.
    Interrupt,
    /// The end; whether it is to be logged.
    Expired {
        /// What happens to the machine.
        timeout: Timeout,
        /// Unless it was set not to be.
        is_logged: bool,
        /// The use that has expired, 1 to 5 (table 27-2).
        timer_use: u8,
    },
}

/// A timer that somebody has set, for who is told of it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The use, 1 to 5 (table 27-2).
    pub timer_use: u8,
    /// What happens at its end.
    pub timeout: Timeout,
    /// A non-maskable interrupt comes before its end.
    pub interrupts: bool,
    /// How long before its end that is.
    pub pretimeout: Millis,
    /// What it counts down from.
    pub whole: Millis,
    /// What is left of that.
    pub left: Millis,
    /// It counts down.
    pub is_running: bool,
}

/// How it was set.
#[derive(Clone, Copy, Debug)]
struct Settings {
    is_logged: bool,
    timer_use: u8,
    /// As they came: the interrupt, and what happens.
    actions: u8,
    interrupts: bool,
    timeout: Timeout,
    /// Seconds before the end.
    pretimeout: u8,
    counts: u16,
}

impl Settings {
    fn parse(data: &[u8]) -> Result<(Self, bool, u8), Completion> {
        let mut bytes = Bytes::new(data);
        let ([first, actions, pretimeout, clear], counts) =
            (bytes.array().ok_or(Completion::LENGTH)?, bytes.u16().ok_or(Completion::LENGTH)?);
        let timer_use = first & 0x07;
        let timeout = match actions & 0x07 {
            0 => Timeout::Tell,
            1 => Timeout::Reset,
            2 => Timeout::PowerDown,
            3 => Timeout::PowerCycle,
            _ => return Err(Completion::INVALID_FIELD),
        };
        // The machine has no other interrupt for it than the non-maskable one.
        let interrupts = match actions >> 4 & 0x07 {
            0 => false,
            2 => true,
            _ => return Err(Completion::INVALID_FIELD),
        };
        let whole = u64::from(counts) * COUNT_MS;
        if !USES.contains(&timer_use) || interrupts && u64::from(pretimeout) * 1000 > whole {
            return Err(Completion::INVALID_FIELD);
        }
        let settings = Self {
            is_logged: first & 0x80 == 0,
            timer_use,
            actions: actions & 0x77,
            interrupts,
            timeout,
            pretimeout,
            counts,
        };
        Ok((settings, first & 0x40 != 0, clear & FLAGS))
    }

    fn whole(&self) -> Millis {
        Millis::new(u64::from(self.counts) * COUNT_MS)
    }
}

/// Until when it runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    end: Mono,
    /// When the interrupt is due, while it is.
    interrupt: Option<Mono>,
}

/// The timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watchdog {
    settings: Option<Settings>,
    running: Option<Running>,
    /// What is left of the count where it was stopped.
    left: Millis,
    expired: u8,
    /// A user does not let it run.
    is_forbidden: bool,
}

impl Watchdog {
    /// §27.6: stops it, unless it runs and is to go on: then it counts from the new beginning.
    ///
    /// # Errors
    /// [`Completion::INVALID_FIELD`] for what there is not; nothing changes then.
    pub fn set(&mut self, now: Mono, data: &[u8]) -> Result<(), Completion> {
        let (settings, goes_on, clear) = Settings::parse(data)?;
        self.expired &= !clear;
        self.settings = Some(settings);
        self.left = settings.whole();
        if goes_on && self.running.is_some() {
            self.start(now, settings);
        } else {
            self.running = None;
        }
        Ok(())
    }

    /// §27.5: counts from the beginning.
    ///
    /// # Errors
    /// 80h before it was ever set; [`Completion::STATE`] while a user does not let it run ([`Watchdog::allow`]).
    pub fn reset(&mut self, now: Mono) -> Result<(), Completion> {
        let settings = self.settings.ok_or(NEVER_SET)?;
        if self.is_forbidden {
            return Err(Completion::STATE);
        }
        self.start(now, settings);
        Ok(())
    }

    fn start(&mut self, now: Mono, settings: Settings) {
        let end = now.saturating_add(settings.whole());
        let before = settings.whole().get().saturating_sub(u64::from(settings.pretimeout) * 1000);
        let interrupt = settings.interrupts.then(|| now.saturating_add(Millis::new(before)));
        self.running = Some(Running { end, interrupt });
    }

    /// §27.7: how it is set, and what is left.
    #[must_use]
    pub fn get(&self, now: Mono) -> [u8; 8] {
        let Some(settings) = self.settings else { return [0; 8] };
        let left = self.running.map_or(self.left, |running| now.until(running.end));
        let left = u16::try_from(left.get().div_ceil(COUNT_MS)).unwrap_or(u16::MAX).to_le_bytes();
        let whole = settings.counts.to_le_bytes();
        let first =
            u8::from(!settings.is_logged) << 7 | u8::from(self.running.is_some()) << 6 | settings.timer_use;
        let ([whole_low, whole_high], [low, high]) = (whole, left);
        [first, settings.actions, settings.pretimeout, self.expired, whole_low, whole_high, low, high]
    }

    /// Lets it run from its next reset on, or stops it and lets it run no more; all else stays as it is set.
    pub fn allow(&mut self, now: Mono, is_allowed: bool) {
        self.is_forbidden = !is_allowed;
        if !is_allowed {
            self.stop(now);
        }
    }

    /// Whether it may run.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        !self.is_forbidden
    }

    /// Changes what happens at the end, also of one that runs, whose end stays when it is.
    ///
    /// # Errors
    /// 80h before it was ever set; nothing changes then.
    pub fn set_timeout(&mut self, timeout: Timeout) -> Result<(), Completion> {
        let settings = self.settings.as_mut().ok_or(NEVER_SET)?;
        let number = match timeout {
            Timeout::Tell => 0,
            Timeout::Reset => 1,
            Timeout::PowerDown => 2,
            Timeout::PowerCycle => 3,
        };
        settings.timeout = timeout;
        settings.actions = settings.actions & 0x70 | number;
        Ok(())
    }

    /// How it is; `None` before it was ever set.
    #[must_use]
    pub fn shown(&self, now: Mono) -> Option<Shown> {
        let settings = self.settings.as_ref()?;
        Some(Shown {
            timer_use: settings.timer_use,
            timeout: settings.timeout,
            interrupts: settings.interrupts,
            pretimeout: Millis::from_secs(settings.pretimeout.into()),
            whole: settings.whole(),
            left: self.running.map_or(self.left, |running| now.until(running.end)),
            is_running: self.running.is_some(),
        })
    }

    /// The uses that have expired, 1 to 5.
    pub fn expired(&self) -> impl Iterator<Item = u8> + use<> {
        let expired = self.expired;
        USES.filter(move |timer_use| expired & 1 << timer_use != 0)
    }

    /// How it is set, and which uses have expired, for [`Watchdog::restored`]; `None` before it was ever set. Whether it runs is not in it.
    #[must_use]
    pub fn saved(&self) -> Option<[u8; 6]> {
        let settings = self.settings.as_ref()?;
        let [low, high] = settings.counts.to_le_bytes();
        let first = u8::from(!settings.is_logged) << 7 | settings.timer_use;
        Some([first, settings.actions, settings.pretimeout, self.expired, low, high])
    }

    /// One that was set so, and is stopped; `None` for what nobody can have set.
    #[must_use]
    pub fn restored(saved: [u8; 6]) -> Option<Self> {
        let [first, actions, pretimeout, expired, low, high] = saved;
        let (settings, ..) = Settings::parse(&[first, actions, pretimeout, 0, low, high]).ok()?;
        let left = settings.whole();
        let expired = expired & FLAGS;
        Some(Self { settings: Some(settings), running: None, left, expired, is_forbidden: false })
    }

    /// The machine was switched off or restarted: whoever would have reset it is gone (§27.1).
    pub fn stop(&mut self, now: Mono) {
        if let Some(running) = self.running.take() {
            self.left = now.until(running.end);
        }
    }

    /// When [`Watchdog::tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.running.map(|running| running.interrupt.unwrap_or(running.end).min(running.end))
    }

    /// What is due now, one at a time.
    pub fn tick(&mut self, now: Mono) -> Option<Due> {
        let (settings, running) = (self.settings?, self.running.as_mut()?);
        if now >= running.end {
            self.running = None;
            self.left = Millis::ZERO;
            self.expired |= 1 << settings.timer_use;
            return Some(Due::Expired {
                timeout: settings.timeout,
                is_logged: settings.is_logged,
                timer_use: settings.timer_use,
            });
        }
        if running.interrupt.is_some_and(|at| now >= at) {
            running.interrupt = None;
            return Some(Due::Interrupt);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SMS/OS, hard reset, no interrupt, 10 s.
    const SET: [u8; 6] = [0x04, 0x01, 0, 0, 100, 0];

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn it_is_set_started_by_a_reset_and_expires_once() {
        let mut timer = Watchdog::default();
        assert_eq!(timer.reset(at(0)), Err(Completion(0x80)), "never set");
        timer.set(at(0), &SET).unwrap();
        assert_eq!(timer.get(at(5_000)), [0x04, 0x01, 0, 0, 100, 0, 100, 0], "set, and not running");
        assert_eq!(timer.deadline(), None);
        timer.reset(at(5_000)).unwrap();
        assert_eq!(timer.get(at(8_050)), [0x44, 0x01, 0, 0, 100, 0, 70, 0]);
        timer.reset(at(9_000)).unwrap();
        assert_eq!((timer.deadline(), timer.tick(at(18_999))), (Some(at(19_000)), None));
        let due = Due::Expired { timeout: Timeout::Reset, is_logged: true, timer_use: 4 };
        assert_eq!(timer.tick(at(19_000)), Some(due));
        assert_eq!((timer.deadline(), timer.tick(at(99_000))), (None, None));
        assert_eq!(timer.get(at(99_000)), [0x04, 0x01, 0, 0x10, 100, 0, 0, 0]);
        // The flag stays until it is cleared.
        timer.set(at(99_000), &[0x05, 0, 0, 0x20, 1, 0]).unwrap();
        assert_eq!(timer.get(at(99_000))[3], 0x10);
        timer.set(at(99_000), &[0x05, 0, 0, 0x10, 1, 0]).unwrap();
        assert_eq!(timer.get(at(99_000))[3], 0);
    }

    #[test]
    fn an_interrupt_comes_before_the_end_once() {
        let mut timer = Watchdog::default();
        timer.set(at(0), &[0x83, 0x23, 4, 0, 100, 0]).unwrap();
        timer.reset(at(0)).unwrap();
        assert_eq!((timer.deadline(), timer.tick(at(5_999))), (Some(at(6_000)), None));
        assert_eq!((timer.tick(at(6_000)), timer.tick(at(6_000))), (Some(Due::Interrupt), None));
        let due = Due::Expired { timeout: Timeout::PowerCycle, is_logged: false, timer_use: 3 };
        assert_eq!(timer.tick(at(10_000)), Some(due));
    }

    #[test]
    fn one_that_was_saved_is_set_as_it_was_and_is_stopped() {
        let mut timer = Watchdog::default();
        assert_eq!(timer.saved(), None);
        timer.set(at(0), &[0x83, 0x23, 4, 0, 100, 0]).unwrap();
        timer.reset(at(0)).unwrap();
        while timer.tick(at(10_000)).is_some() {}
        timer.reset(at(10_000)).unwrap();
        let mut other = Watchdog::restored(timer.saved().unwrap()).unwrap();
        assert_eq!((other.deadline(), other.get(at(0))), (None, [0x83, 0x23, 4, 0x08, 100, 0, 100, 0]));
        other.reset(at(0)).unwrap();
        assert_eq!((other.deadline(), other.saved()), (Some(at(6_000)), timer.saved()));
        assert!(Watchdog::restored([0; 6]).is_none());
    }

    #[test]
    fn a_set_stops_it_unless_it_is_to_go_on() {
        let mut timer = Watchdog::default();
        timer.set(at(0), &SET).unwrap();
        timer.reset(at(0)).unwrap();
        timer.set(at(4_000), &[0x44, 0x02, 0, 0, 200, 0]).unwrap();
        assert_eq!(timer.deadline(), Some(at(24_000)), "from the new beginning");
        timer.set(at(5_000), &SET).unwrap();
        assert_eq!(timer.deadline(), None);
        timer.set(at(5_000), &[0x44, 0x02, 0, 0, 200, 0]).unwrap();
        assert_eq!(timer.deadline(), None, "it did not run");
        timer.reset(at(5_000)).unwrap();
        timer.stop(at(6_000));
        assert_eq!((timer.deadline(), timer.get(at(9_000))[6]), (None, 190));
    }

    #[test]
    fn one_that_may_not_run_stops_and_is_not_started_until_it_may() {
        let mut timer = Watchdog::default();
        timer.allow(at(0), false);
        assert_eq!(timer.reset(at(0)), Err(Completion(0x80)), "never set");
        timer.set(at(0), &SET).unwrap();
        assert_eq!((timer.reset(at(0)), timer.deadline()), (Err(Completion::STATE), None));
        timer.allow(at(0), true);
        assert_eq!(timer.deadline(), None, "whoever is alive starts it");
        timer.reset(at(1_000)).unwrap();
        timer.allow(at(4_000), false);
        assert_eq!((timer.deadline(), timer.tick(at(99_000)), timer.is_allowed()), (None, None, false));
        assert_eq!(timer.get(at(99_000)), [0x04, 0x01, 0, 0, 100, 0, 70, 0], "what was left");
        // A Set that is to go on has nothing that goes on.
        timer.set(at(99_000), &[0x44, 0x02, 0, 0, 200, 0]).unwrap();
        assert_eq!((timer.deadline(), timer.is_allowed()), (None, false));
        timer.allow(at(99_000), true);
        timer.reset(at(99_000)).unwrap();
        assert_eq!(timer.deadline(), Some(at(119_000)));
    }

    #[test]
    fn what_happens_at_the_end_is_changed_while_it_runs() {
        let mut timer = Watchdog::default();
        assert_eq!(timer.set_timeout(Timeout::Reset), Err(Completion(0x80)));
        assert_eq!((timer.shown(at(0)), timer.saved()), (None, None));
        timer.set(at(0), &[0x83, 0x23, 4, 0, 100, 0]).unwrap();
        timer.reset(at(0)).unwrap();
        for (timeout, actions) in [
            (Timeout::Tell, 0x20),
            (Timeout::PowerDown, 0x22),
            (Timeout::PowerCycle, 0x23),
            (Timeout::Reset, 0x21),
        ] {
            timer.set_timeout(timeout).unwrap();
            assert_eq!((timer.get(at(0))[1], timer.deadline()), (actions, Some(at(6_000))));
            assert_eq!(Watchdog::restored(timer.saved().unwrap()).unwrap().get(at(0))[1], actions);
        }
        let shown = Shown {
            timer_use: 3,
            timeout: Timeout::Reset,
            interrupts: true,
            pretimeout: Millis::from_secs(4),
            whole: Millis::from_secs(10),
            left: Millis::from_secs(7),
            is_running: true,
        };
        assert_eq!(timer.shown(at(3_000)), Some(shown));
        assert_eq!(timer.tick(at(6_000)), Some(Due::Interrupt));
        let due = Due::Expired { timeout: Timeout::Reset, is_logged: false, timer_use: 3 };
        assert_eq!((timer.expired().count(), timer.tick(at(10_000))), (0, Some(due)));
        assert_eq!(timer.expired().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn what_there_is_not_is_refused_and_changes_nothing() {
        let mut timer = Watchdog::default();
        timer.set(at(0), &SET).unwrap();
        timer.reset(at(0)).unwrap();
        let before = timer.get(at(1_000));
        for bad in [
            [0x00, 0x01, 0, 0, 9, 0],
            [0x06, 0x01, 0, 0, 9, 0],
            [0x04, 0x04, 0, 0, 9, 0],
            [0x04, 0x11, 0, 0, 9, 0],
            [0x04, 0x31, 0, 0, 9, 0],
            // An interrupt before the beginning.
            [0x04, 0x21, 2, 0x3e, 9, 0],
        ] {
            assert_eq!(timer.set(at(1_000), &bad), Err(Completion::INVALID_FIELD), "{bad:02x?}");
            assert_eq!(timer.get(at(1_000)), before);
        }
    }

    proptest! {
        #[test]
        fn it_expires_once_and_never_early(
            (timer_use, timeout, interrupts, pretimeout, counts) in (1..=5_u8, 0..=3_u8, any::<bool>(), 0..=9_u8, 90..2000_u16),
            steps in proptest::collection::vec((0..20_000_u64, any::<bool>()), 1..40),
        ) {
            let mut timer = Watchdog::default();
            let [low, high] = counts.to_le_bytes();
            let actions = timeout | u8::from(interrupts) << 5;
            timer.set(at(0), &[timer_use, actions, pretimeout, 0, low, high]).unwrap();
            let whole = u64::from(counts) * 100;
            let (mut now, mut started) = (0, None);
            for (step, resets) in steps {
                now += step;
                while let Some(due) = timer.tick(at(now)) {
                    let since = now - started.unwrap();
                    if matches!(due, Due::Expired { .. }) {
                        prop_assert!(since >= whole);
                        started = None;
                    }
                }
                prop_assert_eq!(timer.deadline().is_some(), started.is_some());
                if resets {
                    timer.reset(at(now)).unwrap();
                    started = Some(now);
                }
            }
        }
    }
}
