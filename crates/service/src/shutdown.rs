//! The order to stop, from wherever it comes.

use tokio::sync::watch;

/// Becomes true once and stays so. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stop: watch::Receiver<bool>,
    // Keeps the channel open for those that only wait; the sender itself is in `run`.
    _keep: std::sync::Arc<watch::Sender<bool>>,
}

/// Gives the order.
#[derive(Clone, Debug)]
pub struct Trigger(std::sync::Arc<watch::Sender<bool>>);

impl Shutdown {
    /// An order not yet given, and the means to give it.
    pub fn new() -> (Trigger, Self) {
        let (sender, stop) = watch::channel(false);
        let sender = std::sync::Arc::new(sender);
        (Trigger(sender.clone()), Self { stop, _keep: sender })
    }

    /// Returns when the daemon shall stop. Safe to cancel and to call again.
    pub async fn wait(&mut self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }

    /// Whether the daemon shall stop.
    pub fn is_due(&self) -> bool {
        *self.stop.borrow()
    }
}

impl Trigger {
    /// Gives the order; again is fine.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_it_and_it_stays() {
        let (trigger, mut first) = Shutdown::new();
        let mut second = first.clone();
        assert!(!first.is_due());
        trigger.stop();
        trigger.stop();
        first.wait().await;
        first.wait().await;
        second.wait().await;
        assert!(second.is_due());
    }
}
