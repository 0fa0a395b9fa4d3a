//! One LED: opened when it is there, driven to what its lamp wants.

use std::sync::Arc;

use hal::{Error, ErrorKind, Led};
use leds::{Lamp, Light, Show};
use service::ErrorChain;
use units::{Millis, Mono, Told};

/// First and longest pause between attempts to open an LED.
const AGAIN: (Millis, Millis) = (Millis::new(100), Millis::from_secs(5));

/// What is to be done for an LED now, by a task of its own.
pub(crate) enum Job {
    Open,
    Write(Arc<dyn Led>, Light),
    Look(Arc<dyn Led>),
}

/// What came of that.
pub(crate) enum Done {
    Opened(Result<(Arc<dyn Led>, Option<Light>), Error>),
    Written(Result<(), Error>),
    Seen(Result<Option<Light>, Error>),
}

/// An LED of the board.
#[derive(Debug)]
pub(crate) struct Place {
    led: Option<(Arc<dyn Led>, Lamp)>,
    opening: bool,
    looking: bool,
    /// The pause after an attempt that failed, and when the next one is due.
    again: Option<(Millis, Mono)>,
    /// Why it does not show what it shall; empty when it does.
    fault: String,
    /// Whether it was told that there is one.
    told: Told<bool>,
}

impl Default for Place {
    fn default() -> Self {
        let (led, opening, looking, again) = (None, false, false, None);
        Self { led, opening, looking, again, fault: String::new(), told: Told::new(false) }
    }
}

impl Place {
    pub(crate) fn lamp(&self) -> Option<&Lamp> {
        self.led.as_ref().map(|(_, lamp)| lamp)
    }

    pub(crate) fn fault(&self) -> &str {
        &self.fault
    }

    pub(crate) fn want(&mut self, now: Mono, show: Show) {
        if let Some((_, lamp)) = &mut self.led {
            lamp.want(now, show);
        }
    }

    /// What is due. Nothing is written before it is `known` what shall be shown.
    pub(crate) fn job(&mut self, now: Mono, is_known: bool) -> Option<Job> {
        match &mut self.led {
            None => {
                let is_due = !self.opening && self.again.is_none_or(|(_, at)| at <= now);
                is_due.then(|| {
                    self.opening = true;
                    Job::Open
                })
            }
            Some((led, lamp)) if is_known => lamp.write(now).map(|light| Job::Write(Arc::clone(led), light)),
            Some(_) => None,
        }
    }

    /// Looks whether the hardware still has what was written to it.
    pub(crate) fn look(&mut self) -> Option<Job> {
        let (led, _) = self.led.as_ref().filter(|_| !self.looking)?;
        self.looking = true;
        Some(Job::Look(Arc::clone(led)))
    }

    pub(crate) fn deadline(&self, now: Mono, is_known: bool) -> Option<Mono> {
        match &self.led {
            None if self.opening => None,
            None => Some(self.again.map_or(now, |(_, at)| at)),
            Some((_, lamp)) if is_known => lamp.deadline(now),
            Some(_) => None,
        }
    }

