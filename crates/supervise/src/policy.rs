//! The numbers, and where they come from.

use units::Millis;

/// How patient the supervisor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// First delay before a restart. A killed powermgr may have been holding a button: at 50 ms and 0.1 s to start it is back well within
    /// the 0.2 s that tell a short press from a long one on the strictest boards.
    pub delay_first: Millis,
    /// Longest delay before a restart of a daemon that is not degraded.
    pub delay_max: Millis,
    /// Served this long, a start counts as good: the next delay is the first one again.
    pub stable: Millis,
    /// So many starts in a row that never became stable are a crash loop. With delays of 50, 100 … 1600 ms that is 3 s of trying.
    pub loop_starts: u32,
    /// More than this many endings within `wear_window` are a crash loop too, however long each start served: once per
    /// 10 s on average is not service.
    pub wear_endings: usize,
    /// See `wear_endings`.
    pub wear_window: Millis,
    /// Delay between tries of a degraded daemon: 2 a minute cost nothing and end the outage within half a minute of its cause.
    pub delay_degraded: Millis,
    /// A degraded daemon that served this long is healthy again.
    pub recovered: Millis,
    /// A start that is not ready after this long is ended. The slowest part we run on starts a daemon in 2 s; 60 s leaves room for key
    /// generation without entropy and a worn flash.
    pub ready_within: Millis,
    /// One that is neither ready nor given up this long after its first start holds up nobody any more: a daemon that waits in vain for what it
    /// needs, as a bucket that cannot be made, is degraded only after six starts of 10 s, and the way in waits for it. Five times what the slowest part
    /// takes.
    pub settle_within: Millis,
    /// Delay before the first try of a daemon that refused its configuration, doubled up to `delay_refused_max`: what it refused is
    /// most often a mistake that stays, so it costs little; but a device or a file that comes late ends the outage.
    pub delay_refused: Millis,
    /// See `delay_refused`.
    pub delay_refused_max: Millis,
    /// A ready daemon that is silent for this long is killed, unless its [`Spec`](crate::Spec) says otherwise: four beats of 5 s.
    pub heartbeat_within: Millis,
    /// So much of a silence is forgiven at most because the daemon waited for a processor. A loop that spins on a busy machine waits
    /// for one too, and must not be forgiven for ever.
    pub starved_at_most: Millis,
    /// A daemon has this long to end after SIGTERM.
    pub stop_within: Millis,
    /// All daemons together have this long to end; the operator promises 5 s.
    pub stop_all_within: Millis,
    /// A critical daemon may be away this long before the watchdog is starved: four tries of a degraded daemon.
    pub starve_after: Millis,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            delay_first: Millis::new(50),
            delay_max: Millis::from_secs(10),
            stable: Millis::from_secs(1),
            loop_starts: 6,
            wear_endings: 60,
            wear_window: Millis::from_secs(600),
            delay_degraded: Millis::from_secs(30),
            recovered: Millis::from_secs(60),
            ready_within: Millis::from_secs(60),
            settle_within: Millis::from_secs(10),
            delay_refused: Millis::from_secs(15),
            delay_refused_max: Millis::from_secs(600),
            heartbeat_within: Millis::from_secs(20),
            starved_at_most: Millis::from_secs(16),
            stop_within: Millis::from_secs(2),
            stop_all_within: Millis::new(4500),
            starve_after: Millis::from_secs(120),
        }
    }
}

impl Policy {
    /// Delay before restart number `attempt` (0 is the first after a good start): doubled each time, then moved by at most a quarter so that
    /// daemons that died together do not start together for ever.
    pub fn delay(&self, attempt: u32, random: u32) -> Millis {
        let doubled = self.delay_first.saturating_mul(1u64.checked_shl(attempt.min(63)).unwrap_or(u64::MAX));
        jitter(doubled.min(self.delay_max), random)
    }

    /// Delay before the next try of a daemon that has refused its configuration `refusals` times before.
    pub fn refused_delay(&self, refusals: u32, random: u32) -> Millis {
        let doubled =
            self.delay_refused.saturating_mul(1u64.checked_shl(refusals.min(63)).unwrap_or(u64::MAX));
        jitter(doubled.min(self.delay_refused_max), random)
    }

    /// Delay before the next try of a degraded daemon.
    pub fn slow_delay(&self, random: u32) -> Millis {
        jitter(self.delay_degraded, random)
    }
}

/// Three quarters of `span` to five quarters, as `random` says.
fn jitter(span: Millis, random: u32) -> Millis {
    let half = u128::from(span.get() / 2);
    let part = half * u128::from(random) / u128::from(u32::MAX);
    let moved = u128::from(span.get()) - u128::from(span.get() / 4) + part;
    Millis::new(u64::try_from(moved).unwrap_or(u64::MAX))
}
