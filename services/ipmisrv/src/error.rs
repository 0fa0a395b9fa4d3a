//! Why the daemon cannot start.

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that cannot be.
    #[error("ipmisrv.{key} {why}")]
    Setting {
        /// The key below `ipmisrv`.
        key: &'static str,
        /// What is allowed.
        why: &'static str,
    },
    /// The settings cannot be read.
    #[error("the settings cannot be used")]
    Settings(#[from] service::ConfigError),
    /// No randomness for keys.
    #[error("the kernel gives no random bytes: {0}")]
    Entropy(getrandom::Error),
    /// The bus does not answer.
    #[error("the bus does not answer")]
    Bus(#[from] ipc::Status),
}

impl service::Failure for Error {
    fn exit(&self) -> service::Exit {
        match self {
            Self::Setting { .. } | Self::Settings(_) => service::Exit::Config,
            Self::Entropy(_) | Self::Bus(_) => service::Exit::Retry,
        }
    }
}
