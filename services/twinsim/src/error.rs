//! Why the twin cannot start.

use std::io;
use std::path::PathBuf;

use service::{Exit, Failure};

/// Why the twin cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator named no board.
    #[error(transparent)]
    NoBoard(#[from] service::NoBoard),
    /// The board is made of real hardware.
    #[error("board {board} has hal = \"linux\"; there is nothing to simulate")]
    NotSimulated {
        /// The board.
        board: String,
    },
    /// A socket cannot be made.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another twin serves this directory.
    #[error("another twin serves {}", path.display())]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// A console's pseudo-terminal cannot be made.
    #[error("cannot make the console {}, a pseudo-terminal: are /dev/ptmx and /dev/pts there (devpts)?", path.display())]
    Console {
        /// The link to it.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The folder of sensors cannot be made.
    #[error("cannot make {}, the folder that looks like /sys", path.display())]
    Tree {
        /// What could not be made.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Something for the QEMU guest is not there.
    #[error("{what} is missing for sim.host = \"qemu\": {remedy}")]
    Guest {
        /// What is missing.
        what: String,
        /// How to get it.
        remedy: &'static str,
    },
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::NoBoard(_) | Self::NotSimulated { .. } | Self::Guest { .. } => Exit::Config,
            Self::Listen { .. } | Self::Running { .. } | Self::Console { .. } | Self::Tree { .. } => {
                Exit::Retry
            }
        }
    }
}
