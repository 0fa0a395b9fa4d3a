//! The subject trie: which subscriptions match a subject.
//!
//! Subscriptions are named by the caller's keys. Results are shared and cached by subject; a change of a literal
//! filter drops the one entry it concerns, a change of a wildcard filter drops them all.

use std::collections::HashMap;
use std::rc::Rc;

use crate::subject::tokens;

/// Results kept for subjects seen lately. Bounds memory against publishers who never use a subject twice.
const CACHE_ENTRIES: usize = 1024;

/// What a subject matched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    /// Each of these gets the message.
    pub(crate) plain: Vec<u32>,
    /// One member of each of these groups gets it. A group is known by its name, whatever filters its members
    /// have.
    pub(crate) queues: Vec<(Box<[u8]>, Vec<u32>)>,
}

impl Matched {
    pub(crate) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }
}

/// The subscriptions whose filter ends at one place.
#[derive(Debug, Default)]
struct Ends {
    plain: Vec<u32>,
    queues: Vec<(Box<[u8]>, Vec<u32>)>,
}

impl Ends {
    fn insert(&mut self, queue: Option<&[u8]>, key: u32) {
        // Most places hold one subscription: grow by one, not by four.
        fn push<T>(to: &mut Vec<T>, value: T) {
            if to.is_empty() {
                to.reserve_exact(1);
            }
            to.push(value);
        }
        match queue {
            None => push(&mut self.plain, key),
            Some(queue) => match self.queues.iter_mut().find(|(name, _)| **name == *queue) {
                Some((_, members)) => members.push(key),
                None => push(&mut self.queues, (queue.into(), vec![key])),
            },
        }
    }

