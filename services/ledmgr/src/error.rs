//! Why the daemon ends.

use service::{Exit, Failure};

/// Why ledmgr could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was started without a board file.
    #[error(transparent)]
    NoBoard(#[from] service::NoBoard),
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] service::ConfigError),
    /// The bus does not take the daemon's services.
    #[error("LedService cannot be served")]
    Serve(#[source] ipc::Status),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::NoBoard(_) | Self::Config(_) => Exit::Config,
            Self::Serve(_) => Exit::Retry,
        }
    }
}
