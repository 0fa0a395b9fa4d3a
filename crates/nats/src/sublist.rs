//! The subject trie: which subscriptions match a subject.
//!
//! Subscriptions are named by the caller's keys. Results are shared and cached by subject; a change of a literal
//! filter drops the one entry it concerns, a change of a wildcard filter drops them all.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::subject::tokens;

/// Results kept for subjects seen lately. Bounds memory against publishers who never use a subject twice.
const CACHE_ENTRIES: usize = 1024;
/// What they cost together, in bytes.
const CACHE_BYTES: usize = 1024 * 1024;

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
    /// What keeping it costs, in bytes.
    fn cost(&self) -> usize {
        const FIXED: usize = 128;
        let queues: usize = self.queues.iter().map(|(name, m)| FIXED + name.len() + m.capacity() * 4).sum();
        FIXED + self.plain.capacity() * 4 + queues
    }

    /// Makes one of what several filters gave.
    fn merge(&mut self) {
        self.queues.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.queues.dedup_by(|(name, members), (first, all)| {
            let same = name == first;
            if same {
                all.append(members);
            }
            same
        });
    }
}

/// The subscriptions whose filter ends at one place. All are in order, so that thousands of them come and go without a look
/// at each.
#[derive(Debug, Default)]
struct Ends {
    plain: Vec<u32>,
    queues: Vec<(Box<[u8]>, Vec<u32>)>,
}

impl Ends {
    fn insert(&mut self, queue: Option<&[u8]>, key: u32) {
        // Most places hold one subscription: grow by one, not by four.
        fn add<T>(to: &mut Vec<T>, at: usize, value: T) {
            if to.is_empty() {
                to.reserve_exact(1);
            }
            to.insert(at, value);
        }
        fn add_key(to: &mut Vec<u32>, key: u32) {
            if let Err(at) = to.binary_search(&key) {
                add(to, at, key);
            }
        }
        let Some(queue) = queue else { return add_key(&mut self.plain, key) };
        match self.queues.binary_search_by(|(name, _)| (**name).cmp(queue)) {
            Ok(at) => {
                if let Some((_, members)) = self.queues.get_mut(at) {
                    add_key(members, key);
                }
            }
            Err(at) => add(&mut self.queues, at, (queue.into(), vec![key])),
        }
    }

