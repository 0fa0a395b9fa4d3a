//! What a BMC tells its fleet about itself.

use serde::{Deserialize, Serialize};

/// A BMC's card, as JSON under its id in the bucket `ubmc` of the datacenter's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its id: the token in `ubmc.<id>.…`.
    pub id: String,
    /// Name of its machine, for people.
    pub name: String,
    /// Version of its firmware.
    pub version: String,
    /// Its hosts and their status (`HOST_STATUS_ON`, …).
    pub hosts: Vec<HostLine>,
    /// When it was written, seconds since 1970 by the BMC's clock.
    pub at: u64,
    /// Seconds until the next one: a card older than three of these is of a BMC that cannot be reached.
    pub every_s: u32,
    /// Number of the last event that the fleet has for certain.
    pub cursor: u64,
}

/// One host on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLine {
    /// Its name.
    pub name: String,
    /// Its status, as the API spells it.
    pub status: String,
}
