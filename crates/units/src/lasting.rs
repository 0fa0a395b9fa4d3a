//! What is said of a condition that lasts.

use crate::{Millis, Mono};

/// Lines about one condition come no closer than this, taken over a longer time.
const PAUSE: Millis = Millis::from_secs(60);

/// A condition that may last, such as a store that takes no writes: it is said once when it begins, then at most once a minute, and once
/// when it is over. One that comes and goes is said no more often than that.
///
/// Each failure counts: those nobody was told of are told with the next line.
///
/// ```
/// use units::{Lasting, Millis, Mono};
///
/// let mut store = Lasting::default();
/// let at = |seconds: u64| Mono::from_millis(seconds * 1_000);
/// assert_eq!(store.fails(at(5)).map(|said| said.times), Some(1));
/// assert!((6..65).all(|second| store.fails(at(second)).is_none()));
/// assert_eq!(store.fails(at(65)).map(|said| said.times), Some(60));
/// assert_eq!(store.works(at(70)).map(|said| said.lasts), Some(Millis::from_secs(65)));
/// assert_eq!(store.works(at(71)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// Since when it lasts, if it does.
    since: Option<Mono>,
    /// That it lasts was said.
    said: bool,
    /// Failures nobody was told of.
    untold: u64,
    /// Not before then is a failure said again.
    next: Mono,
}

/// What a line has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Failures since the last line, this one included.
    pub times: u64,
    /// How long it has lasted.
    pub lasts: Millis,
}

impl Lasting {
    /// It failed. Returns what to say if it is time for a line.
    pub fn fails(&mut self, now: Mono) -> Option<Said> {
        let since = *self.since.get_or_insert(now);
        self.untold = self.untold.saturating_add(1);
        if now < self.next {
            return None;
        }
        self.next = now.saturating_add(PAUSE);
        self.said = true;
        Some(Said { times: std::mem::take(&mut self.untold), lasts: now.since(since) })
    }

    /// It works. Returns what to say if it was said that it does not.
    pub fn works(&mut self, now: Mono) -> Option<Said> {
        let since = self.since.take()?;
        if !std::mem::take(&mut self.said) {
            return None;
        }
        // This line counts as well.
        self.next = self.next.max(now).saturating_add(PAUSE);
        Some(Said { times: std::mem::take(&mut self.untold), lasts: now.since(since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1_000)
    }

    #[test]
    fn what_lasts_is_said_once_a_minute_and_each_failure_counts() {
        let mut lasting = Lasting::default();
        assert_eq!(lasting.works(at(0)), None, "nothing was wrong");
        let said: Vec<_> =
            (0..3_600).step_by(4).filter_map(|second| Some((second, lasting.fails(at(second))?))).collect();
        assert_eq!(said.len(), 60);
        assert_eq!(said[0], (0, Said { times: 1, lasts: Millis::ZERO }));
        assert!(said[1..].iter().all(|(second, said)| {
            second % 60 == 0 && *said == Said { times: 15, lasts: Millis::from_secs(*second) }
        }));
        let over = lasting.works(at(3_600)).expect("it was said");
        assert_eq!(over, Said { times: 14, lasts: Millis::from_secs(3_600) });
        assert_eq!(lasting.works(at(3_601)), None, "once");
    }

    #[test]
    fn what_comes_and_goes_is_said_no_more_often() {
        for span in [1, 7, 40, 61, 300] {
            let mut lasting = Lasting::default();
            let (mut lines, mut failures, mut told) = (0, 0, 0);
            for second in 0..7_200 {
                let said = if (second / span) % 2 == 0 {
                    failures += 1;
                    lasting.fails(at(second))
                } else {
                    lasting.works(at(second))
                };
                if let Some(said) = said {
                    lines += 1;
                    told += said.times;
                }
            }
            assert!(lines <= 121, "{lines} lines in two hours, each state for {span} s");
            assert_eq!(told + lasting.untold, failures);
        }
    }
}
