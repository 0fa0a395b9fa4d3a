//! Why the daemon cannot run. What goes wrong with a single request is an `ipc::Status` instead.

use std::path::PathBuf;

use service::{Exit, Failure};

/// Why usermgr ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key or value of the configuration.
    #[error(transparent)]
    Config(#[from] service::ConfigError),
    /// A value that is of the right type and still cannot be.
    #[error("configuration of usermgr: {0}")]
    Value(String),
    /// The file with the first administrator's password cannot be read.
    #[error("the password file {} cannot be read", path.display())]
    PasswordFile {
        /// The file as given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The first administrator's password does not meet the policy.
    #[error("the password in {} cannot be used", path.display())]
    WeakPassword {
        /// The file as given.
        path: PathBuf,
        /// Why.
        #[source]
        source: auth::Weakness,
    },
    /// A bucket cannot be read or written at start.
    #[error("accounts and sessions cannot be loaded")]
    Store(#[from] ipc::StateError),
    /// The bus refuses the daemon's subjects.
    #[error("the bus does not let usermgr serve")]
    Serve(#[source] ipc::Status),
    /// A record cannot be stored at start.
    #[error("the first administrator cannot be stored: {0}")]
    NotStored(ipc::Status),
    /// The kernel gives no random numbers.
    #[error("no random numbers")]
    Random,
    /// The first administrator could not be made.
    #[error("the first administrator cannot be created")]
    FirstAdministrator(#[from] auth::Refused),
    /// argon2id does not work, for want of memory.
    #[error("passwords cannot be hashed")]
    Hash(#[from] auth::HashError),
    /// The bus connection was closed under the daemon.
    #[error("the bus closed the connection")]
    BusClosed,
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Value(_) | Self::PasswordFile { .. } | Self::WeakPassword { .. } => {
                Exit::Config
            }
            Self::Store(_)
            | Self::NotStored(_)
            | Self::Serve(_)
            | Self::Random
            | Self::Hash(_)
            | Self::BusClosed => Exit::Retry,
            Self::FirstAdministrator(_) => Exit::Bug,
        }
    }
}
