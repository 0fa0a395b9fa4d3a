//! What an embedded server is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use nats::{Limits, User};

use super::extension::ExtensionFactory;

/// What an embedded server is started with. The default listens on a free loopback port, without users: for tests
/// and for a bus that nobody else on the machine can reach.
pub struct ServerConfig {
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The name clients see.
    pub server_name: String,
    /// Who may connect; empty: everyone, with every right.
    pub users: Vec<User>,
    /// Bounds.
    pub limits: Limits,
    /// Extensions of the server. With one, the server says that it has JetStream.
    pub extensions: Vec<ExtensionFactory>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            server_name: "u-bmc".to_owned(),
            users: Vec::new(),
            limits: Limits::default(),
            extensions: Vec::new(),
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listen", &self.listen)
            .field("server_name", &self.server_name)
            .field("users", &self.users)
            .field("limits", &self.limits)
            .field("extensions", &self.extensions.len())
            .finish()
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A thread, a poller or an event could not be made.
    #[error("cannot set up the server")]
    Io(#[source] std::io::Error),
    /// The server's thread ended before it was ready.
    #[error("the server ended while starting")]
    Died,
}
