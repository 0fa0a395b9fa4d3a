//! What leaves over the bus, in order, without the loops waiting for it.

use std::future::Future;
use std::pin::Pin;

use ipc::{Client, Request, Status};
use prost::Message;
use schema::v1alpha1 as v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How much may queue up while the bus is away. A host makes a handful of events per operation and operations come over
/// the bus, so this is hours of panel buttons.
const CAPACITY: usize = 256;

enum Mail {
    Event(Box<v1::Event>),
    Answer(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// The way into the queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    mail: mpsc::Sender<Mail>,
}

impl Outbox {
    /// The queue, and its sender: it ends once every [`Outbox`] is gone and everything is sent.
    pub(crate) fn new(bus: Client) -> (Self, JoinHandle<()>) {
        let (mail, mut received) = mpsc::channel(CAPACITY);
        let sender = tokio::spawn(async move {
            while let Some(mail) = received.recv().await {
                match mail {
                    Mail::Event(event) => {
                        if let Err(error) = bus.publish_event(&event).await {
                            tracing::warn!(%error, what = event.what, "an event was lost");
                        }
                    }
                    Mail::Answer(answer) => answer.await,
                }
            }
        });
        (Self { mail }, sender)
    }

    pub(crate) fn event(&self, event: v1::Event) {
        self.send(Mail::Event(Box::new(event)));
    }

    pub(crate) fn answer<M: Message + 'static>(&self, request: Request, result: Result<M, Status>) {
        self.send(Mail::Answer(Box::pin(async move { request.finish(result).await })));
    }

    pub(crate) fn unimplemented(&self, request: Request) {
        self.send(Mail::Answer(Box::pin(async move { request.unimplemented().await })));
    }

    fn send(&self, mail: Mail) {
        // Events are news, not truth: who misses one reads the state. A request that is dropped answers for itself.
        if self.mail.try_send(mail).is_err() {
            tracing::warn!("the bus is away for too long: an answer or event was dropped");
        }
    }
}
