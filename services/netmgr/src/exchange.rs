//! One exchange of a DHCP client with its servers: the number that tells its messages from others, the time since it began, and when to send again. What
//! DHCPv4 (RFC 2131, 4.1) and DHCPv6 (RFC 8415, 15) have in common: waits that double up to a most, spread by chance, and an end by count or time.

use units::{Millis, Mono};

use crate::jitter::Jitter;

/// How far a wait may be from its middle, so that a rack that lost its server does not ask in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One second to either side (RFC 2131, 4.1).
    Second,
    /// A tenth of the wait before to either side (RFC 8415, 15).
    Tenth,
    /// The same, but the first wait is never shorter than its middle: a Solicit (RFC 8415, 18.2.1).
    TenthLater,
}

/// How often a message is sent again, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The wait after the first message: IRT.
    pub(crate) first: Millis,
    /// The longest wait: MRT.
    pub(crate) most: Millis,
    /// Messages after which the exchange has failed, zero for no such end: MRC.
    pub(crate) count: u32,
    /// Time after which it has failed, zero for no such end: MRD.
    pub(crate) within: Millis,
    pub(crate) spread: Spread,
}

/// After a link came back, the least time since the last message: a link that flaps makes no storm (RFC 8415, 14.1).
const QUIET: Millis = Millis::from_secs(1);

/// An exchange.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// What an answer must carry.
    xid: u32,
    /// Bits of such a number.
    bits: u32,
    sent: u32,
    /// When the first message of it went out, and the last one of any.
    began: Mono,
    last: Option<Mono>,
    /// The wait after the last message: RT.
    wait: Millis,
    /// When there is something to do.
    next: Option<Mono>,
}

impl Exchange {
    /// None yet. `bits`: how long its numbers are.
    pub(crate) fn none(bits: u32) -> Self {
        Self { xid: 0, bits, sent: 0, began: Mono::ZERO, last: None, wait: Millis::ZERO, next: None }
    }

    /// Begins one after `delay`.
    pub(crate) fn begin(&mut self, now: Mono, delay: Millis, dice: &mut Jitter) {
        self.xid = dice.number(self.bits);
        self.go_on(now.saturating_add(delay));
    }

    /// Begins to count anew, with the same number: another message of the same conversation, at `at`.
    pub(crate) fn go_on(&mut self, at: Mono) {
        self.sent = 0;
        self.wait = Millis::ZERO;
        self.next = Some(at);
    }

    /// Ends it: nothing is sent and nothing is heard until [`Exchange::begin`].
    pub(crate) fn end(&mut self, next: Option<Mono>) {
        self.sent = 0;
        self.next = next;
    }

    /// Another number: an answer to the messages before is none any more.
    pub(crate) fn renumber(&mut self, dice: &mut Jitter) {
        self.xid = dice.number(self.bits);
    }

    /// A message goes out; the next one is due after the wait of `pace`.
    pub(crate) fn sent(&mut self, now: Mono, pace: Pace, dice: &mut Jitter) {
        let first = self.wait == Millis::ZERO;
        let middle = if first { pace.first } else { self.wait.saturating_mul(2) };
        let middle = if middle > pace.most { pace.most } else { middle };
        let base = if first || middle == pace.most { middle } else { self.wait };
        let spread = match pace.spread {
            Spread::Second => Millis::from_secs(1),
            Spread::Tenth | Spread::TenthLater => Millis::new(base.get() / 10),
        };
        let wait = if first && pace.spread == Spread::TenthLater {
            middle.get() + 1 + dice.below(spread.get())
        } else {
            (middle.get() + dice.below(spread.get().saturating_mul(2) + 1)).saturating_sub(spread.get())
        };
        // What the spread adds is not doubled: the middles of RFC 2131 are 4, 8, 16, 32 and 64 s.
        self.wait = if pace.spread == Spread::Second { middle } else { Millis::new(wait) };
        self.sent_until(now, now.saturating_add(Millis::new(wait)));
        if pace.within > Millis::ZERO {
            let end = self.began.saturating_add(pace.within);
            self.next = self.next.map(|next| next.min(end));
        }
    }

    /// A message goes out; the next one is due at `next`.
    pub(crate) fn sent_until(&mut self, now: Mono, next: Mono) {
        if self.sent == 0 {
            self.began = now;
        }
        self.sent = self.sent.saturating_add(1);
        self.last = Some(now);
        self.next = Some(next);
    }

    /// Whether it has failed, asked when [`Exchange::next`] has come: so many messages, or so much time, and no answer.
    pub(crate) fn failed(&self, now: Mono, pace: Pace) -> bool {
        (pace.count > 0 && self.sent >= pace.count)
            || (pace.within > Millis::ZERO && self.sent > 0 && self.began.until(now) >= pace.within)
    }

    /// Whether a message with this number may be an answer.
    pub(crate) fn expects(&self, xid: u32) -> bool {
        self.sent > 0 && xid == self.xid
    }

    pub(crate) fn xid(&self) -> u32 {
        self.xid
    }

    /// Messages so far.
    pub(crate) fn count(&self) -> u32 {
        self.sent
    }

    /// When the first message went out.
    pub(crate) fn began(&self) -> Mono {
        self.began
    }

    /// When the last message went out.
    pub(crate) fn last(&self) -> Mono {
        self.last.unwrap_or(self.began)
    }

