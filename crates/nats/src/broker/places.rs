//! Who has a place among the connections.
//!
//! A stranger is a connection that has not said who it is. Strangers never keep out a user: they have half of the places,
//! and when these are taken the one that has said nothing for longest goes. And users do not keep out each other: some
//! places are reserved for each.

use std::collections::BTreeMap;

use super::config::Config;

/// Places reserved for each user, where there are enough.
pub(super) const RESERVED: usize = 4;
/// One in so many places is never taken by a user, so that another one can come and say who it is.
const DOOR: usize = 16;

#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    max_strangers: usize,
    max_known: usize,
    reserved: usize,
    /// By the number that counts connections: the first is the oldest.
    strangers: BTreeMap<u64, u32>,
    /// Connections by user; a single entry when no users are configured.
    known: Vec<usize>,
}

impl Places {
    pub(super) fn new(config: &Config) -> Self {
        let (max, users) = (config.limits.max_connections, config.users.len());
        let known = vec![0; users.max(1)];
        let strangers = BTreeMap::new();
        if users == 0 {
            return Places { max, max_strangers: max, max_known: max, reserved: 0, strangers, known };
        }
        let max_known = max - max / DOOR;
        let reserved = RESERVED.min(max_known / 2 / users);
        Places { max, max_strangers: max.div_ceil(2), max_known, reserved, strangers, known }
    }

    fn total_known(&self) -> usize {
        self.known.iter().sum()
    }

    /// Whether a stranger may come in without another one leaving.
    pub(super) fn has_room(&self) -> bool {
        let strangers = self.strangers.len();
        strangers < self.max_strangers && strangers + self.total_known() < self.max
    }

    pub(super) fn oldest_stranger(&self) -> Option<u32> {
        self.strangers.first_key_value().map(|(_, slot)| *slot)
    }

    pub(super) fn came(&mut self, client: u64, slot: u32) {
        self.strangers.insert(client, slot);
    }

    /// A connection said who it is: the user at this position. Before, it was `before` or a stranger. Whether there is a
    /// place for it; else nothing changes.
    pub(super) fn admit(&mut self, client: u64, before: Option<usize>, who: Option<usize>) -> bool {
        let place = who.unwrap_or(0);
        let stranger = self.strangers.contains_key(&client);
        if !stranger && before == who {
            return true;
        }
        let others = self.known.iter().enumerate().filter(|(n, _)| *n != place);
        let reserved: usize = others.map(|(_, count)| self.reserved.saturating_sub(*count)).sum();
        if self.total_known() + reserved >= self.max_known {
            return false;
        }
        self.left(client, before);
        if let Some(count) = self.known.get_mut(place) {
            *count += 1;
        }
        true
    }

    pub(super) fn left(&mut self, client: u64, who: Option<usize>) {
        if self.strangers.remove(&client).is_none()
            && let Some(count) = self.known.get_mut(who.unwrap_or(0))
        {
            *count = count.saturating_sub(1);
        }
    }
}
