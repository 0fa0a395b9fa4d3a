//! Exit codes the operator understands.

use std::process::ExitCode;

/// How a daemon ended. The numbers follow `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Asked to stop, and stopped.
    Ok = 0,
    /// Its configuration is wrong: starting it again cannot help (`EX_USAGE`).
    Config = 64,
    /// A bug: the operator restarts it and keeps its last output (`EX_SOFTWARE`).
    Bug = 70,
    /// Something it needs was not there: the operator tries again (`EX_TEMPFAIL`).
    Retry = 75,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What a child's exit status means; a status we do not use is a bug.
    pub fn from_code(code: i32) -> Self {
        match code {
            0 => Exit::Ok,
            64 => Exit::Config,
            75 => Exit::Retry,
            _ => Exit::Bug,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// A daemon's error knows whether starting again can help.
pub trait Failure: std::error::Error {
    /// How the process shall end because of this error.
    fn exit(&self) -> Exit;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_means_itself() {
        for exit in [Exit::Ok, Exit::Config, Exit::Bug, Exit::Retry] {
            assert_eq!(Exit::from_code(i32::from(exit.code())), exit);
        }
        assert_eq!(Exit::from_code(101), Exit::Bug);
    }
}
