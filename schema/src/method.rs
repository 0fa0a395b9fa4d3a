//! What a gateway, the bus and a caller need to know about a method, as plain tables that need no descriptors.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use prost_reflect::MessageDescriptor;

use crate::v1alpha1::{AccountType, Privilege};

/// One method of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodInfo {
    /// `HostService`.
    pub service: &'static str,
    /// `GetHost`.
    pub method: &'static str,
    /// `schema.v1alpha1.HostService.GetHost`.
    pub full_name: &'static str,
    /// Path of Connect and gRPC: `/schema.v1alpha1.HostService/GetHost`.
    pub path: &'static str,
    /// Bus subject: `rpc.HostService.GetHost`.
    pub subject: &'static str,
    /// Daemon that answers.
    pub owner: &'static str,
    /// On the bus only, never through a gateway.
    pub internal: bool,
    /// What the caller must be allowed to do.
    pub privilege: Privilege,
    /// Dotted path of the request field that names an account or session; see [`Privilege::ConfigureSelf`].
    pub self_field: Option<&'static str>,
    /// Template of the bus subject whose events are the answer, for server streams.
    pub stream: Option<&'static str>,
    /// For a stream that can be resumed: the request field with the number of the last message the client has, and the field number
    /// in the response that the gateway fills with each message's number in the event log.
    pub resume: Option<(&'static str, u32)>,
    /// For a stream of what is true now: the bus subject of the method that answers all of it in one message.
    pub snapshot: Option<&'static str>,
    /// Answers with many messages.
    pub server_streaming: bool,
    /// How long the owner may take.
    pub deadline: Duration,
    /// Allowed to accounts that must change their password first.
    pub with_expired_password: bool,
    /// A call that goes well leaves no line in the log.
    pub unlogged: bool,
    /// What the caller's account has to be for; `None` for what is for accounts of Redfish and of the Web UI.
    pub account_type: Option<AccountType>,
    /// What happens when it is called twice.
    pub idempotency: Idempotency,
    /// REST bindings, the main one first; none for internal methods.
    pub http: &'static [HttpBinding],
    /// Request fields the gateway fills, whatever the client sent.
    pub origins: &'static [(&'static str, FieldOrigin)],
    /// Full name of the request message.
    pub input_name: &'static str,
    /// Full name of the response message.
    pub output_name: &'static str,
}

impl MethodInfo {
    /// Descriptor of the request message.
    ///
    /// # Panics
    /// Never: the table is made from the same descriptors.
    #[must_use]
    pub fn input(&self) -> MessageDescriptor {
        message(self.input_name)
    }

    /// Descriptor of the response message.
    ///
    /// # Panics
    /// Never: the table is made from the same descriptors.
    #[must_use]
    pub fn output(&self) -> MessageDescriptor {
        message(self.output_name)
    }

    /// True when it only reads.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.idempotency == Idempotency::NoSideEffects
    }
}

fn message(name: &str) -> MessageDescriptor {
    match crate::pool().get_message_by_name(name) {
        Some(descriptor) => descriptor,
        None => unreachable!("{name} is in the table but not in the descriptors it was made from"),
    }
}

/// What happens when a method is called twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Not stated: it may act twice.
    Unknown,
    /// It only reads.
    NoSideEffects,
    /// The second call changes nothing more.
    Idempotent,
}

/// Where the gateway takes a request field from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldOrigin {
    /// IP address of the client, without port.
    ClientAddress,
    /// The User-Agent header.
    UserAgent,
}

/// One REST binding of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpBinding {
    /// `GET`, `PUT`, `POST`, `DELETE` or `PATCH`.
    pub verb: &'static str,
    /// Template such as `/api/v1alpha1/hosts/{name}`.
    pub path: &'static str,
    /// The template, cut at the slashes.
    pub segments: &'static [Segment],
    /// `*` when the body is the request (fields of the path aside), the name of a field when the body is that field, `None`
    /// when there is no body and all fields that are not in the path come from the query.
    pub body: Option<&'static str>,
    /// Field of the response that is the body; `None` when it is the whole response.
    pub response_body: Option<&'static str>,
}

impl HttpBinding {
    /// Matches a path, already cut from its query, and returns the raw (still percent-encoded) value of each field segment.
    #[must_use]
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
        let mut values = Vec::new();
        let mut parts = path.strip_prefix('/')?.split('/');
        for segment in self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Literal(literal) if *literal == part => {}
                Segment::Field(field) if !part.is_empty() => values.push((*field, part)),
                _ => return None,
            }
        }
        parts.next().is_none().then_some(values)
    }
}

/// One part of a REST path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Stands for itself.
    Literal(&'static str),
    /// Dotted path of the string field of the request the segment is put into.
    Field(&'static str),
}

/// One service of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// `HostService`.
    pub name: &'static str,
    /// `schema.v1alpha1.HostService`.
    pub full_name: &'static str,
    /// Daemon that answers.
    pub owner: &'static str,
    /// On the bus only, never through a gateway.
    pub internal: bool,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl ServiceInfo {
    /// Its methods, in the order of the `.proto` file.
    #[must_use]
    pub fn methods(&self) -> &'static [MethodInfo] {
        crate::methods().get(self.first..self.first + self.count).unwrap_or_default()
    }
}

/// A unary method with its types: what a caller on the bus passes.
pub struct Method<Req, Resp> {
    /// Bus subject: `rpc.HostService.GetHost`.
    pub subject: &'static str,
    /// `HostService`.
    pub service: &'static str,
    /// `GetHost`.
    pub method: &'static str,
    /// Daemon that answers.
    pub owner: &'static str,
    /// `schema.v1alpha1.HostService.GetHost`.
    pub full_name: &'static str,
    /// All else about it.
    pub info: &'static MethodInfo,
    types: PhantomData<fn(Req) -> Resp>,
}

impl<Req, Resp> Method<Req, Resp> {
    pub(crate) const fn new(info: &'static MethodInfo) -> Self {
        Self {
            subject: info.subject,
            service: info.service,
            method: info.method,
            owner: info.owner,
            full_name: info.full_name,
            info,
            types: PhantomData,
        }
    }
}

impl<Req, Resp> Clone for Method<Req, Resp> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Resp> Copy for Method<Req, Resp> {}

impl<Req, Resp> fmt::Debug for Method<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name)
    }
}
