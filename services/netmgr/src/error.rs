//! What can end the daemon; a network that is not there does not.

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that cannot be.
    #[error("netmgr.{key}: {why}")]
    Config {
        /// The key below `netmgr`.
        key: String,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// The configuration has keys nobody knows.
    #[error("the configuration is refused")]
    Settings(#[from] service::ConfigError),
    /// The kernel does not let it in.
    #[error("the kernel's network cannot be reached")]
    Netlink(#[source] std::io::Error),
    /// The kernel does not answer any more.
    #[error("the kernel does not answer about the network")]
    Silent(#[source] crate::kernel::Refused),
}

impl service::Failure for Error {
    fn exit(&self) -> service::Exit {
        match self {
            Self::Config { .. } | Self::Settings(_) => service::Exit::Config,
            Self::Netlink(_) | Self::Silent(_) => service::Exit::Retry,
        }
    }
}
