//! What leaves over the bus, in order, without the loop waiting for it.

use ipc::{Client, Request, Status};
use schema::v1alpha1 as v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How much may queue up while the bus is away. A host makes a handful of events per operation and operations come over
/// the bus, so this is hours of panel buttons.
const CAPACITY: usize = 256;

enum Mail {
    Event(Box<v1::Event>),
    Apply(Box<Request>, Box<Result<v1::PowerApplyResponse, Status>>),
}

/// The queue. Dropping it ends the sender once everything is sent.
pub(crate) struct Outbox {
    mail: mpsc::Sender<Mail>,
    sender: JoinHandle<()>,
}

impl Outbox {
    pub(crate) fn new(bus: Client) -> Self {
        let (mail, mut received) = mpsc::channel(CAPACITY);
        let sender = tokio::spawn(async move {
            while let Some(mail) = received.recv().await {
                match mail {
                    Mail::Event(event) => {
                        if let Err(error) = bus.publish_event(&event).await {
                            tracing::warn!(%error, what = event.what, "an event was lost");
                        }
                    }
                    Mail::Apply(request, result) => request.finish(*result).await,
                }
            }
        });
        Self { mail, sender }
    }

    pub(crate) fn event(&self, event: v1::Event) {
        self.send(Mail::Event(Box::new(event)));
    }

    pub(crate) fn apply(&self, request: Request, result: Result<v1::PowerApplyResponse, Status>) {
        self.send(Mail::Apply(Box::new(request), Box::new(result)));
    }

    fn send(&self, mail: Mail) {
        // Events are news, not truth: who misses one reads the state. A request that is dropped answers for itself.
        if self.mail.try_send(mail).is_err() {
            tracing::warn!("the bus is away for too long: an answer or event was dropped");
        }
    }

    /// Waits until everything is sent.
    pub(crate) async fn close(self) {
        drop(self.mail);
        let _ = self.sender.await;
    }
}
