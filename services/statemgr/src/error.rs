//! Why the daemon ends.

use service::{Exit, Failure};

/// Why statemgr could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was started without a board file.
    #[error(transparent)]
    NoBoard(#[from] service::NoBoard),
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] service::ConfigError),
    /// What was stored cannot be read. Going on would mean to forget acknowledged requests.
    #[error("the stored state cannot be read")]
    Store(#[from] ipc::StateError),
    /// The bus does not take the daemon's services.
    #[error("the services cannot be served")]
    Serve(#[source] ipc::Status),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::NoBoard(_) | Self::Config(_) => Exit::Config,
            Self::Store(_) | Self::Serve(_) => Exit::Retry,
        }
    }
}