    /// Takes in what came of a job. True when it is to be told that the fault began or ended: it is told as rarely as what an LED shows, and its end whenever it
    /// was told.
    pub(crate) fn done(&mut self, now: Mono, show: Show, done: Done) -> bool {
        let result = match done {
            Done::Opened(result) => {
                self.opening = false;
                match result {
                    Ok((led, has)) => {
                        let lamp = Lamp::new(now, led.ability(), has, show);
                        // That it can be opened does not say that it can be set.
                        let is_set = lamp.is_set(now);
                        self.led = Some((led, lamp));
                        if !is_set {
                            return false;
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            Done::Written(result) => {
                if let Some((_, lamp)) = &mut self.led {
                    if matches!(result, Err(Error::Unsupported { .. })) {
                        lamp.cannot_blink();
                    }
                    lamp.done(now, result.is_ok());
                }
                match result {
                    // It goes on without.
                    Err(Error::Unsupported { what, feature }) => {
                        tracing::info!(what, feature, "LED cannot blink by itself: switching it on and off");
                        return false;
                    }
                    result => result,
                }
            }
            Done::Seen(result) => {
                self.looking = false;
                if let (Ok(has), Some((_, lamp))) = (&result, &mut self.led) {
                    lamp.found(*has);
                }
                // A reading that fails says nothing about what is shown, unless the LED is gone.
                match result {
                    Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
                    // It has what it shall show, and nothing will be written that would say so.
                    Ok(_) if self.lamp().is_some_and(|lamp| lamp.is_set(now)) => Ok(()),
                    _ => return false,
                }
            }
        };
        match result {
            Ok(()) => {
                self.fault.clear();
                self.again = None;
            }
            Err(error) => {
                self.fault = ErrorChain(&error).to_string();
                if self.led.is_none() || error.kind() == ErrorKind::Unavailable {
                    let pause = self.again.map_or(AGAIN.0, |(pause, _)| pause.saturating_mul(2).min(AGAIN.1));
                    (self.led, self.again) = (None, Some((pause, now.saturating_add(pause))));
                }
            }
        }
        let is_faulty = !self.fault.is_empty();
        self.told.news(now, is_faulty, !is_faulty).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use leds::{Ability, State};

    #[derive(Debug)]
    struct Fake;

    #[async_trait]
    impl Led for Fake {
        fn ability(&self) -> Ability {
            Ability { max: 1, blinks: true }
        }

        async fn show(&self, _: Light) -> Result<(), Error> {
            Ok(())
        }

        async fn look(&self) -> Result<Option<Light>, Error> {
            Ok(None)
        }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn gone() -> Error {
        Error::Unavailable { what: "LED x".into() }
    }

    #[test]
    fn an_led_that_is_not_there_is_asked_for_ever_later_and_one_that_goes_is_opened_again() {
        let on = Show::full(State::On);
        let mut place = Place::default();
        let mut now = 0;
        for pause in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            assert!(matches!(place.job(at(now), true), Some(Job::Open)));
            assert!(place.job(at(now), true).is_none() && place.deadline(at(now), true).is_none());
            assert_eq!(place.done(at(now), on, Done::Opened(Err(gone()))), now == 0, "told once");
            assert_eq!(place.deadline(at(now), true), Some(at(now + pause)));
            now += pause;
        }
        place.job(at(now), true);
        assert!(!place.done(at(now), on, Done::Opened(Ok((Arc::new(Fake), None)))), "nothing is written yet");
        assert!(place.job(at(now), false).is_none(), "not before it is known what to show");
        assert!(matches!(place.job(at(now), true), Some(Job::Write(_, Light::Steady(1)))));
        assert!(!place.done(at(now), on, Done::Written(Err(gone()))));
        assert!(place.lamp().is_none() && place.fault().contains("LED x"));
        now += 5_000;
        assert_eq!(place.deadline(at(now - 1), true), Some(at(now)), "the pause is as long as before");
        place.job(at(now), true);
        place.done(at(now), on, Done::Opened(Ok((Arc::new(Fake), None))));
        place.job(at(now), true);
        assert!(place.done(at(now), on, Done::Written(Ok(()))), "told that it is well");
        assert_eq!(place.fault(), "");
        // One that has what it shall show is well at once.
        place.done(at(now), on, Done::Seen(Err(gone())));
        place.job(at(now + 100), true);
        assert!(place.done(at(now + 100), on, Done::Opened(Ok((Arc::new(Fake), Some(Light::Steady(1)))))));
    }

    #[test]
    fn a_fault_is_over_when_it_is_seen_to_show_what_it_shall_without_a_write() {
        let (on, off) = (Show::full(State::On), Show::full(State::Off));
        let mut place = Place::default();
        place.job(at(0), false);
        assert!(place.done(at(0), on, Done::Opened(Err(gone()))));
        place.job(at(100), false);
        assert!(!place.done(at(100), on, Done::Opened(Ok((Arc::new(Fake), Some(Light::Steady(0)))))));
        place.want(at(200), off);
        assert!(place.job(at(200), true).is_none());
        assert!(place.done(at(300), off, Done::Seen(Ok(Some(Light::Steady(0))))), "told that it is well");
        assert_eq!(place.fault(), "");
        // And after a write that failed.
        place.want(at(400), on);
        assert!(matches!(place.job(at(400), true), Some(Job::Write(_, Light::Steady(1)))));
        let failed = Error::Invalid { what: "LED x".into(), reason: "it does not answer".into() };
        assert!(place.done(at(400), on, Done::Written(Err(failed))));
        assert!(!place.done(at(500), on, Done::Seen(Ok(Some(Light::Steady(0))))), "it does not show it");
        assert!(place.done(at(600), on, Done::Seen(Ok(Some(Light::Steady(1))))));
        assert_eq!(place.fault(), "");
    }

    #[test]
    fn a_fault_that_comes_and_goes_is_told_eight_times_and_then_once_a_minute() {
        let blink = Show::full(State::Blink);
        let failed = || Error::Invalid { what: "LED x".into(), reason: "it does not answer".into() };
        let mut place = Place::default();
        place.job(at(0), true);
        place.done(at(0), blink, Done::Opened(Ok((Arc::new(Fake), None))));
        let (mut begins, mut ends) = (0, 0);
        for half in 0..7_200_u64 {
            let done = Done::Written(if half % 2 == 0 { Err(failed()) } else { Ok(()) });
            if place.done(at(half * 500), blink, done) {
                if place.fault().is_empty() { ends += 1 } else { begins += 1 }
            }
        }
        assert!((8..=8 + 61).contains(&begins) && begins - ends <= 1, "{begins} {ends}");
        assert!(
            (0..200)
                .filter(|n| place.done(at(3_600_000 + n * 500), blink, Done::Written(Err(failed()))))
                .count()
                <= 1
        );
    }

    #[test]
    fn one_that_cannot_blink_is_switched_and_has_no_fault() {
        let blink = Show::full(State::Blink);
        let mut place = Place::default();
        place.job(at(0), true);
        place.done(at(0), blink, Done::Opened(Ok((Arc::new(Fake), None))));
        assert!(matches!(place.job(at(0), true), Some(Job::Write(_, Light::Blink(..)))));
        let no = Error::Unsupported { what: "LED x".into(), feature: "it".into() };
        assert!(!place.done(at(0), blink, Done::Written(Err(no))));
        assert_eq!(place.fault(), "");
        assert!(matches!(place.job(at(100), true), Some(Job::Write(_, Light::Steady(1)))));
    }
}
