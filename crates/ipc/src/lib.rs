//! Typed RPC, events and state over NATS, and the embedded server.
