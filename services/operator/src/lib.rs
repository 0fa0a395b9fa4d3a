//! Starts, watches and restarts every daemon; owns the bus and the watchdog.
