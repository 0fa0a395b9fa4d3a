//! Connections that somebody outside has asked for: where events are sent, where a medium is read.
//!
//! ```text
//!  a URI ──► Destination ──► Connector: may it be had? ──► names ──► addresses that are judged ──► TCP ──► TLS
//! ```
//!
//! Never: reaches the controller's own services or what only it is next to (server-side request forgery), unless the site has allowed that; believes a name
//! that was judged before to have the same address still.
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

mod connect;
mod destination;
mod refused;

pub use connect::{Connector, Stream};
pub use destination::{Destination, is_elsewhere, is_own};
