//! Which backends are there: asked on the bus, for `/readyz` and `grpc.health.v1`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An answer is used again for this long: a health check that comes each second from ten monitors costs one question.
const FRESH: Duration = Duration::from_secs(1);
/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks services whether they are there.
#[derive(Debug)]
pub(crate) struct Liveness {
    bus: ipc::Client,
    known: Mutex<HashMap<&'static str, (Instant, bool)>>,
}

impl Liveness {
    pub(crate) fn new(bus: ipc::Client) -> Self {
        Self { bus, known: Mutex::default() }
    }

    /// Whether a service has someone on the bus who answers.
    pub(crate) async fn alive(&self, service: &'static str) -> bool {
        if let Some((at, alive)) = self.lock().get(service)
            && at.elapsed() < FRESH
        {
            return *alive;
        }
        let alive = self.bus.is_served(service, PATIENCE).await;
        self.lock().insert(service, (Instant::now(), alive));
        alive
    }

    /// The daemons that own public services and do not answer.
    pub(crate) async fn missing(&self) -> Vec<&'static str> {
        let mut owners: Vec<(&str, &str)> = Vec::new();
        for service in schema::services().iter().filter(|service| !service.internal) {
            if !owners.iter().any(|(owner, _)| *owner == service.owner) {
                owners.push((service.owner, service.name));
            }
        }
        let asked = owners.iter().map(|(owner, service)| async move { (*owner, self.alive(service).await) });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().filter(|(_, alive)| !alive).map(|(owner, _)| owner).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, (Instant, bool)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
