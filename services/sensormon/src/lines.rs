//! Sensors that are a line: each is watched by a task of its own, and told when it changes.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use hal::{InputLine, next_edge};
use hw::Levels;
use sensors::Fault;
use tokio::sync::mpsc;

/// Pause before a line that cannot be used is asked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often a line is looked at although it did not change: a reading is told again, and an edge that was lost is made up for.
const LOOK: Duration = Duration::from_secs(30);

/// How long after a line was told it is told again at the earliest. What shakes, as with a loose contact, is read and told so often and no more; what
/// lasts is always told.
const CALM: Duration = Duration::from_millis(50);
/// Edges that are taken from the kernel's queue at once; it holds 16 of a line.
const DRAINED: usize = 64;

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
        tokio::time::sleep(CALM).await;
        if let Ok(Err(error)) = tokio::time::timeout(LOOK, next_edge(input)).await {
            return Some(error);
        }
        // They are older than the level that is read next.
        for _ in 0..DRAINED {
            let edge = poll_fn(|cx| Poll::Ready(input.poll_edge(cx))).await;
            match edge {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Some(error),
                Poll::Pending => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Context;

    use hal::{Edge, LineId};
    use tokio::time::Instant;

    use super::*;

    /// A loose contact: always another level than before, and always an edge.
    #[derive(Debug)]
    struct Loose(LineId, AtomicU32);

    #[async_trait::async_trait]
    impl InputLine for Loose {
        async fn get(&self) -> Result<bool, hal::Error> {
            Ok(self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2))
        }

        fn poll_edge(&mut self, _: &mut Context<'_>) -> Poll<Result<Edge, hal::Error>> {
            Poll::Ready(Ok(Edge { active: true, at: Duration::ZERO }))
        }

        fn id(&self) -> &LineId {
            &self.0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_shakes_is_told_twenty_times_a_second() {
        let (tell, mut told) = mpsc::channel(64);
        let watching = tokio::spawn(async move {
            let mut line = Loose(LineId::Name("psu1-present".into()), AtomicU32::new(0));
            follow(&mut line, 0, &tell).await
        });
        let until = Instant::now() + Duration::from_secs(1);
        let mut count = 0;
        while let Ok(Some(_)) = tokio::time::timeout_at(until, told.recv()).await {
            count += 1;
        }
        assert!((15..=25).contains(&count), "{count}");
        drop(told);
        assert!(watching.await.unwrap().is_none(), "nobody listens any more");
    }
}
