//! Random enough for machines: spreads retries and numbers conversations. Seeded by the shell, so that a test repeats itself.

use units::Millis;

/// A small generator (splitmix64). Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `bits` bits, at most 32.
    pub(crate) fn number(&mut self, bits: u32) -> u32 {
        u32::try_from(self.roll() >> (64 - bits.clamp(1, 32))).unwrap_or(u32::MAX)
    }

    /// A number from zero up to, not including, `end`; zero for zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.roll() % end }
    }

    /// `span` ± 25 %, so that a rack that lost its server does not ask in step.
    pub(crate) fn around(&mut self, span: Millis) -> Millis {
        let half = span.get() / 2;
        let low = span.get() - half / 2;
        Millis::new(low + self.below(half))
    }

    /// The wait after the `tries`-th unanswered try: `first`, doubled each time up to `most`, ± 25 %.
    pub(crate) fn back_off(&mut self, tries: u32, first: Millis, most: Millis) -> Millis {
        let factor = 1_u64 << tries.saturating_sub(1).min(20);
        let span = first.saturating_mul(factor);
        self.around(if span > most { most } else { span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_spread_by_a_quarter() {
        let mut dice = Jitter::new(7);
        for (tries, middle) in [(0, 2000), (1, 2000), (2, 4000), (3, 8000), (6, 64_000), (60, 64_000)] {
            for _ in 0..100 {
                let wait = dice.back_off(tries, Millis::from_secs(2), Millis::from_secs(64)).get();
                assert!((middle * 3 / 4..middle * 5 / 4).contains(&wait), "{tries}: {wait}");
            }
        }
    }

    #[test]
    fn a_number_has_the_bits_asked_for() {
        let mut dice = Jitter::new(1);
        assert!((0..100).all(|_| dice.number(24) < 1 << 24));
        assert_ne!(dice.number(32), dice.number(32));
        assert_eq!(dice.around(Millis::ZERO), Millis::ZERO);
    }
}
