//! The server side of the contract: one enum per service and one per daemon, with every unary method as a variant.
//!
//! ```text
//!   a request off the bus ──► StatemgrCall::parse ──┬─► HostService(GetHost(message, Reply<GetHostResponse>))
//!   (an Incoming)                                   ├─► HostService(UpdateHost(message, Reply<UpdateHostResponse>)) …
//!                                                   └─► Refused: UNIMPLEMENTED or INVALID_ARGUMENT
//! ```
//!
//! A daemon matches on its enum, so a method that gets no handler does not compile, and each variant brings the only kind of reply its
//! method may have. What a request is and how a reply leaves is the transport's business ([`Incoming`]); the `ipc` crate is one.
//!
//! Streams have no variant: a gateway answers them from the event log.

use std::fmt;

use prost::{DecodeError, Message};

use crate::MethodInfo;

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated from .proto files; what the messages mean stands there"
)]
mod generated {
    use std::fmt;

    use super::{Call, Incoming, Refused, decoded};
    use crate::{MethodInfo, v1alpha1};

    include!(concat!(env!("OUT_DIR"), "/server.rs"));
}

pub use generated::*;

/// A request as it comes in, before anybody has looked into it.
pub trait Incoming: Sized {
    /// What answers it: takes an `M` or an error, once.
    type Reply<M: Message>;

    /// `HostService`, as the caller wrote it.
    fn service(&self) -> &str;
    /// `GetHost`, as the caller wrote it.
    fn method(&self) -> &str;
    /// The encoded request message.
    fn payload(&self) -> &[u8];
    /// Gives up the payload, which was decoded, for the duty to answer.
    fn into_reply<M: Message>(self) -> Self::Reply<M>;
}

/// The calls of a service, or of all services of a daemon.
pub trait Call<T: Incoming>: Sized {
    /// The services these calls belong to.
    const SERVICES: &'static [&'static str];

    /// Reads a request.
    ///
    /// # Errors
    /// [`Refused`], with the request to answer: the method is not one of these, or the payload is not its message.
    fn parse(request: T) -> Result<Self, Refused<T>>;

    /// Which method is called.
    fn info(&self) -> &'static MethodInfo;
}

/// A request that is no call of the contract. It is still to be answered.
#[derive(Debug)]
pub struct Refused<T> {
    /// The request.
    pub request: T,
    /// What is wrong with it.
    pub why: Refusal,
}

impl<T: Incoming> Refused<T> {
    fn unimplemented(request: T) -> Self {
        let why = Refusal::Unimplemented {
            service: request.service().to_owned(),
            method: request.method().to_owned(),
        };
        Self { request, why }
    }
}

/// Why a request is refused before a handler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// UNIMPLEMENTED: nobody here has such a method, or it streams.
    Unimplemented {
        /// As the caller wrote it.
        service: String,
        /// As the caller wrote it.
        method: String,
    },
    /// INVALID_ARGUMENT: the payload is not the method's request message.
    Malformed {
        /// The method that was called.
        info: &'static MethodInfo,
        /// What is wrong with the bytes.
        error: DecodeError,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unimplemented { service, method } => write!(f, "{service} has no method {method}"),
            Self::Malformed { info, error } => {
                write!(f, "the request of {}.{} cannot be decoded: {error}", info.service, info.method)
            }
        }
    }
}

/// The message of a request, and the duty to answer it with an `M`.
fn decoded<T: Incoming, Q: Message + Default, M: Message>(
    info: &'static MethodInfo,
    request: T,
) -> Result<(Q, T::Reply<M>), Refused<T>> {
    match Q::decode(request.payload()) {
        Ok(message) => Ok((message, request.into_reply())),
        Err(error) => Err(Refused { request, why: Refusal::Malformed { info, error } }),
    }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use super::*;
    use crate::v1alpha1::HostAction;

    /// A request that goes nowhere.
    #[derive(Debug)]
    struct Local(&'static str, &'static str, Vec<u8>);

    /// Knows what it may be answered with, and nothing else.
    #[derive(Debug)]
    struct LocalReply<M>(PhantomData<fn(M)>);

    impl Incoming for Local {
        type Reply<M: Message> = LocalReply<M>;

        fn service(&self) -> &str {
            self.0
        }

        fn method(&self) -> &str {
            self.1
        }

        fn payload(&self) -> &[u8] {
            &self.2
        }

        fn into_reply<M: Message>(self) -> LocalReply<M> {
            LocalReply(PhantomData)
        }
    }

    /// Whether `C` has exactly the unary methods that belong to `owner`.
    fn has_all_of<C: Call<Local>>(owner: &str) {
        let owned = crate::services().iter().filter(|service| service.owner == owner);
        assert!(owned.map(|service| service.name).eq(C::SERVICES.iter().copied()), "{owner}");
        for method in crate::methods() {
            let parsed = C::parse(Local(method.service, method.method, Vec::new()));
            match parsed {
                Ok(call) => {
                    assert_eq!((call.info(), method.owner), (method, owner));
                    assert!(!method.server_streaming, "{}", method.full_name);
                }
                Err(refused) => {
                    assert!(method.owner != owner || method.server_streaming, "{}", method.full_name);
                    assert!(matches!(refused.why, Refusal::Unimplemented { .. }), "{}", method.full_name);
                }
            }
        }
    }

    /// All are made by the same lines of `build.rs`: one of one service, and those of several.
    #[test]
    fn each_daemon_has_the_methods_the_contract_gives_it_and_no_other() {
        has_all_of::<OperatorCall<Local>>("operator");
        has_all_of::<PowermgrCall<Local>>("powermgr");
        has_all_of::<StatemgrCall<Local>>("statemgr");
        has_all_of::<UsermgrCall<Local>>("usermgr");
    }

    #[test]
    fn a_call_brings_its_message_and_the_one_kind_of_reply_it_may_have() {
        let message =
            crate::v1alpha1::PowerApplyRequest { action: HostAction::Nmi.into(), ..Default::default() };
        let request = Local("PowerService", "Apply", message.encode_to_vec());
        let PowerServiceCall::Apply(got, reply) = PowerServiceCall::parse(request).unwrap() else {
            panic!("another method");
        };
        assert_eq!(got, message);
        let _: LocalReply<crate::v1alpha1::PowerApplyResponse> = reply;
    }

    #[test]
    fn what_is_no_call_is_told_with_the_request_to_answer() {
        for (service, method) in
            [("HostService", "Nothing"), ("NoService", "GetHost"), ("EventService", "WatchEvents")]
        {
            let refused = StatemgrCall::parse(Local(service, method, Vec::new())).unwrap_err();
            assert_eq!((refused.request.0, refused.request.1), (service, method));
            assert_eq!(refused.why.to_string(), format!("{service} has no method {method}"));
        }
        let refused = StatemgrCall::parse(Local("HostService", "GetHost", vec![0xff])).unwrap_err();
        assert!(matches!(refused.why, Refusal::Malformed { info, .. } if info.method == "GetHost"));
        assert!(refused.why.to_string().starts_with("the request of HostService.GetHost cannot be decoded"));
    }

    #[test]
    fn a_call_shows_its_name_and_not_what_it_carries() {
        let message =
            crate::v1alpha1::CreateSessionRequest { password: "hunter2".into(), ..Default::default() };
        let request = Local("SessionService", "CreateSession", message.encode_to_vec());
        let shown = format!("{:?}", UsermgrCall::parse(request).unwrap());
        assert_eq!(shown, "schema.v1alpha1.SessionService.CreateSession");
    }
}
