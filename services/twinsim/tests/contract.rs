//! The simulated lines keep the contract of the hardware traits; `hal-linux` runs the same on the kernel's.

mod common;

use std::time::Duration;

use async_trait::async_trait;
use common::{Twin, in_time, load};
use hal::contract::{self, Bench, led};
use hal::{Gpio, Initial, Led, Line, LineLed};
use hal_sim::wire::Button;
use hal_sim::{Control, SimGpio};
use leds::Light;

struct SimBench {
    gpio: SimGpio,
    stranger: SimGpio,
    control: Control,
}

#[async_trait]
impl Bench for SimBench {
    fn gpio(&self) -> &dyn Gpio {
        &self.gpio
    }

    fn stranger(&self) -> &dyn Gpio {
        &self.stranger
    }

    fn output(&self) -> Line {
        Line { active_low: true, ..Line::named("reset-button-out") }
    }

    fn input(&self) -> Line {
        Line { active_low: true, ..Line::named("reset-button") }
    }

    fn released(&self) -> Option<bool> {
        None
    }

    async fn put(&mut self, active: bool) {
        self.control.finger("system", Button::Reset, active).await.unwrap();
    }

    async fn look(&mut self) -> bool {
        let trace = self.control.trace(0).await.unwrap();
        trace.iter().rev().find(|entry| entry.pin == "reset").is_some_and(|entry| entry.active)
    }

    fn now(&self) -> Duration {
        hal_sim::monotonic()
    }
}

#[tokio::test]
async fn the_simulated_lines_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let control = twin.control().await;
    let mut bench = SimBench { gpio: twin.gpio("one"), stranger: twin.gpio("two"), control };
    in_time(contract::all(&mut bench)).await;
    twin.end().await;
}

struct LightBench {
    gpio: SimGpio,
    control: Control,
}

#[async_trait]
impl led::Bench for LightBench {
    async fn open(&mut self) -> Box<dyn Led> {
        let line = Line { active_low: true, ..Line::named("led-power") };
        // The last owner may take a moment to be gone.
        loop {
            match self.gpio.output(&line, Initial::AsIs, "contract").await {
                Ok(line) => return Box::new(LineLed::new(line)),
                Err(hal::Error::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn see(&mut self) -> Light {
        let trace = self.control.trace(0).await.unwrap();
        let last = trace.iter().rev().find(|entry| entry.host == "chassis" && entry.pin == "led.power");
        Light::Steady(u32::from(last.is_some_and(|entry| entry.active)))
    }
}

#[tokio::test]
async fn an_led_on_a_line_keeps_the_contract_of_leds() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let control = twin.control().await;
    in_time(led::all(&mut LightBench { gpio: twin.gpio("ledmgr"), control })).await;
    twin.end().await;
}