    fn remove(&mut self, queue: Option<&[u8]>, key: u32) {
        match queue {
            None => self.plain.retain(|k| *k != key),
            Some(queue) => {
                for (name, members) in &mut self.queues {
                    if **name == *queue {
                        members.retain(|k| *k != key);
                    }
                }
                self.queues.retain(|(_, members)| !members.is_empty());
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    fn take(&self, found: &mut Matched) {
        found.plain.extend_from_slice(&self.plain);
        for (name, members) in &self.queues {
            match found.queues.iter_mut().find(|(known, _)| known == name) {
                Some((_, all)) => all.extend_from_slice(members),
                None => found.queues.push((name.clone(), members.clone())),
            }
        }
    }
}

/// The next tokens: nearly all places have one or a few, and a hash table for one costs more than a kilobyte.
#[derive(Debug)]
enum Children {
    Few(Vec<(Box<[u8]>, Box<Node>)>),
    Many(HashMap<Box<[u8]>, Box<Node>>),
}

impl Default for Children {
    fn default() -> Self {
        Children::Few(Vec::new())
    }
}

impl Children {
    /// Above this a table is quicker than looking at each.
    const FEW: usize = 8;

    fn get(&self, token: &[u8]) -> Option<&Node> {
        match self {
            Children::Few(list) => list.iter().find(|(t, _)| **t == *token).map(|(_, n)| &**n),
            Children::Many(map) => map.get(token).map(|n| &**n),
        }
    }

    fn get_mut(&mut self, token: &[u8]) -> Option<&mut Node> {
        match self {
            Children::Few(list) => list.iter_mut().find(|(t, _)| **t == *token).map(|(_, n)| &mut **n),
            Children::Many(map) => map.get_mut(token).map(|n| &mut **n),
        }
    }

    fn add(&mut self, token: &[u8]) {
        if self.get(token).is_some() {
            return;
        }
        if let Children::Few(list) = self
            && list.len() >= Self::FEW
        {
            *self = Children::Many(list.drain(..).collect());
        }
        match self {
            Children::Few(list) => {
                list.reserve_exact(1);
                list.push((token.into(), Box::default()));
            }
            Children::Many(map) => {
                map.insert(token.into(), Box::default());
            }
        }
    }

    fn remove(&mut self, token: &[u8]) {
        match self {
            Children::Few(list) => list.retain(|(t, _)| **t != *token),
            Children::Many(map) => {
                map.remove(token);
                if map.is_empty() {
                    *self = Children::default();
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Children::Few(list) => list.is_empty(),
            Children::Many(map) => map.is_empty(),
        }
    }
}

#[derive(Debug, Default)]
struct Node {
    children: Children,
    star: Option<Box<Node>>,
    here: Option<Box<Ends>>,
    /// Subscriptions whose filter ends here in `>`.
    full: Option<Box<Ends>>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.star.is_none() && self.here.is_none() && self.full.is_none()
    }
}

/// The trie and its cache.
#[derive(Debug, Default)]
pub(crate) struct Sublist {
    root: Node,
    cache: HashMap<Box<[u8]>, Rc<Matched>>,
    generation: u64,
}

impl Sublist {
    /// Changes whenever a result may have changed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds a subscription; `filter` has been checked.
    pub(crate) fn insert(&mut self, filter: &[u8], queue: Option<&[u8]>, key: u32) {
        self.forget(filter);
        let mut node = &mut self.root;
        let mut full = false;
        for token in tokens(filter) {
            match token {
                b">" => full = true,
                b"*" => node = node.star.get_or_insert_default(),
                token => {
                    node.children.add(token);
                    match node.children.get_mut(token) {
                        Some(child) => node = child,
                        None => return,
                    }
                }
            }
        }
        let ends = if full { &mut node.full } else { &mut node.here };
        ends.get_or_insert_default().insert(queue, key);
    }

    /// Takes a subscription out again.
    pub(crate) fn remove(&mut self, filter: &[u8], queue: Option<&[u8]>, key: u32) {
        self.forget(filter);
        let mut path = tokens(filter);
        remove(&mut self.root, &mut path, queue, key);
    }

    fn forget(&mut self, filter: &[u8]) {
        self.generation += 1;
        if crate::subject::is_literal(filter) {
            self.cache.remove(filter);
        } else {
            self.cache.clear();
        }
    }

    /// What matches a literal subject.
    pub(crate) fn matches(&mut self, subject: &[u8]) -> Rc<Matched> {
        if let Some(found) = self.cache.get(subject) {
            return Rc::clone(found);
        }
        let found = Rc::new(self.look_up(subject));
        if self.cache.len() >= CACHE_ENTRIES {
            self.cache.clear();
        }
        self.cache.insert(subject.into(), Rc::clone(&found));
        found
    }

    /// As [`Sublist::matches`], leaving the cache alone.
    pub(crate) fn look_up(&self, subject: &[u8]) -> Matched {
        let mut found = Matched::default();
        // An empty token matches nothing, as in nats-server.
        if tokens(subject).any(<[u8]>::is_empty) {
            return found;
        }
        collect(&self.root, Some(subject), &mut found);
        found
    }
}

/// Walks down; the depth is bounded by the trie's own, which [`crate::subject::MAX_TOKENS`] bounds.
fn collect(node: &Node, rest: Option<&[u8]>, found: &mut Matched) {
    let Some(rest) = rest else {
        if let Some(ends) = &node.here {
            ends.take(found);
        }
        return;
    };
    if let Some(ends) = &node.full {
        ends.take(found);
    }
    let (token, rest) = match memchr::memchr(b'.', rest) {
        Some(dot) => (rest.get(..dot).unwrap_or_default(), rest.get(dot + 1..)),
        None => (rest, None),
    };
    if let Some(star) = &node.star {
        collect(star, rest, found);
    }
    if let Some(child) = node.children.get(token) {
        collect(child, rest, found);
    }
}

fn remove<'a>(node: &mut Node, path: &mut impl Iterator<Item = &'a [u8]>, queue: Option<&[u8]>, key: u32) {
    let ends = match path.next() {
        None => &mut node.here,
        Some(b">") => &mut node.full,
        Some(b"*") => {
            if let Some(star) = &mut node.star {
                remove(star, path, queue, key);
                if star.is_empty() {
                    node.star = None;
                }
            }
            return;
        }
        Some(token) => {
            if let Some(child) = node.children.get_mut(token) {
                remove(child, path, queue, key);
                if child.is_empty() {
                    node.children.remove(token);
                }
            }
            return;
        }
    };
    if let Some(there) = ends {
        there.remove(queue, key);
        if there.is_empty() {
            *ends = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_removed_subscription_leaves_nothing_behind() {
        let mut list = Sublist::default();
        for (n, filter) in [&b"a.b"[..], b"a.*", b"a.>", b">", b"*.b.>"].into_iter().enumerate() {
            let key = u32::try_from(n).unwrap();
            list.insert(filter, None, key);
            list.insert(filter, Some(b"q"), key + 100);
        }
        assert_eq!(list.matches(b"a.b").plain.len(), 4);
        assert_eq!(list.matches(b"a.b").queues.len(), 1);
        assert_eq!(list.matches(b"a.b").queues[0].1.len(), 4);
        for (n, filter) in [&b"a.b"[..], b"a.*", b"a.>", b">", b"*.b.>"].into_iter().enumerate() {
            let key = u32::try_from(n).unwrap();
            list.remove(filter, None, key);
            list.remove(filter, Some(b"q"), key + 100);
        }
        assert!(list.matches(b"a.b").is_empty());
        assert!(list.root.is_empty());
    }

    #[test]
    fn many_tokens_at_one_place_are_found_and_removed() {
        let mut list = Sublist::default();
        for n in 0..100u32 {
            list.insert(format!("event.{n}.state").as_bytes(), None, n);
        }
        for n in 0..100u32 {
            assert_eq!(list.matches(format!("event.{n}.state").as_bytes()).plain, [n]);
            list.remove(format!("event.{n}.state").as_bytes(), None, n);
            assert!(list.matches(format!("event.{n}.state").as_bytes()).is_empty());
        }
        assert!(list.root.is_empty());
    }

    #[test]
    fn the_cache_is_bounded_and_follows_changes() {
        let mut list = Sublist::default();
        assert!(list.matches(b"a.b").is_empty());
        list.insert(b"a.*", None, 1);
        assert_eq!(list.matches(b"a.b").plain, [1]);
        list.insert(b"a.b", None, 2);
        let mut plain = list.matches(b"a.b").plain.clone();
        plain.sort_unstable();
        assert_eq!(plain, [1, 2]);
        for n in 0..5000 {
            let _ = list.matches(format!("s.{n}").as_bytes());
        }
        assert!(list.cache.len() <= CACHE_ENTRIES);
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("c")]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_trie_agrees_with_matching_one_by_one(
            filters in proptest::collection::vec(
                (proptest::collection::vec(prop_oneof![3 => token(), 1 => Just("*")], 1..4), any::<bool>()), 0..12),
            subjects in proptest::collection::vec(proptest::collection::vec(token(), 1..5), 1..6),
        ) {
            let filters: Vec<String> = filters.into_iter()
                .map(|(t, full)| if full { format!("{}.>", t.join(".")) } else { t.join(".") }).collect();
            let mut list = Sublist::default();
            for (n, filter) in filters.iter().enumerate() {
                list.insert(filter.as_bytes(), None, u32::try_from(n).unwrap());
            }
            for subject in subjects {
                let subject = subject.join(".");
                let mut got = list.matches(subject.as_bytes()).plain.clone();
                got.sort_unstable();
                let expected: Vec<u32> = filters.iter().enumerate()
                    .filter(|(_, f)| crate::subject::matches(f.as_bytes(), subject.as_bytes()))
                    .map(|(n, _)| u32::try_from(n).unwrap()).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
