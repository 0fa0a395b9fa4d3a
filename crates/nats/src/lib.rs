//! The NATS protocol, subject matching, the broker and the stream machines, without I/O.
