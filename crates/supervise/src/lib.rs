//! The restart policy and the start order of supervised daemons, without I/O.
