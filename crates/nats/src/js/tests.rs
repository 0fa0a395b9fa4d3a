//! The machine against a store in memory: publishing, reading and consuming, without a broker.
