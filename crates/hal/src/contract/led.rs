//! What every implementation of [`Led`] owes, as functions that panic when it is not so. They contain no timing.

use async_trait::async_trait;
use leds::Light;
use units::Millis;

use crate::{Error, Led};

/// One LED and the eye that looks at it.
#[async_trait]
pub trait Bench: Send {
    /// The LED as its owner opens it. There may have been an owner before.
    async fn open(&mut self) -> Box<dyn Led>;

    /// What is to be seen from outside, in steps; what blinks by itself is [`Light::Blink`].
    async fn see(&mut self) -> Light;
}

/// Everything below, one after the other on one bench.
pub async fn all(bench: &mut dyn Bench) {
    it_shows_what_it_is_told(bench).await;
    opening_and_dropping_change_nothing(bench).await;
    too_bright_is_as_bright_as_it_can(bench).await;
    it_blinks_by_itself_or_says_that_it_does_not(bench).await;
}

async fn it_shows_what_it_is_told(bench: &mut dyn Bench) {
    let led = bench.open().await;
    let max = led.ability().max;
    assert!(max >= 1, "an LED can be lit");
    for steps in [max, 0, 1, max.div_ceil(2), 0] {
        led.show(Light::Steady(steps)).await.expect("shown");
        assert_eq!(bench.see().await, Light::Steady(steps));
        assert_eq!(led.look().await.expect("looked at"), Some(Light::Steady(steps)), "read back");
    }
}

async fn opening_and_dropping_change_nothing(bench: &mut dyn Bench) {
    let led = bench.open().await;
    for light in [Light::Steady(0), Light::Steady(1)] {
        led.show(light).await.expect("shown");
        assert_eq!(bench.see().await, light);
    }
    drop(led);
    assert_eq!(bench.see().await, Light::Steady(1), "nobody has it");
    let led = bench.open().await;
    assert_eq!(bench.see().await, Light::Steady(1), "somebody else has it");
    assert_eq!(led.look().await.expect("looked at"), Some(Light::Steady(1)));
}

async fn too_bright_is_as_bright_as_it_can(bench: &mut dyn Bench) {
    let led = bench.open().await;
    led.show(Light::Steady(u32::MAX)).await.expect("shown");
    assert_eq!(bench.see().await, Light::Steady(led.ability().max));
}

async fn it_blinks_by_itself_or_says_that_it_does_not(bench: &mut dyn Bench) {
    let led = bench.open().await;
    let max = led.ability().max;
    for half in [500, 250, 500].map(Millis::new) {
        let light = Light::Blink(max, half);
        if led.ability().blinks {
            led.show(light).await.expect("shown");
            assert_eq!((bench.see().await, led.look().await.expect("looked at")), (light, Some(light)));
        } else {
            let error = led.show(light).await.expect_err("it cannot");
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        }
    }
    let blinks = led.ability().blinks;
    drop(led);
    if blinks {
        assert_eq!(bench.see().await, Light::Blink(max, Millis::new(500)), "it goes on without an owner");
    }
    let led = bench.open().await;
    for steps in [max, 0] {
        led.show(Light::Steady(steps)).await.expect("shown");
        assert_eq!(bench.see().await, Light::Steady(steps), "and ends at once");
    }
}
