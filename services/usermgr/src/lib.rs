//! Owns accounts and sessions.
