//! What a session may do.

use host_session::Opener;
use media::Medium;

/// A session that was allowed.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) by: Opener,
    pub(crate) what: What,
}

/// What it is for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// To serve a file that is in this drive.
    Serve { slot: usize, medium: Medium, resumes: bool },
    /// To bring a file into the store.
    Upload { name: String, size: u64 },
}
