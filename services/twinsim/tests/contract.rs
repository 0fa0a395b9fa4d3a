//! The simulated lines keep the contract of the hardware traits; `hal-linux` runs the same on the kernel's.

mod common;

use std::time::Duration;

use async_trait::async_trait;
use common::{Twin, in_time, load};
use hal::contract::{self, Bench};
use hal::{Gpio, Line};
use hal_sim::wire::Button;
use hal_sim::{Control, SimGpio};

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
