//! What leaves over the bus, in order, without the loop of a daemon waiting for it.

use prost::Message;
use schema::v1alpha1 as v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{Client, Reply, Request, Status};

/// How much may queue up while the bus is away. Requests come over the bus, so they cannot fill it then.
const CAPACITY: usize = 1024;

enum Mail {
    Event(Box<v1::Event>),
    Message(&'static str, Vec<u8>),
    Reply(Box<Request>, Vec<u8>),
    Fail(Box<Request>, Box<Status>),
}

/// The way into the queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    mail: mpsc::Sender<Mail>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail")
    }
}

impl Outbox {
    /// The queue, and its sender: that ends once every [`Outbox`] is gone and everything is sent.
    pub fn new(bus: Client) -> (Self, JoinHandle<()>) {
        let (mail, mut received) = mpsc::channel(CAPACITY);
        let sender = tokio::spawn(async move {
            while let Some(mail) = received.recv().await {
                match mail {
                    Mail::Event(event) => {
                        if let Err(error) = bus.publish_event(&event).await {
                            tracing::warn!(%error, what = event.what, "cannot publish event: dropped");
                        }
                    }
                    Mail::Message(subject, bytes) => {
                        if let Err(status) = bus.publish(subject, bytes).await {
                            tracing::warn!(%status, subject, "cannot publish message: dropped");
                        }
                    }
                    Mail::Reply(request, bytes) => request.reply_bytes(bytes.into()).await,
                    Mail::Fail(request, status) => request.fail(*status).await,
                }
            }
        });
        (Self { mail }, sender)
    }

    /// Publishes an event.
    pub fn event(&self, event: v1::Event) {
        self.send(Mail::Event(Box::new(event)));
    }

    /// Publishes a message that is no event: it stays in no log.
    pub fn publish(&self, subject: &'static str, bytes: Vec<u8>) {
        self.send(Mail::Message(subject, bytes));
    }

    /// Answers a call.
    pub fn answer<M: Message>(&self, reply: Reply<M>, result: Result<M, Status>) {
        self.answer_boxed(reply.into_request(), result.map(|message| message.encode_to_vec()));
    }

    /// Answers a request with a message that is encoded already.
    pub fn answer_bytes(&self, request: Request, result: Result<Vec<u8>, Status>) {
        self.answer_boxed(Box::new(request), result);
    }

    fn answer_boxed(&self, request: Box<Request>, result: Result<Vec<u8>, Status>) {
        self.send(match result {
            Ok(bytes) => Mail::Reply(request, bytes),
            Err(status) => Mail::Fail(request, Box::new(status)),
        });
    }

    fn send(&self, mail: Mail) {
        // Events are news, not truth: who misses one reads the state. A request that is dropped answers for itself.
        if self.mail.try_send(mail).is_err() {
            tracing::warn!("outbox full while bus is down: reply or event dropped");
        }
    }
}
