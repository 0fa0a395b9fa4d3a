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

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<[u8]>, Node>,
    star: Option<Box<Node>>,
    plain: Vec<u32>,
    queues: Vec<(Box<[u8]>, Vec<u32>)>,
    /// Subscriptions whose filter ends here in `>`.
    full_plain: Vec<u32>,
    full_queues: Vec<(Box<[u8]>, Vec<u32>)>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.star.is_none()
            && self.plain.is_empty()
            && self.queues.is_empty()
            && self.full_plain.is_empty()
            && self.full_queues.is_empty()
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
                    if !node.children.contains_key(token) {
                        node.children.insert(token.into(), Node::default());
                    }
                    match node.children.get_mut(token) {
                        Some(child) => node = child,
                        None => return,
                    }
                }
            }
        }
        let (plain, queues) = if full {
            (&mut node.full_plain, &mut node.full_queues)
        } else {
            (&mut node.plain, &mut node.queues)
        };
        match queue {
            None => plain.push(key),
            Some(queue) => match queues.iter_mut().find(|(name, _)| **name == *queue) {
                Some((_, members)) => members.push(key),
                None => queues.push((queue.into(), vec![key])),
            },
        }
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

fn take(plain: &[u32], queues: &[(Box<[u8]>, Vec<u32>)], found: &mut Matched) {
    found.plain.extend_from_slice(plain);
    for (name, members) in queues {
        match found.queues.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => all.extend_from_slice(members),
            None => found.queues.push((name.clone(), members.clone())),
        }
    }
}

/// Walks down; the depth is bounded by the trie's own, which [`crate::subject::MAX_TOKENS`] bounds.
fn collect(node: &Node, rest: Option<&[u8]>, found: &mut Matched) {
    let Some(rest) = rest else {
        take(&node.plain, &node.queues, found);
        return;
    };
    take(&node.full_plain, &node.full_queues, found);
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
    let (plain, queues) = match path.next() {
        None => (&mut node.plain, &mut node.queues),
        Some(b">") => (&mut node.full_plain, &mut node.full_queues),
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
    match queue {
        None => plain.retain(|k| *k != key),
        Some(queue) => {
            for (name, members) in queues.iter_mut() {
                if **name == *queue {
                    members.retain(|k| *k != key);
                }
            }
            queues.retain(|(_, members)| !members.is_empty());
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
