//! How often something may be done.

use crate::{Millis, Mono};

/// A number of things at once, then so many in a span. Full at first.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    burst: u64,
    per: u64,
    span: Millis,
    /// What is left, in milliseconds of `span` each.
    credit: u64,
    asked: Mono,
}

impl Allowance {
    /// `burst` at once, then `per` in each `span`, which come one by one.
    #[must_use]
    pub const fn new(burst: u32, per: u32, span: Millis) -> Self {
        let (burst, per) = (burst as u64, per as u64);
        Self { burst, per, span, credit: burst.saturating_mul(span.get()), asked: Mono::ZERO }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Mono) -> bool {
        self.credit = self.credit_at(now);
        self.asked = self.asked.max(now);
        match self.credit.checked_sub(self.span.get()) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }

    /// Takes one of this and one of `other`, or none of both.
    ///
    /// # Errors
    /// One of them has none: how long it takes until both have one, milliseconds and never zero. Nothing was taken then.
    pub fn take_both(&mut self, now: Mono, other: &mut Self) -> Result<(), Millis> {
        let wait = self.wait(now).max(other.wait(now));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.take(now);
        other.take(now);
        Ok(())
    }

    /// How long it takes until there is one; zero when there is.
    #[must_use]
    pub fn wait(&self, now: Mono) -> Millis {
        let missing = self.span.get().saturating_sub(self.credit_at(now));
        Millis::new(missing.div_ceil(self.per.max(1)))
    }

    /// Whether all of it is there.
    #[must_use]
    pub fn is_full(&self, now: Mono) -> bool {
        self.credit_at(now) == self.full()
    }

    /// When one was asked for last.
    #[must_use]
    pub const fn asked(&self) -> Mono {
        self.asked
    }

    const fn full(&self) -> u64 {
        self.burst.saturating_mul(self.span.get())
    }

    fn credit_at(&self, now: Mono) -> u64 {
        let more = now.since(self.asked).get().saturating_mul(self.per);
        self.credit.saturating_add(more).min(self.full())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_millis(millis)
    }

    #[test]
    fn a_burst_and_then_one_in_each_part_of_the_span() {
        let mut allowance = Allowance::new(3, 2, Millis::from_secs(10));
        let taken = |allowance: &mut Allowance, millis| (0..9).filter(|_| allowance.take(at(millis))).count();
        assert_eq!(taken(&mut allowance, 0), 3);
        assert!(!allowance.is_full(at(14_999)) && allowance.is_full(at(15_000)));
        assert_eq!((taken(&mut allowance, 4_999), allowance.wait(at(4_999))), (0, Millis::new(1)));
        assert_eq!(allowance.wait(at(5_000)), Millis::ZERO);
        assert_eq!((taken(&mut allowance, 5_000), allowance.wait(at(5_000))), (1, Millis::from_secs(5)));
        assert_eq!(taken(&mut allowance, 1_000_000), 3);
        // A clock that is behind gives nothing.
        assert_eq!((taken(&mut allowance, 0), allowance.asked()), (0, at(1_000_000)));
    }

    #[test]
    fn of_two_one_of_each_is_taken_or_none() {
        let mut few = Allowance::new(1, 1, Millis::from_secs(10));
        let mut many = Allowance::new(3, 1, Millis::from_secs(60));
        assert_eq!(few.take_both(at(0), &mut many), Ok(()));
        assert_eq!(few.take_both(at(4_000), &mut many), Err(Millis::from_secs(6)));
        assert_eq!(many.take_both(at(4_000), &mut few), Err(Millis::from_secs(6)), "whichever is asked");
        assert_eq!((many.take(at(4_000)), many.take(at(4_000)), many.take(at(4_000))), (true, true, false));
        assert_eq!(few.take_both(at(10_000), &mut many), Err(Millis::from_secs(50)), "the longer wait");
        assert!(few.take(at(10_000)), "it was not taken");
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_came_since(
            burst in 0_u32..50, per in 1_u32..1000, span in 1_u64..5000, steps in prop::collection::vec(0_u64..3000, 1..200),
        ) {
            let mut allowance = Allowance::new(burst, per, Millis::new(span));
            let (mut now, mut taken) = (0, 0_u64);
            for step in steps {
                now += step;
                taken += u64::from(allowance.take(at(now)));
                prop_assert!(taken <= u64::from(burst) + now * u64::from(per) / span);
            }
        }
    }
}
