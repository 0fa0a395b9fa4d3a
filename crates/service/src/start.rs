//! What nearly every daemon needs to start, or cannot start without.

use crate::config::ConfigError;
use crate::context::NoBoard;
use crate::exit::{Exit, Failure};

/// The table of a daemon that has nothing to configure yet: any key in it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a daemon on the bus cannot start. One with causes of its own has an enum of its own.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// It was started without a board file.
    #[error(transparent)]
    NoBoard(#[from] NoBoard),
    /// The bus does not take the daemon's services, or does not let it listen.
    #[error("the daemon's services cannot be served")]
    Serve(#[from] ipc::Status),
    /// What was stored cannot be read. To go on would be to forget what was acknowledged (I-4).
    #[error("what the daemon has stored cannot be read")]
    Store(#[from] ipc::StateError),
}

impl Failure for StartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoBoard(_) => Exit::Config,
            Self::Serve(_) | Self::Store(_) => Exit::Retry,
        }
    }
}
