//! What a machine inside the server (JetStream) needs of the broker: subscriptions that deliver in the
//! process, publishing as the system, and news about interest.
//!
//! The broker never calls out. Messages for internal subscriptions queue up in arrival order; the shell drains
//! them after each batch of input with [`Internal::take_internal`], hands them to the machine, and the machine
//! answers with [`Internal::internal_publish`] and [`Internal::internal_deliver`]. A machine written against
//! this trait can be tested against a few lines of fake broker.

use bytes::Bytes;

use crate::subject::SubjectError;

/// A subscription held by a machine inside the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InternalSub(pub u32);

/// One message for an internal subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalMsg {
    /// Which subscription matched; a message matching two of them arrives twice.
    pub sub: InternalSub,
    /// Whose message it is: the place of its sender's user in [`Config::users`](crate::Config::users); `None`: from inside, or there are no users.
    pub user: Option<usize>,
    /// The subject it was published on: valid, without wildcards.
    pub subject: Bytes,
    /// Where an answer goes.
    pub reply: Option<Bytes>,
    /// The whole header block, from `NATS/1.0` to the empty line; empty without headers.
    pub headers: Bytes,
    /// The payload, without the headers.
    pub payload: Bytes,
}

impl InternalMsg {
    /// What keeping the message costs, in bytes.
    #[must_use]
    pub fn cost(&self) -> usize {
        /// What it costs besides its bytes.
        const FIXED: usize = 256;
        let reply = self.reply.as_ref().map_or(0, Bytes::len);
        FIXED + self.subject.len() + reply + self.headers.len() + self.payload.len()
    }
}

/// What became of a message published from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// How many subscriptions got it (client and internal); 0: nobody listens.
    pub receivers: usize,
    /// The fullest of the receivers' output buffers, in bytes, this message included. A machine that replays
    /// a stream pauses when this grows, long before the slow-consumer bound disconnects the client.
    pub max_pending: usize,
}

/// Interest on a watched subject appeared or went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterestChange {
    /// The watched subject.
    pub subject: Bytes,
    /// Whether any client subscription matches it now.
    pub interested: bool,
}

/// The broker as a machine inside the server sees it. `now` is milliseconds of a monotonic clock.
pub trait Internal {
    /// Subscribes; wildcards are allowed. Internal subscriptions count as interest: a request to them never
    /// gets `503 No Responders`.
    ///
    /// # Errors
    /// When `filter` is not a valid subject.
    fn internal_subscribe(&mut self, filter: &str) -> Result<InternalSub, SubjectError>;

    /// Ends a subscription; messages already queued for it are still handed out.
    fn internal_unsubscribe(&mut self, sub: InternalSub);

    /// The messages that arrived for internal subscriptions since the last call, in order.
    fn take_internal(&mut self) -> Vec<InternalMsg>;

    /// Publishes as the system: no permissions apply. `headers` is a whole header block or empty.
    fn internal_publish(
        &mut self,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Delivered {
        self.internal_deliver(subject, subject, reply, headers, payload)
    }

    /// Sends to the subscribers of `route`, who see `subject` in their `MSG`: how a consumer delivers a stored
    /// message to a pull request's or push consumer's inbox under its original subject.
    fn internal_deliver(
        &mut self,
        route: &[u8],
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Delivered;

    /// Whether any client (not internal) subscription matches `subject`.
    fn has_interest(&self, subject: &[u8]) -> bool;

    /// The fullest output buffer among the connections subscribed to `subject`, in bytes; `None` without
    /// a subscriber.
    fn pending_bytes(&self, subject: &[u8]) -> Option<usize>;

    /// Reports later changes of [`Internal::has_interest`] for this literal subject. Watching twice is watching once.
    fn watch_interest(&mut self, subject: &[u8]);

    /// Stops reporting.
    fn unwatch_interest(&mut self, subject: &[u8]);

    /// The changes on watched subjects since the last call; a subject that came and went in between is
    /// reported once with its state now, or not at all when nothing changed.
    fn take_interest_changes(&mut self) -> Vec<InterestChange>;
}
