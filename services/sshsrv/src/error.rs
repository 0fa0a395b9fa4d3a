//! Why the daemon cannot start.

/// Why the daemon ends; of the host key, why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that cannot be.
    #[error("sshsrv.{key} {why}")]
    Setting {
        /// The key below `sshsrv`.
        key: &'static str,
        /// What is allowed.
        why: &'static str,
    },
    /// The settings cannot be read.
    #[error("the settings cannot be used")]
    Settings(#[from] service::ConfigError),
    /// There is no board.
    #[error(transparent)]
    Board(#[from] service::NoBoard),
    /// The host key can neither be read nor made: clients would be shown another one at each start.
    #[error("cannot keep host key: {0}")]
    HostKey(String),
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
            Self::Setting { .. } | Self::Settings(_) | Self::Board(_) => service::Exit::Config,
            Self::HostKey(_) | Self::Entropy(_) | Self::Bus(_) => service::Exit::Retry,
        }
    }
}
