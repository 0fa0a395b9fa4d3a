//! What a daemon's `run` is given.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use board::Board;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::clock::Clock;
use crate::config::{self, ConfigError};
use crate::memory::Memory;
use crate::notify::Notifier;
use crate::shutdown::Shutdown;

/// What a daemon is given besides its connection to the bus; all of it for one that has none.
#[derive(Clone, Debug)]
pub struct LocalContext {
    /// The daemon's name.
    pub daemon: String,
    /// Its clock.
    pub clock: Clock,
    /// The order to stop.
    pub shutdown: Shutdown,
    /// The way to the operator.
    pub notify: Notifier,
    /// The board, for a daemon that gets it.
    pub board: Option<Arc<Board>>,
    /// A directory of its own that stays over restarts of the BMC.
    pub state_dir: PathBuf,
    /// A shared directory until the next start of the BMC.
    pub run_dir: PathBuf,
    /// How often its loop says that it is alive.
    pub heartbeat_every: Duration,
    /// Its configuration as given.
    pub settings: Map<String, Value>,
}

impl LocalContext {
    /// The daemon's configuration as its type.
    ///
    /// # Errors
    ///
    /// Names the key and what is allowed there.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        config::typed(&self.daemon, &self.settings)
    }

    /// The board the daemon runs on.
    ///
    /// # Errors
    ///
    /// It was started without one.
    pub fn board(&self) -> Result<Arc<Board>, NoBoard> {
        self.board.clone().ok_or_else(|| NoBoard { daemon: self.daemon.clone() })
    }

    /// Says that the daemon serves now.
    pub fn ready(&self) {
        self.notify.ready();
    }

    /// The loop's pulse: `select!` on [`Heartbeat::tick`] in the daemon's one loop, nowhere else, so that a stuck loop is seen.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat::new(self.notify.clone(), self.heartbeat_every)
    }
}

/// A daemon that needs a board was started without one.
#[derive(Debug, thiserror::Error)]
#[error("{daemon} needs a board file")]
pub struct NoBoard {
    daemon: String,
}

/// Everything a daemon on the bus is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// All but the bus; its fields and methods are available directly.
    pub local: LocalContext,
    /// The connection to the bus.
    pub bus: ipc::Client,
}

impl Deref for Context {
    type Target = LocalContext;

    fn deref(&self) -> &LocalContext {
        &self.local
    }
}

/// Says now and then that the loop that polls it is alive.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Interval,
    notify: Notifier,
    memory: Memory,
}

impl Heartbeat {
    fn new(notify: Notifier, every: Duration) -> Self {
        let mut interval = tokio::time::interval(every.max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, notify, memory: Memory::default() }
    }

    /// Returns after each beat, which it has sent. Safe to cancel.
    pub async fn tick(&mut self) {
        self.interval.tick().await;
        self.notify.send(crate::Notification::Heartbeat);
        crate::log::tell_left_out();
        self.memory.tend(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Notification;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_runs_beats_as_often_as_it_was_told() {
        let (notify, mut seen) = Notifier::channel();
        let mut heartbeat = Heartbeat::new(notify, Duration::from_secs(2));
        let start = tokio::time::Instant::now();
        for _ in 0..3 {
            heartbeat.tick().await;
        }
        let mut beats = 0;
        while let Ok(notification) = seen.try_recv() {
            assert_eq!(notification, Notification::Heartbeat);
            beats += 1;
        }
        assert_eq!(beats, 3);
        assert_eq!(start.elapsed(), Duration::from_secs(4), "the first beat comes at once");
    }
}
