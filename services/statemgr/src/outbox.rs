//! What leaves over the bus, in order, without the loop waiting for it.

use ipc::{Client, Request, Status};
use prost::Message;
use schema::v1alpha1 as v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How much may queue up while the bus is away. Requests come over the bus, so they cannot fill it then.
const CAPACITY: usize = 512;

enum Mail {
    Event(Box<v1::Event>),
    Reply(Box<Request>, Vec<u8>),
    Fail(Box<Request>, Box<Status>),
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
                    Mail::Reply(request, bytes) => request.reply_bytes(bytes.into()).await,
                    Mail::Fail(request, status) => request.fail(*status).await,
                }
            }
        });
        Self { mail, sender }
    }

    pub(crate) fn event(&self, event: v1::Event) {
        self.send(Mail::Event(Box::new(event)));
    }

    pub(crate) fn finish<M: Message>(&self, request: Request, result: Result<M, Status>) {
        self.send(match result {
            Ok(message) => Mail::Reply(Box::new(request), message.encode_to_vec()),
            Err(status) => Mail::Fail(Box::new(request), Box::new(status)),
        });
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
