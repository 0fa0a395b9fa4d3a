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
    Silent(#[source] Refused),
}

impl service::Failure for Error {
    fn exit(&self) -> service::Exit {
        match self {
            Self::Config { .. } | Self::Settings(_) => service::Exit::Config,
            Self::Netlink(_) | Self::Silent(_) => service::Exit::Retry,
        }
    }
}

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It said no.
    #[error("{0}")]
    Kernel(std::io::Error),
    /// It said something else, or nothing.
    #[error("{0}")]
    Other(String),
}

impl From<rtnetlink::Error> for Refused {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::Kernel(message.to_io()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Refused {
    /// Whether what was asked for is so already: there to be added, or gone to be removed.
    pub(crate) fn is_done(&self) -> bool {
        // EEXIST, EADDRNOTAVAIL, ESRCH.
        matches!(self, Self::Kernel(error) if matches!(error.raw_os_error(), Some(17 | 99 | 3)))
    }
}
