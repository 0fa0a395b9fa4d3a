//! What a daemon in a test tells, waited for.
#![allow(clippy::expect_used, reason = "what does not come fails the test")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::Notification;

/// Longer than anything takes that a test waits for.
const WAIT: Duration = Duration::from_secs(60);

/// What a daemon tells, in its order: what is not waited for is passed over.
#[derive(Debug)]
pub struct Told(UnboundedReceiver<Notification>);

impl Told {
    /// What comes from there ([`Notifier::channel`](crate::Notifier::channel)).
    #[must_use]
    pub fn new(from: UnboundedReceiver<Notification>) -> Self {
        Self(from)
    }

    /// The next notification that is wanted.
    ///
    /// # Panics
    /// The daemon ends, or does not tell it in a minute.
    pub async fn next<T>(&mut self, wanted: impl Fn(&Notification) -> Option<T>) -> T {
        let found = async {
            loop {
                let notification = self.0.recv().await.expect("the daemon goes on");
                if let Some(found) = wanted(&notification) {
                    return found;
                }
            }
        };
        tokio::time::timeout(WAIT, found).await.expect("it is told")
    }

    /// It serves.
    ///
    /// # Panics
    /// As [`Told::next`].
    pub async fn is_ready(&mut self) {
        self.next(|told| matches!(told, Notification::Ready).then_some(())).await;
    }

    /// Where it listens by the way in of this name.
    ///
    /// # Panics
    /// As [`Told::next`].
    pub async fn listens(&mut self, way: &str) -> SocketAddr {
        let listens = |told: &Notification| match told {
            Notification::Listen(name, address) if name == way => Some(*address),
            _ => None,
        };
        self.next(listens).await
    }

    /// By which way in it listens no more.
    ///
    /// # Panics
    /// As [`Told::next`].
    pub async fn listens_no_more(&mut self) -> String {
        let ended = |told: &Notification| match told {
            Notification::ListenEnded(name) => Some(name.clone()),
            _ => None,
        };
        self.next(ended).await
    }

    /// Its next status.
    ///
    /// # Panics
    /// As [`Told::next`].
    pub async fn status(&mut self) -> String {
        let status = |told: &Notification| match told {
            Notification::Status(text) => Some(text.clone()),
            _ => None,
        };
        self.next(status).await
    }
}
