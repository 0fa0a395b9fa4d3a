//! The hardware traits on Linux.
