//! Requests as the machine knows them: by number, with what they may be answered with.

use std::fmt;
use std::marker::PhantomData;

use auth::AccountTypes;
use ipc::Status;
use prost::Message;
use schema::server::Incoming;
use schema::v1alpha1 as v1;

use super::Action;

/// Names a request until it is answered.
pub(crate) type TicketId = u64;

/// A request that is to be answered with an `M`, or an error.
pub(crate) struct Ticket<M> {
    id: TicketId,
    message: PhantomData<fn(M)>,
}

impl<M: Message> Ticket<M> {
    /// The ticket of the request with this number.
    pub(crate) fn new(id: TicketId) -> Self {
        Self { id, message: PhantomData }
    }

    /// Answers it.
    pub(super) fn answer(self, message: M) -> Action {
        Action::Answer(self.id, Ok(Encoded(message.encode_to_vec())))
    }
}

impl<M> Ticket<M> {
    /// Which request it is.
    pub(super) fn id(self) -> TicketId {
        self.id
    }
}

/// Answers with an error, which every request takes.
pub(super) fn refuse(id: TicketId, status: Status) -> Action {
    Action::Answer(id, Err(status))
}

impl<M> Clone for Ticket<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Ticket<M> {}

impl<M> fmt::Debug for Ticket<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.id)
    }
}

/// An answer of the request's own type: only [`Ticket::answer`] makes one.
pub(crate) struct Encoded(Vec<u8>);

impl Encoded {
    /// The message.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// It may hold a token or a password.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A request on its way into the machine, which leaves the connection outside.
#[derive(Debug)]
pub(crate) struct Numbered<'a> {
    /// The number it is answered by.
    pub(crate) id: TicketId,
    /// The request.
    pub(crate) request: &'a ipc::Request,
}

impl Incoming for Numbered<'_> {
    type Reply<M: Message> = Ticket<M>;

    fn service(&self) -> &str {
        &self.request.service
    }

    fn method(&self) -> &str {
        &self.request.method
    }

    fn payload(&self) -> &[u8] {
        &self.request.payload
    }

    fn into_reply<M: Message>(self) -> Ticket<M> {
        Ticket::new(self.id)
    }
}

/// What a login is for.
#[derive(Debug)]
pub(super) enum LoginKind {
    /// A session for this client.
    Session {
        ticket: Ticket<v1::CreateSessionResponse>,
        user_agent: String,
        /// Of these uses; any when there is none.
        purpose: Option<AccountTypes>,
    },
    /// One request, by HTTP Basic.
    Check { ticket: Ticket<v1::VerifyPasswordResponse> },
}

impl LoginKind {
    pub(super) fn ticket(&self) -> TicketId {
        match self {
            Self::Session { ticket, .. } => ticket.id(),
            Self::Check { ticket } => ticket.id(),
        }
    }
}
