//! Sensors that are a line: each is watched by a task of its own, and told when it changes.

use std::time::Duration;

use hal::{InputLine, next_edge};
use hw::Levels;
use sensors::Fault;
use tokio::sync::mpsc;

/// Pause before a line that cannot be used is asked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often a line is looked at although it did not change: a reading is told again, and an edge that was lost is made up for.
const LOOK: Duration = Duration::from_secs(30);

/// What a line said: the sensor's place and its level.
pub(crate) type Told = (usize, Result<f64, Fault>);

/// Watches a line until nobody listens.
pub(crate) async fn watch(levels: Levels, sensor: usize, tell: mpsc::Sender<Told>) {
    let mut complained = false;
    loop {
        let fault = match levels.open(sensor).await {
            Ok(mut input) => match follow(input.as_mut(), sensor, &tell).await {
                Some(error) => error,
                None => return,
            },
            Err(error) => error,
        };
        if !std::mem::replace(&mut complained, true) {
            tracing::warn!(sensor, error = %service::ErrorChain(&fault), "cannot use GPIO line of sensor: retrying every 2 s");
        }
        let missing = fault.kind() == hal::ErrorKind::Wiring;
        let fault = if missing { Fault::Missing } else { Fault::Io };
        if tell.send((sensor, Err(fault))).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells the level and each change; `None` when nobody listens.
async fn follow(input: &mut dyn InputLine, sensor: usize, tell: &mpsc::Sender<Told>) -> Option<hal::Error> {
    loop {
        let level = match input.get().await {
            Ok(level) => level,
            Err(error) => return Some(error),
        };
        tell.send((sensor, Ok(if level { 1.0 } else { 0.0 }))).await.ok()?;
        if let Ok(Err(error)) = tokio::time::timeout(LOOK, next_edge(input)).await {
            return Some(error);
        }
    }
}
