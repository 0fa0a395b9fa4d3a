//! The power machine of a host and the machine of its desired state, without I/O.
