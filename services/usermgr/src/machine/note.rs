//! What is logged, as data: the shell writes it.

use ipc::Status;
use units::Said;

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// Something was done about an account or a session: `kind` for programs that read the log, `what` for people.
    Done {
        kind: &'static str,
        what: &'static str,
        user: Option<String>,
        by: Option<String>,
        request_id: String,
    },
    /// Something was done about a role, likewise.
    Role { kind: &'static str, what: &'static str, role: String, by: Option<String>, request_id: String },
    /// A login failed, and `before` it so many that nobody was told of.
    LoginFailed { user: Option<String>, address: String, request_id: String, before: u64 },
    /// A lock was lifted: of an account, of an address, or of the one from the other.
    LockoutCleared { user: Option<String>, address: Option<String>, by: String, request_id: String },
    /// The store takes nothing.
    NotStored { status: Status, said: Said },
    /// It does again.
    StoredAgain(Said),
}
