//! The log lines of what the machine notes.

use crate::machine::Note;

/// Writes one.
pub(crate) fn write(note: &Note) {
    match note {
        // With the kind each has room of its own in the log: logins without end hide no change of an account.
        Note::Done { kind, what, user, by, request_id } => {
            tracing::info!(kind, user, by, request_id, "{what}");
        }
        Note::Role { kind, what, role, by, request_id } => {
            tracing::info!(kind, role, by, request_id, "{what}");
        }
        Note::LoginFailed { user, address, request_id, before } => {
            tracing::warn!(user, address, request_id, before, "login failed");
        }
        Note::LockoutCleared { user, address, by, request_id } => {
            tracing::info!(user, address, by, request_id, "lockout cleared");
        }
        Note::NotStored { status, said } => tracing::warn!(
            error = %status,
            times = said.times,
            lasts = %said.lasts,
            "cannot store accounts and sessions: changes refused, new sessions lost when usermgr restarts"
        ),
        Note::StoredAgain(said) => tracing::info!(
            times = said.times,
            lasted = %said.lasts,
            "accounts and sessions can be stored again"
        ),
    }
}
