//! Owns the desired and actual state of hosts, chassis and the BMC, and their history.
