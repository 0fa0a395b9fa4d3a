//! What is asked for while the store has not said what there is.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Refuses what is asked for, for so long; false where it is to end instead.
pub(crate) async fn refused_for<C>(
    pause: Duration,
    commands: &mut mpsc::Receiver<C>,
    stop: &mut oneshot::Receiver<()>,
    refuse: impl Fn(C),
) -> bool {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            _ = &mut *stop => return false,
            () = tokio::time::sleep_until(until) => return true,
            command = commands.recv() => match command {
                Some(command) => refuse(command),
                None => return false,
            },
        }
    }
}