    /// How long to wait until the first message on a link that came back.
    pub(crate) fn quiet(&self, now: Mono) -> Millis {
        self.last.map_or(Millis::ZERO, |last| now.until(last.saturating_add(QUIET)))
    }

    /// Time from the first message to this one; none for the first.
    pub(crate) fn elapsed(&self, now: Mono) -> Millis {
        if self.sent == 0 { Millis::ZERO } else { self.began.until(now) }
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.next
    }

    /// Nothing is due after `at`.
    pub(crate) fn not_after(&mut self, at: Mono) {
        self.next = self.next.map(|next| next.min(at));
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use units::{Millis, Mono};

    /// What happens to the link of a client, or its time.
    pub(crate) enum Flap {
        Up(Mono),
        Due(Mono),
        Down,
    }

    /// What a client sends in a minute in which its link goes away ten times a second. `step` has the client do one thing and counts messages.
    pub(crate) fn sent_while_flapping<C>(
        client: &mut C,
        mut step: impl FnMut(&mut C, Flap) -> usize,
    ) -> usize {
        let mut sent = step(client, Flap::Down);
        let mut now = Mono::from_millis(600_000);
        for _ in 0..600 {
            sent += step(client, Flap::Up(now));
            for _ in 0..5 {
                now = now.saturating_add(Millis::new(20));
                sent += step(client, Flap::Due(now));
            }
            sent += step(client, Flap::Down);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waits(pace: Pace, seed: u64) -> Vec<u64> {
        let mut dice = Jitter::new(seed);
        let mut exchange = Exchange::none(24);
        let mut now = Mono::from_millis(7);
        exchange.begin(now, Millis::ZERO, &mut dice);
        let mut waits = Vec::new();
        while waits.len() < 12 && !exchange.failed(now, pace) {
            exchange.sent(now, pace, &mut dice);
            let next = exchange.next().unwrap();
            waits.push(now.until(next).get());
            now = next;
        }
        waits
    }

    proptest! {
        #![proptest_config(crate::tests::cases(256))]
        /// RFC 8415, 15: RT = IRT + RAND*IRT; then 2*RTprev + RAND*RTprev; above MRT it is MRT + RAND*MRT; RAND within a tenth.
        #[test]
        fn waits_are_those_of_rfc_8415(seed in any::<u64>(), later in any::<bool>()) {
            let spread = if later { Spread::TenthLater } else { Spread::Tenth };
            let pace = Pace { first: Millis::from_secs(1), most: Millis::from_secs(120), count: 0, within: Millis::ZERO, spread };
            let waits = waits(pace, seed);
            let first = if later { 1001..=1101 } else { 900..=1100 };
            prop_assert!(first.contains(&waits[0]), "{waits:?}");
            for pair in waits.windows(2) {
                let (before, after) = (pair[0], pair[1]);
                if before * 2 <= 120_000 {
                    prop_assert!((before * 19 / 10..=before * 21 / 10 + 1).contains(&after), "{waits:?}");
                } else {
                    prop_assert!((108_000..=132_000).contains(&after), "{waits:?}");
                }
            }
        }

        /// RFC 2131, 4.1: 4 s, 8 s, up to 64 s, each a second more or less.
        #[test]
        fn waits_are_those_of_rfc_2131(seed in any::<u64>()) {
            let pace = Pace { first: Millis::from_secs(4), most: Millis::from_secs(64), count: 0, within: Millis::ZERO, spread: Spread::Second };
            for (wait, middle) in waits(pace, seed).iter().zip([4, 8, 16, 32, 64, 64, 64]) {
                prop_assert!((middle * 1000 - 1000..=middle * 1000 + 1000).contains(wait));
            }
        }
    }

    #[test]
    fn an_exchange_fails_by_count_or_by_time() {
        let pace = |count, within| Pace {
            first: Millis::from_secs(1),
            most: Millis::from_secs(4),
            count,
            within: Millis::from_secs(within),
            spread: Spread::Tenth,
        };
        assert_eq!(waits(pace(3, 0), 1).len(), 3);
        let waits = waits(pace(0, 10), 1);
        assert_eq!(waits.iter().sum::<u64>(), 10_000, "to the moment: {waits:?}");
    }

    #[test]
    fn after_a_message_it_is_quiet_for_a_second() {
        let mut exchange = Exchange::none(24);
        let at = Mono::from_millis;
        assert_eq!(exchange.quiet(at(5000)), Millis::ZERO, "nothing was sent yet");
        exchange.sent_until(at(5000), at(9000));
        exchange.end(None);
        assert_eq!(exchange.quiet(at(5300)), Millis::new(700));
        assert_eq!(exchange.quiet(at(7000)), Millis::ZERO);
    }

    #[test]
    fn an_answer_is_expected_only_after_a_question_and_with_its_number() {
        let mut dice = Jitter::new(1);
        let mut exchange = Exchange::none(32);
        exchange.begin(Mono::ZERO, Millis::ZERO, &mut dice);
        assert!(!exchange.expects(exchange.xid()));
        exchange.sent_until(Mono::ZERO, Mono::from_millis(1));
        assert!(exchange.expects(exchange.xid()) && !exchange.expects(exchange.xid() ^ 1));
        let before = exchange.xid();
        exchange.renumber(&mut dice);
        assert!(!exchange.expects(before));
    }
}
