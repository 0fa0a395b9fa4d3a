//! The hardware traits over the twin's socket.
