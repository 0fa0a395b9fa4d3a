//! When to ask an owner again: at once, after each event of a kind, and after a while without any.

use std::time::Duration;

use crate::client::Client;
use crate::event::Events;

/// The moments at which what an owner says may have changed.
#[derive(Debug)]
pub struct News {
    bus: Client,
    filter: &'static str,
    every: Duration,
    events: Option<Events>,
    is_begun: bool,
}

impl News {
    /// Of the events that `filter` names; `every` is the longest time between two moments, also while they cannot be followed.
    pub fn of(bus: Client, filter: &'static str, every: Duration) -> Self {
        Self { bus, filter, every, events: None, is_begun: false }
    }

    /// The next moment; the first is now. Events are followed before it is told, so none is missed between it and the question.
    pub async fn next(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            let news = async {
                match &mut self.events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            if let Ok(None) = tokio::time::timeout(self.every, news).await {
                self.events = None;
            }
        }
        if self.events.is_none() {
            self.events = self.bus.subscribe_events(self.filter).await.ok();
        }
    }
}
