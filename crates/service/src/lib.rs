//! What every daemon shares: configuration, logs, clock, readiness, shutdown, error chain.