    fn remove(&mut self, queue: Option<&[u8]>, key: u32) {
        fn remove_key(from: &mut Vec<u32>, key: u32) {
            if let Ok(at) = from.binary_search(&key) {
                from.remove(at);
            }
        }
        let Some(queue) = queue else { return remove_key(&mut self.plain, key) };
        if let Ok(at) = self.queues.binary_search_by(|(name, _)| (**name).cmp(queue))
            && let Some((_, members)) = self.queues.get_mut(at)
        {
            remove_key(members, key);
            if members.is_empty() {
                self.queues.remove(at);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    fn keys(&self) -> impl Iterator<Item = u32> {
        self.plain.iter().chain(self.queues.iter().flat_map(|(_, members)| members)).copied()
    }

    fn take(&self, found: &mut Matched) {
        found.plain.extend_from_slice(&self.plain);
        found.queues.extend_from_slice(&self.queues);
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
    /// What the cache costs, in bytes.
    cached: usize,
    /// Places of the trie looked at, see [`Sublist::take_visited`].
    visited: Cell<usize>,
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
        if !crate::subject::is_literal(filter) {
            self.cache.clear();
            self.cached = 0;
        } else if let Some(found) = self.cache.remove(filter) {
            self.cached = self.cached.saturating_sub(filter.len() + found.cost());
        }
    }

    /// What matches a literal subject.
    pub(crate) fn matches(&mut self, subject: &[u8]) -> Rc<Matched> {
        if let Some(found) = self.cache.get(subject) {
            return Rc::clone(found);
        }
        let found = Rc::new(self.look_up(subject));
        let cost = subject.len() + found.cost();
        if self.cache.len() >= CACHE_ENTRIES || self.cached + cost > CACHE_BYTES {
            self.cache.clear();
            self.cached = 0;
        }
        if cost <= CACHE_BYTES / 4 {
            self.cached += cost;
            self.cache.insert(subject.into(), Rc::clone(&found));
        }
        found
    }

    /// How many places of the trie were looked at since the last call.
    pub(crate) fn take_visited(&self) -> usize {
        self.visited.take()
    }

    /// As [`Sublist::matches`], leaving the cache alone.
    pub(crate) fn look_up(&self, subject: &[u8]) -> Matched {
        let mut found = Matched::default();
        let mut places = 0;
        self.walk(subject, &mut |ends| {
            ends.take(&mut found);
            places += 1;
            false
        });
        if places > 1 && !found.queues.is_empty() {
            found.merge();
        }
        found
    }

    /// Whether one of those that match a literal subject is such.
    pub(crate) fn any(&self, subject: &[u8], mut such: impl FnMut(u32) -> bool) -> bool {
        self.walk(subject, &mut |ends| ends.keys().any(&mut such))
    }

    /// Shows the places where filters end that match, until `stop` says so.
    fn walk(&self, subject: &[u8], stop: &mut dyn FnMut(&Ends) -> bool) -> bool {
        // An empty token matches nothing, as in nats-server.
        !tokens(subject).any(<[u8]>::is_empty) && walk(&self.root, Some(subject), &self.visited, stop)
    }
}

/// Walks down; the depth is bounded by the trie's own, which [`crate::subject::MAX_TOKENS`] bounds.
fn walk(
    node: &Node,
    rest: Option<&[u8]>,
    visited: &Cell<usize>,
    stop: &mut dyn FnMut(&Ends) -> bool,
) -> bool {
    visited.set(visited.get().saturating_add(1));
    let Some(rest) = rest else { return node.here.as_ref().is_some_and(|ends| stop(ends)) };
    if node.full.as_ref().is_some_and(|ends| stop(ends)) {
        return true;
    }
    let (token, rest) = match memchr::memchr(b'.', rest) {
        Some(dot) => (rest.get(..dot).unwrap_or_default(), rest.get(dot + 1..)),
        None => (rest, None),
    };
    node.star.as_ref().is_some_and(|star| walk(star, rest, visited, stop))
        || node.children.get(token).is_some_and(|child| walk(child, rest, visited, stop))
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
        assert_eq!(*list.matches(b"a.b"), Matched::default());
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
            assert!(list.matches(format!("event.{n}.state").as_bytes()).plain.is_empty());
        }
        assert!(list.root.is_empty());
    }

    #[test]
    fn the_cache_is_bounded_and_follows_changes() {
        let mut list = Sublist::default();
        assert_eq!(*list.matches(b"a.b"), Matched::default());
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

    #[test]
    fn large_results_and_long_subjects_do_not_fill_the_cache() {
        let mut list = Sublist::default();
        for n in 0..2_000u32 {
            list.insert(b"a.>", (n % 2 == 0).then(|| format!("group{n}")).as_deref().map(str::as_bytes), n);
        }
        for n in 0..100 {
            let found = list.matches(format!("a.{n}.{}", "z".repeat(4_000)).as_bytes());
            assert_eq!((found.plain.len(), found.queues.len()), (1_000, 1_000));
            let held: usize = list.cache.iter().map(|(k, v)| k.len() + v.cost()).sum();
            assert!(held == list.cached && held <= CACHE_BYTES, "{held}");
        }
        list.insert(b"a.1", None, 5_000);
        list.insert(b"*", None, 5_001);
        assert_eq!((list.cache.len(), list.cached), (0, 0));
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("c")]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_trie_agrees_with_matching_one_by_one(
            filters in proptest::collection::vec(
                (proptest::collection::vec(prop_oneof![3 => token(), 1 => Just("*")], 1..4), any::<bool>(), 0u8..4), 0..16),
            removed in proptest::collection::vec(0usize..16, 0..6),
            subjects in proptest::collection::vec(proptest::collection::vec(token(), 1..5), 1..6),
        ) {
            let mut filters: Vec<(u32, String, Option<String>)> = (0u32..).zip(filters).map(|(n, (t, full, queue))| {
                let filter = if full { format!("{}.>", t.join(".")) } else { t.join(".") };
                (n, filter, (queue < 2).then(|| format!("q{queue}")))
            }).collect();
            let queue = |q: &Option<String>| q.as_ref().map(|q| q.as_bytes().to_vec());
            let mut list = Sublist::default();
            for (key, filter, q) in &filters {
                list.insert(filter.as_bytes(), queue(q).as_deref(), *key);
            }
            for n in removed {
                if n < filters.len() {
                    let (key, filter, q) = filters.remove(n);
                    list.remove(filter.as_bytes(), queue(&q).as_deref(), key);
                }
            }
            for subject in subjects {
                let subject = subject.join(".");
                let found = list.matches(subject.as_bytes());
                let of = |group: Option<&str>| -> Vec<u32> {
                    filters.iter().filter(|(_, f, q)| {
                        q.as_deref() == group && crate::subject::matches(f.as_bytes(), subject.as_bytes())
                    }).map(|(key, ..)| *key).collect()
                };
                let sorted = |keys: &[u32]| { let mut keys = keys.to_vec(); keys.sort_unstable(); keys };
                prop_assert_eq!(sorted(&found.plain), of(None));
                let groups: Vec<_> = ["q0", "q1"].into_iter().map(|g| (g, of(Some(g)))).filter(|(_, m)| !m.is_empty()).collect();
                prop_assert_eq!(found.queues.len(), groups.len());
                for (name, members) in groups {
                    let (_, got) = found.queues.iter().find(|(n, _)| **n == *name.as_bytes()).unwrap();
                    prop_assert_eq!(sorted(got), members);
                }
                prop_assert_eq!(list.any(subject.as_bytes(), |key| key % 2 == 0),
                    found.plain.iter().chain(found.queues.iter().flat_map(|(_, m)| m)).any(|key| key % 2 == 0));
            }
        }
    }
}
