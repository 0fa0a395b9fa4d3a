//! Why the daemon ends.

use service::{Exit, Failure};

/// Why powermgr could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was started without a board file.
    #[error("powermgr needs a board file")]
    NoBoard,
    /// The board file is wrong.
    #[error("the board file cannot be used")]
    Board(#[source] Box<board::LoadError>),
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] service::ConfigError),
    /// A line could not be opened or read.
    #[error("{key} of host {host} cannot be used")]
    Line {
        /// The host.
        host: String,
        /// The line's key in the board file.
        key: &'static str,
        /// Why.
        #[source]
        source: hal::Error,
    },
    /// The bus does not take the daemon's services.
    #[error("PowerService cannot be served")]
    Serve(#[source] ipc::Status),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::NoBoard | Self::Board(_) | Self::Config(_) => Exit::Config,
            Self::Line { source, .. } => match source.kind() {
                hal::ErrorKind::Wiring | hal::ErrorKind::Permission => Exit::Config,
                hal::ErrorKind::Busy | hal::ErrorKind::Unavailable | hal::ErrorKind::Failed => Exit::Retry,
            },
            Self::Serve(_) => Exit::Retry,
        }
    }
}
