//! What can end the link's daemon; an outage outside does not.

use std::path::PathBuf;

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that cannot be.
    #[error("fleet.{key}: {why}")]
    Config {
        /// The key below `fleet`.
        key: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// The configuration has keys nobody knows.
    #[error("the configuration is refused")]
    Settings(#[from] service::ConfigError),
    /// A file it needs.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No randomness for keys.
    #[error("the kernel gives no random bytes: {0}")]
    Entropy(getrandom::Error),
    /// No thread for a connection.
    #[error("the kernel gives no thread")]
    Thread(#[source] std::io::Error),
    /// The datacenter's server is not there. It is waited for.
    #[error("{url} does not answer: {error}")]
    Unreachable {
        /// Its address.
        url: String,
        /// What the attempt ended with.
        error: String,
    },
    /// The local bus is gone for good.
    #[error("the bus does not answer")]
    Bus(#[from] ipc::Status),
}

impl service::Failure for Error {
    fn exit(&self) -> service::Exit {
        match self {
            Self::Config { .. } | Self::Settings(_) => service::Exit::Config,
            Self::File { .. }
            | Self::Entropy(_)
            | Self::Thread(_)
            | Self::Unreachable { .. }
            | Self::Bus(_) => service::Exit::Retry,
        }
    }
}
