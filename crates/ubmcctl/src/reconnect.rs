//! What is followed and breaks is opened again.

use std::time::Duration;

use tokio::time::sleep;

use crate::failure::Failure;
use crate::output::note;
use crate::wait::passing;

/// First and longest pause before it is opened again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Opens a stream again, at growing pauses.
#[derive(Debug)]
pub(crate) struct Reconnect {
    pause: Duration,
    opened: bool,
}

impl Reconnect {
    pub(crate) fn new() -> Self {
        Self { pause: PAUSE.0, opened: false }
    }

    /// It is open.
    pub(crate) fn opened(&mut self) {
        self.opened = true;
    }

    /// It says something: the next pause is a short one.
    pub(crate) fn works(&mut self) {
        *self = Self { pause: PAUSE.0, opened: true };
    }

    /// It broke, or ended without a failure: says so and waits.
    ///
    /// # Errors
    /// The failure, when it would not pass, or nothing was open yet: a first attempt that fails is an answer, not an interruption.
    pub(crate) async fn broken(&mut self, failure: Option<Failure>) -> Result<(), Failure> {
        match failure {
            Some(failure) if !self.opened || !passing(&failure) => return Err(failure),
            Some(failure) => note(&format!("{failure}; trying again")),
            None => note("the stream ended; opening it again"),
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn away() -> Failure {
        Failure::Unreachable { server: "bmc".into(), cause: "refused".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_failure_is_an_answer_and_pauses_grow_until_it_works() {
        let mut reconnect = Reconnect::new();
        assert!(reconnect.broken(Some(away())).await.is_err());
        reconnect.opened();
        let mut begun = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            reconnect.broken(Some(away())).await.unwrap();
            pauses.push(begun.elapsed().as_millis());
            begun = Instant::now();
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        reconnect.works();
        begun = Instant::now();
        reconnect.broken(None).await.unwrap();
        assert_eq!(begun.elapsed(), PAUSE.0);
        assert!(reconnect.broken(Some(Failure::Usage("no".into()))).await.is_err());
    }
}
