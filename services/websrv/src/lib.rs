//! HTTPS front: Connect, gRPC, gRPC-Web and REST over one generic gateway, and Redfish beside it.
//!
//! ```text
//!   HTTPS  TCP  h1, h2 ─► listener ─┐                      gateway                               bus
//!   HTTP/3 UDP  h3     ─► quic     ─┼─► limits ─► authenticate ─► authorise ─► validate ─► rpc.<Service>.<Method>
//!   HTTP   TCP         ─► redirect ─┘  (admission)    │              (all three from the schema's options)
//!                                                     └─► AuthService (usermgr), remembered for seconds
//!   EVENTS ─► feed ─► a cursor per watching client (a share of the places each) ─► Connect / gRPC stream, SSE
//! ```
//!
//! Its own services, of the certificate and of ports that are switched, are asked over the bus as those of others are.
//!
//! Two threads serve connections: the daemon's own those of administrators, one that gives way all others (`lanes`).
//!
//! It must never
//! - serve a method whose privilege it has not checked, or any method when usermgr cannot say who asks;
//! - hold code for a single method: what it needs is in the schema;
//! - let one client's slowness, size or number grow its memory: every buffer here has a bound (`docs/websrv.md`);
//! - keep a password, or write a secret into a log.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod admission;
mod auth;
mod body;
mod budget;
mod builtin;
mod call;
mod certificate;
mod complaints;
mod config;
mod diagnostics;
mod dispatch;
mod error;
mod events;
mod extended;
mod front;
mod gateway;
mod grpc_service;
mod guard;
mod gzip;
mod h2_frames;
mod h3_frames;
mod headers;
mod health;
mod host_socket;
mod jobs;
mod json;
mod lanes;
mod last;
mod listener;
mod memory;
mod pages;
mod places;
mod quic;
mod readings;
mod redfish;
mod redirect;
mod reflection;
mod reports;
mod request;
mod rest;
mod route;
mod served;
mod shell;
mod site;
mod status;
mod stream;
mod tls;
mod transport;
mod turns;
mod ui_cookie;
mod ui_session;
mod viewers;
mod vnc;
mod x509;

/// Reads bytes as a certificate that is given, for the fuzz target: whether they are one.
#[doc(hidden)]
pub fn reads_as_certificate(bytes: &[u8]) -> bool {
    x509::read(bytes).is_some()
}

pub use config::{Auth, Config, Cors, Limits, Listen, Profile, RouteLimits, Tls};
pub use dispatch::RpcMap;
pub use error::{ConfigError, Error, SchemaError, TlsError};
pub use rest::RestMap;
pub use shell::run;
