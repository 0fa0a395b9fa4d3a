//! What ends a boot, and errors as text.

use std::error::Error;
use std::io;

/// Why no slot can be booted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// A file of the initrd is missing.
    #[error("cannot read {name} of the initrd")]
    Initrd {
        /// The file.
        name: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// `boot.json` or the command line is not usable.
    #[error(transparent)]
    Config(#[from] boot::ConfigError),
    /// Without a key nothing verifies.
    #[error("the initrd holds no valid key in /keys")]
    NoKey,
    /// The storage did not come up.
    #[error("no slot's partition came up on {0}")]
    NoStorage(boot::Storage),
    /// Both slots were tried.
    #[error("neither slot can be booted")]
    NoSlot,
    /// A step that has no alternative.
    #[error("cannot {step}")]
    Step {
        /// What was tried.
        step: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Fatal {
    /// A failed step, for `map_err`.
    pub(crate) fn step<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Step { step: step.into(), source: source.into() }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let fatal = Fatal::Step { step: "mount /dev".to_owned(), source: io::Error::other("busy") };
        assert_eq!(chain(&fatal), "cannot mount /dev: busy");
        let fatal = Fatal::from(boot::BootConfig::parse(b"{").unwrap_err());
        let text = chain(&fatal);
        assert_eq!(text.matches("EOF").count(), 1, "{text}");
    }
}
