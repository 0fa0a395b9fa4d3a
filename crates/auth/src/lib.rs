//! Accounts, passwords, roles, sessions and lock-out, without I/O.
