//! How many credentials are being checked at once, and who gives way when there are too many.
//!
//! A check has its place until usermgr has answered or its time is over, also when whoever asked has gone: usermgr, or the bus in front of it,
//! has the question that long, and a place that was free sooner would bound nothing. Three rules, as in the line before the password hash:
//!
//! - Administrators known from an address, other accounts known from one, and everybody else have places nobody else gets.
//! - No account at one address, and no address of strangers, has more than its share.
//! - Who has fewer than another of his class takes the newest place of the one who has most rather than be refused.

use std::collections::{BTreeMap, HashMap};

use auth::Class;

use crate::caller::Peer;

/// Who shares a bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    /// An administrator's account that was seen at this address.
    Administrator(String, Peer),
    /// Another account that was seen there.
    Known(String, Peer),
    /// Somebody of whom nothing is known yet.
    Stranger(Peer),
}

impl Flow {
    fn class(&self) -> Class {
        match self {
            Self::Administrator(..) => Class::Administrator,
            Self::Known(..) => Class::Known,
            Self::Stranger(_) => Class::Stranger,
        }
    }
}

/// The places.
#[derive(Debug)]
pub(crate) struct Checks {
    total: usize,
    per_flow: usize,
    /// Of each class, for nobody else.
    reserved: usize,
    /// Oldest first.
    held: BTreeMap<u64, Flow>,
    next: u64,
}

impl Checks {
    /// So many places, at least one: a quarter of them for one flow, and a quarter kept for each class.
    pub(crate) fn new(total: usize) -> Self {
        let total = total.max(1);
        Self { total, per_flow: (total / 4).max(1), reserved: total / 4, held: BTreeMap::new(), next: 0 }
    }

    /// A place, and the one that is lost to it, if there is one; `None` when the flow has its share, or nobody of its class has more than it
    /// would have.
    pub(crate) fn enter(&mut self, flow: Flow) -> Option<(u64, Option<u64>)> {
        let own = self.held.values().filter(|other| **other == flow).count();
        if own >= self.per_flow {
            return None;
        }
        let lost = if self.has_room(flow.class()) { None } else { Some(self.of_longest(flow.class(), own)?) };
        if let Some(lost) = lost {
            self.held.remove(&lost);
        }
        let id = self.next;
        self.next += 1;
        self.held.insert(id, flow);
        Some((id, lost))
    }

    /// Gives a place back; nothing happens when it was lost.
    pub(crate) fn leave(&mut self, id: u64) {
        self.held.remove(&id);
    }

    /// Whether one more of a class fits beside what is kept for the others.
    fn has_room(&self, class: Class) -> bool {
        let held = |class| self.held.values().filter(|flow| flow.class() == class).count();
        class.has_room(held, self.reserved, self.total)
    }

    /// The newest place of the flow of a class that has most, if one that has `own` will have fewer even with one more.
    fn of_longest(&self, class: Class, own: usize) -> Option<u64> {
        let mut flows: HashMap<&Flow, (usize, u64)> = HashMap::new();
        for (id, flow) in self.held.iter().filter(|(_, flow)| flow.class() == class) {
            let (count, newest) = flows.entry(flow).or_default();
            *count += 1;
            *newest = *id;
        }
        let (count, newest) = flows.into_values().max()?;
        (count > own + 1).then_some(newest)
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> Peer {
        Peer::Address([192, 0, 2, last].into())
    }

    fn administrator(last: u8) -> Flow {
        Flow::Administrator("u-admin".to_owned(), at(last))
    }

    fn known(name: &str) -> Flow {
        Flow::Known(name.to_owned(), at(1))
    }

    #[test]
    fn one_flow_has_a_quarter_and_its_places_come_back() {
        let mut checks = Checks::new(32);
        let ids: Vec<u64> = (0..8).map(|_| checks.enter(Flow::Stranger(at(1))).unwrap().0).collect();
        assert_eq!(checks.enter(Flow::Stranger(at(1))), None);
        checks.leave(ids[0]);
        checks.leave(ids[0]);
        assert!(checks.enter(Flow::Stranger(at(1))).is_some());
        assert_eq!(checks.enter(Flow::Stranger(at(1))), None);
    }

    #[test]
    fn whoever_floods_a_newcomer_and_an_administrator_get_in() {
        // A few addresses, many that have one each, and accounts that are known.
        for addresses in [4_u8, 200] {
            let mut checks = Checks::new(32);
            for n in 0..u64::from(addresses) * 8 {
                let last = u8::try_from(n % u64::from(addresses)).unwrap();
                let _ = checks.enter(Flow::Stranger(at(last)));
                let _ = checks.enter(known(&format!("reader{}", n % 20)));
            }
            assert!(checks.held() <= 24, "an administrator's places are kept");
            for _ in 0..8 {
                assert!(matches!(checks.enter(administrator(9)), Some((_, None))), "{addresses} addresses");
            }
            assert!(checks.held() <= 32);
        }
        // One who is not known yet takes a place of the address that has most.
        let mut checks = Checks::new(32);
        let ids: Vec<u64> =
            (0..32_u8).filter_map(|n| checks.enter(Flow::Stranger(at(n % 4)))).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 16, "the rest is kept for who is known");
        let (_, lost) = checks.enter(Flow::Stranger(at(99))).unwrap();
        assert!(lost.is_some_and(|lost| ids.contains(&lost)));
        assert_eq!(checks.held(), 16);
        assert_eq!(checks.enter(Flow::Stranger(at(1))), None, "one of those that have most");
    }

    #[test]
    fn few_places_are_places_all_the_same() {
        for total in 0..8 {
            let mut checks = Checks::new(total);
            let (id, lost) = checks.enter(Flow::Stranger(at(1))).unwrap();
            assert_eq!(lost, None);
            checks.leave(id);
            assert!(checks.enter(administrator(1)).is_some());
        }
    }
}
