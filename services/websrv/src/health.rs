//! Which backends are there: asked on the bus, for `/readyz` and `grpc.health.v1`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use model::Snapshot;
use tokio::time::Instant;

use crate::last;

/// A question serves all who come for this long after it was asked: a health check that comes each second from ten monitors costs one. It
/// is counted from the question, as long as that may take: one that nobody waits for is not polled, and read late its answer would look new.
const FRESH: Duration = Duration::from_secs(1);
/// Daemons that not every machine runs: one without fans, whose network is somebody else's, whose command line rules IPMI out, or whose
/// program was built without SSH.
const SOMEWHERE: [&str; 4] = ["netmgr", "thermalmgr", "ipmisrv", "sshsrv"];
/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// When a service was asked for, and what is known of it or is being found out.
type Answer = (Instant, Shared<BoxFuture<'static, bool>>);

/// Asks services whether they are there.
#[derive(Debug)]
pub(crate) struct Liveness {
    bus: ipc::Client,
    known: Answers,
}

/// One question of each at a time.
#[derive(Debug, Default)]
struct Answers(Mutex<HashMap<&'static str, Answer>>);

impl Answers {
    /// What is known, or what `ask` finds. The question goes on with whoever waits for it.
    async fn of<F>(&self, service: &'static str, ask: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let answer = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(service) {
                Some((at, answer)) if at.elapsed() < FRESH => answer.clone(),
                _ => {
                    let answer = ask().boxed().shared();
                    known.insert(service, (Instant::now(), answer.clone()));
                    answer
                }
            }
        };
        answer.await
    }
}

impl Liveness {
    pub(crate) fn new(bus: ipc::Client) -> Self {
        Self { bus, known: Answers::default() }
    }

    /// Whether a service has someone on the bus who answers.
    pub(crate) async fn alive(&self, service: &'static str) -> bool {
        let bus = self.bus.clone();
        self.known.of(service, || async move { bus.is_served(service, PATIENCE).await }).await
    }

    /// The daemons that own public services and do not answer, of those that this machine runs as far as that is known.
    pub(crate) async fn missing(&self, snapshot: &Snapshot) -> Vec<&'static str> {
        let mut owners: Vec<(&str, &str)> = Vec::new();
        for service in schema::services().iter().filter(|service| !service.internal) {
            let is_here = !SOMEWHERE.contains(&service.owner) || !last::is_without(service.owner, snapshot);
            if is_here && !owners.iter().any(|(owner, _)| *owner == service.owner) {
                owners.push((service.owner, service.name));
            }
        }
        let asked = owners.iter().map(|(owner, service)| async move { (*owner, self.alive(service).await) });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().filter(|(_, alive)| !alive).map(|(owner, _)| owner).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_one_question_is_on_its_way() {
        let answers = Arc::new(Answers::default());
        let questions = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let (answers, questions) = (Arc::clone(&answers), Arc::clone(&questions));
            async move {
                let ask = || {
                    questions.fetch_add(1, Ordering::SeqCst);
                    async {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        true
                    }
                };
                answers.of("HostService", ask).await
            }
        };
        let all: Vec<_> = (0..100).map(|_| tokio::spawn(ask())).collect();
        for one in all {
            assert!(one.await.unwrap());
        }
        assert!(ask().await);
        assert_eq!(questions.load(Ordering::SeqCst), 1, "the answer is used again");
        tokio::time::advance(FRESH).await;
        // One who leaves takes nothing from those who wait.
        assert!(tokio::time::timeout(Duration::from_millis(10), ask()).await.is_err());
        let (a, b) = tokio::join!(ask(), ask());
        assert!(a && b);
        assert_eq!(questions.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_out_for_one_who_left_is_not_told_later() {
        let answers = Answers::default();
        let ask = |alive: bool| {
            answers.of("HostService", move || async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                alive
            })
        };
        assert!(tokio::time::timeout(Duration::from_millis(10), ask(true)).await.is_err());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!ask(false).await, "the daemon is gone by now");
        assert!(!ask(true).await, "that is used again");
        tokio::time::advance(FRESH).await;
        assert!(ask(true).await);
    }
}
