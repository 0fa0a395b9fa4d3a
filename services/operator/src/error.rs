//! Why the operator does not run.

use std::net::SocketAddr;
use std::path::PathBuf;

use service::{Exit, Failure};

/// Why the operator does not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or a setting is wrong; the message says which.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] service::ConfigError),
    /// The board file is wrong; the message is the report.
    #[error("--board {}:\n{report}", path.display())]
    Board {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        report: String,
    },
    /// A listener's address cannot be had.
    #[error("{flag} {address}: cannot listen there")]
    Listen {
        /// The flag.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or directory cannot be used.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried, a verb.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another operator uses the state directory.
    #[error("another operator runs with --state-dir {}", .0.display())]
    Busy(PathBuf),
    /// The bus did not start.
    #[error("the bus did not start")]
    Bus(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A daemon refused its configuration at the first start.
    #[error("{daemon} does not start with this configuration{output}")]
    Daemon {
        /// The daemon.
        daemon: String,
        /// What it said, on lines of its own.
        output: String,
    },
    /// The kernel refused something every process may do.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The roster cannot be supervised: a bug.
    #[error("the list of daemons is wrong")]
    Roster(#[from] supervise::SpecError),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Usage(_)
            | Error::Config(_)
            | Error::Board { .. }
            | Error::Listen { .. }
            | Error::File { .. }
            | Error::Daemon { .. } => Exit::Config,
            Error::Busy(_) | Error::Bus(_) | Error::System { .. } => Exit::Retry,
            Error::Roster(_) => Exit::Bug,
        }
    }
}
