//! A drive of a host whose medium comes from elsewhere.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::Error;

/// What is put into a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveMedium {
    /// Where the host's side finds it: a socket that speaks NBD on a simulated board, a file or a block device on a real one.
    pub path: PathBuf,
    /// The host cannot write it.
    pub is_read_only: bool,
}

/// What is in a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// The medium that was put there last.
    Medium,
    /// Nothing: none was put there since the host's side was started.
    Nothing,
    /// Nothing: the host has taken out what was there.
    EjectedByHost,
}

/// A drive of a host.
///
/// An implementer owes:
/// - what is put there is there until it is taken out, whatever becomes of the process that put it;
/// - taking out never waits for the host, nor for what the medium is read from;
/// - no call holds the caller's loop, whatever the hardware does.
#[async_trait]
pub trait MediaDrive: Send + Sync + fmt::Debug {
    /// Puts a medium there, in place of what is there. One with the same path is the same, and stays as it is: the host does not see a disc changed whose daemon was
    /// started anew.
    ///
    /// # Errors
    /// The host's side does not answer, or cannot have it.
    async fn insert(&self, medium: &DriveMedium) -> Result<(), Error>;

    /// Takes out what is there. Nothing is no error.
    ///
    /// # Errors
    /// The host's side does not answer.
    async fn eject(&self) -> Result<(), Error>;

    /// What is there now.
    ///
    /// # Errors
    /// The host's side does not answer.
    async fn look(&self) -> Result<Inside, Error>;
}
