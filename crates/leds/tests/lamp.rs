//! What is written to an LED, and when.

use leds::{Ability, Brightness, Lamp, Light, Show, State};
use proptest::prelude::*;
use units::{Millis, Mono};

const BY_ITSELF: Ability = Ability { max: 255, blinks: true };
const ON_OFF: Ability = Ability { max: 1, blinks: false };

fn at(ms: u64) -> Mono {
    Mono::from_millis(ms)
}

/// Writes what is due and says that it went well.
fn write(lamp: &mut Lamp, now: u64) -> Option<Light> {
    let light = lamp.write(at(now));
    lamp.done(at(now), true);
    light
}

#[test]
fn what_is_as_it_shall_be_is_not_written() {
    let half = Millis::new(500);
    for (has, show, written) in [
        (Some(Light::Steady(0)), Show::OFF, None),
        (Some(Light::Steady(255)), Show::full(State::On), None),
        (Some(Light::Blink(255, half)), Show::full(State::Blink), None),
        (None, Show::OFF, Some(Light::Steady(0))),
        (Some(Light::Steady(7)), Show::full(State::On), Some(Light::Steady(255))),
        (Some(Light::Blink(255, half)), Show::full(State::Fast), Some(Light::Blink(255, Millis::new(250)))),
    ] {
        let mut lamp = Lamp::new(at(0), BY_ITSELF, has, show);
        assert_eq!(write(&mut lamp, 0), written);
        assert_eq!(
            (lamp.deadline(at(0)), write(&mut lamp, 60_000)),
            (None, None),
            "hardware costs no wake-up"
        );
    }
}

#[test]
fn hardware_that_does_not_blink_is_switched_without_drift() {
    let mut lamp = Lamp::new(at(100), ON_OFF, Some(Light::Steady(0)), Show::full(State::Blink));
    let (mut now, mut written) = (100, Vec::new());
    while now < 3_000 {
        if let Some(light) = write(&mut lamp, now) {
            written.push((now, light));
        }
        // Each wake-up is late by a little.
        now = lamp.deadline(at(now)).unwrap().as_millis() + 7;
    }
    let (on, off) = (Light::Steady(1), Light::Steady(0));
    let expected = [(100, on), (607, off), (1_107, on), (1_607, off), (2_107, on), (2_607, off)];
    assert_eq!(written, expected);
    lamp.want(at(2_700), Show::full(State::Fast));
    assert_eq!(
        (write(&mut lamp, 2_700), lamp.deadline(at(2_700))),
        (Some(on), Some(at(2_950))),
        "begins lit"
    );
}

#[test]
fn a_write_that_fails_is_made_again_ever_later_and_the_newest_wish_counts() {
    let mut lamp = Lamp::new(at(0), BY_ITSELF, None, Show::OFF);
    assert_eq!(lamp.write(at(0)), Some(Light::Steady(0)));
    assert_eq!((lamp.write(at(0)), lamp.deadline(at(0))), (None, None), "one at a time");
    lamp.want(at(0), Show::full(State::On));
    let mut now = 0;
    for pause in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        lamp.done(at(now), false);
        assert_eq!((lamp.deadline(at(now)), lamp.write(at(now + pause - 1))), (Some(at(now + pause)), None));
        now += pause;
        assert_eq!(lamp.write(at(now)), Some(Light::Steady(255)));
    }
    lamp.done(at(now), true);
    assert_eq!(lamp.deadline(at(now)), None);
    // What somebody else has done to it is made good.
    lamp.found(Some(Light::Steady(3)));
    assert_eq!((lamp.deadline(at(now)), write(&mut lamp, now)), (Some(at(now)), Some(Light::Steady(255))));
}

#[test]
fn hardware_that_refuses_to_blink_is_switched() {
    let mut lamp = Lamp::new(at(0), BY_ITSELF, Some(Light::Steady(0)), Show::full(State::Fast));
    assert_eq!(lamp.write(at(0)), Some(Light::Blink(255, Millis::new(250))));
    lamp.cannot_blink();
    lamp.done(at(0), false);
    assert_eq!(write(&mut lamp, 100), Some(Light::Steady(255)));
    assert_eq!(lamp.deadline(at(100)), Some(at(250)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is wished and fails, once writes go well the hardware has what is wished, and there is a deadline until it has.
    #[test]
    fn it_ends_at_what_is_wished(
        steps in proptest::collection::vec((0..4usize, 1..=100u32, 0..3_000u64, any::<bool>()), 1..30),
        blinks: bool,
        max in 1..256u32,
    ) {
        let states = [State::Off, State::On, State::Blink, State::Fast];
        let mut lamp = Lamp::new(at(0), Ability { max, blinks }, None, Show::OFF);
        let (mut now, mut last) = (0, Show::OFF);
        for (state, percent, pass, ok) in steps {
            last = Show { state: states[state], brightness: Brightness::new(percent).unwrap() };
            lamp.want(at(now), last);
            if lamp.write(at(now)).is_some() {
                prop_assert_eq!(lamp.deadline(at(now)), None);
                lamp.done(at(now), ok);
            }
            now += pass;
        }
        for _ in 0..20 {
            if lamp.write(at(now)).is_some() {
                lamp.done(at(now), true);
            }
            let Some(deadline) = lamp.deadline(at(now)) else { break };
            prop_assert!(deadline > at(now));
            now = deadline.as_millis();
        }
        let blinking = last.state.half_period().is_some() && !blinks;
        prop_assert_eq!(lamp.deadline(at(now)).is_some(), blinking);
        prop_assert_eq!(lamp.write(at(now)).is_some(), blinking);
    }
}
