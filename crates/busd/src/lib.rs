//! The embedded NATS server: sockets around [`nats::Broker`].
//!
//! ```text
//!   TCP clients ──► epoll ──► one thread: read ─► Broker ─► write ──► TCP clients
//!   ServerHandle ─► eventfd ─►     │ ▲
//!                                  ▼ │
//!                             ServerExtension (JetStream)
//! ```
//!
//! The server runs on a thread of its own, so the operator's loop cannot stall the bus and the bus cannot stall
//! the operator. That thread waits in one `epoll_wait`, reads what has come, lets the broker work on all of it, and
//! then writes each connection's output at once: many small messages cost few system calls. There is no task and
//! no read buffer per connection. It must never block on anything but `epoll_wait`, and never open a listener
//! nobody configured.
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

mod clock;
mod config;
mod extension;
mod fair;
mod handle;
mod jetstream;
mod monitor;
mod poll;
mod sockets;
mod standalone;
pub mod store;
#[cfg(feature = "testing")]
#[allow(clippy::expect_used, reason = "part of tests: what does not hold fails them")]
pub mod testing;
#[cfg(feature = "testing")]
mod testing_disk;

pub use config::{ServerConfig, StartError};
pub use extension::{ExtensionFactory, Now, ServerExtension, Waker};
pub use handle::{Connection, ServerHandle};
pub use jetstream::{JetStreamConfig, jetstream};
pub use monitor::{Finding, StoreCondition, StoreMonitor, StoreStatus};
pub use nats::{CloseReason, Limits, Link, Permissions, Responses, Rules, Stats, User};
pub use standalone::{StandaloneConfig, StandaloneError, run_standalone};

use std::net::TcpListener;
use std::sync::Arc;

use poll::Loop;

/// The embedded server.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds the listener and starts the server's thread. On return clients can connect.
    ///
    /// # Errors
    /// When the address cannot be bound or the thread cannot be started.
    pub fn start(config: ServerConfig) -> Result<ServerHandle, StartError> {
        let listener = TcpListener::bind(config.listen)
            .map_err(|source| StartError::Bind { address: config.listen, source })?;
        listener.set_nonblocking(true).map_err(StartError::Io)?;
        let addr = listener.local_addr().map_err(StartError::Io)?;
        let waker = Waker::new().map_err(StartError::Io)?;
        let shared = Arc::new(handle::Shared::new(waker));
        let seen = Arc::clone(&shared);
        let (started, wait) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("nats".to_owned())
            .spawn(move || {
                // The broker is made here: it never leaves its thread.
                match Loop::new(listener, addr, config, seen) {
                    Ok(mut server) => {
                        drop(started.send(Ok(())));
                        server.run();
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })
            .map_err(StartError::Io)?;
        match wait.recv() {
            Ok(Ok(())) => Ok(ServerHandle::new(addr, shared, thread)),
            Ok(Err(error)) => Err(StartError::Io(error)),
            Err(_) => Err(StartError::Died),
        }
    }
}
