//! Users and their permissions, in the form the message path checks.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use subtle::ConstantTimeEq as _;

use super::config::{Permissions, Responses, Rules, User};
use crate::subject::{is_subset, overlaps};

/// Decisions on subjects published lately, kept per connection.
const DECISIONS: usize = 128;
/// The bytes of their subjects.
const DECISION_BYTES: usize = 32 * 1024;
/// Reply subjects a connection may answer to at once, as nats-server bounds them; beyond it the oldest is forgotten.
const REPLIES: usize = 4096;
/// Their bytes.
const REPLY_BYTES: usize = 512 * 1024;

#[derive(Debug)]
struct Entry {
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
}

fn entries(list: &[String]) -> Vec<Entry> {
    list.iter()
        .map(|text| {
            let mut words = text.split_ascii_whitespace().map(|w| w.as_bytes().into());
            Entry { subject: words.next().unwrap_or_default(), queue: words.next() }
        })
        .collect()
}

#[derive(Debug)]
struct Direction {
    allow: Vec<Entry>,
    deny: Vec<Entry>,
}

impl From<&Rules> for Direction {
    fn from(rules: &Rules) -> Self {
        Direction { allow: entries(&rules.allow), deny: entries(&rules.deny) }
    }
}

/// One user's permissions, ready to use.
#[derive(Debug)]
pub(crate) struct Rights {
    publish: Direction,
    subscribe: Direction,
    pub(crate) responses: Option<Responses>,
}

impl From<&Permissions> for Rights {
    fn from(p: &Permissions) -> Self {
        Rights {
            publish: Direction::from(&p.publish),
            subscribe: Direction::from(&p.subscribe),
            responses: p.allow_responses,
        }
    }
}

impl Rights {
    fn may_publish(&self, subject: &[u8]) -> bool {
        self.publish.allow.iter().any(|e| is_subset(subject, &e.subject))
            && !self.publish.deny.iter().any(|e| is_subset(subject, &e.subject))
    }

    /// Whether a subscription is allowed. An entry with a queue group speaks of members of that group only, and
    /// where such an entry matches the subject it decides for members alone.
    pub(crate) fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let on = |list: &[Entry]| {
            let (mut plain, mut grouped, mut member) = (false, false, false);
            for e in list.iter().filter(|e| is_subset(subject, &e.subject)) {
                match &e.queue {
                    None => plain = true,
                    Some(group) => {
                        grouped = true;
                        member |= queue.is_some_and(|q| q == &**group || is_subset(q, group));
                    }
                }
            }
            (plain, grouped && queue.is_some(), member)
        };
        let (plain, grouped, member) = on(&self.subscribe.allow);
        let allowed = if grouped { member } else { plain };
        let (plain, _, member) = on(&self.subscribe.deny);
        allowed && !plain && !member
    }

    /// Whether messages for this subscription must be checked one by one: its filter reaches into what is denied.
    pub(crate) fn needs_check(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        (queue.is_some() || !crate::subject::is_literal(subject))
            && self.subscribe.deny.iter().any(|e| overlaps(&e.subject, subject))
    }

    /// Whether a message may not reach a subscription that was allowed.
    pub(crate) fn denies_delivery(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.subscribe.deny.iter().filter(|e| is_subset(subject, &e.subject)).any(|e| match &e.queue {
            None => true,
            Some(group) => queue.is_some_and(|q| q == &**group || is_subset(q, group)),
        })
    }
}

/// What a connection remembers about its rights.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    decisions: HashMap<Box<[u8]>, bool>,
    decision_bytes: usize,
    replies: HashMap<Rc<[u8]>, Owed>,
    /// In the order they came, with those that are over.
    order: VecDeque<(Rc<[u8]>, u64)>,
    reply_bytes: usize,
    next: u64,
    /// By who asks.
    asked: HashMap<Asker, Asked>,
}

/// Who asks, as far as it is counted: a user with all of its connections, or, where no users are configured, a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    User(usize),
    Connection(u64),
}

/// What one asker has asked of this connection.
#[derive(Debug)]
struct Asked {
    /// Not answered yet.
    open: usize,
    /// When one was answered, or the first was asked.
    moved: u64,
}

/// Questions of one asker that a connection may have before it, unanswered, until the one who asks is held up: it would otherwise fill the queue
/// of who answers, where the questions of all others stand behind.
const ASKED: usize = 64;
/// After so long without an answer who asks is no longer held up, in milliseconds: it would not help anyone.
const STUCK: u64 = 1_000;
/// Askers remembered.
const ASKERS: usize = 1_024;

/// The right to answer one message.
#[derive(Debug)]
struct Owed {
    /// Who asked, if that is counted.
    by: Option<Asker>,
    since: u64,
    count: u32,
    /// Tells it from an earlier one with the same subject.
    serial: u64,
}

impl Memory {
    /// What it costs, in bytes.
    pub(crate) fn cost(&self) -> usize {
        /// What an entry costs besides its bytes.
        const FIXED: usize = 64;
        self.decision_bytes
            + self.reply_bytes
            + FIXED * (self.decisions.len() + self.order.len() + self.asked.len())
    }

    /// Whether the connection may publish there now; using up a right to answer counts.
    pub(crate) fn may_publish(&mut self, rights: &Rights, subject: &[u8], now: u64) -> bool {
        let allowed = match self.decisions.get(subject) {
            Some(allowed) => *allowed,
            None => {
                let allowed = rights.may_publish(subject);
                self.decision_bytes += subject.len();
                if self.decisions.len() >= DECISIONS || self.decision_bytes > DECISION_BYTES {
                    self.decisions.clear();
                    self.decision_bytes = subject.len();
                }
                self.decisions.insert(subject.into(), allowed);
                allowed
            }
        };
        if !self.asked.is_empty() {
            self.answers(subject, now);
        }
        allowed || rights.responses.is_some_and(|r| self.may_answer(r, subject, now))
    }

    fn may_answer(&mut self, limits: Responses, subject: &[u8], now: u64) -> bool {
        let Some(owed) = self.replies.get_mut(subject) else { return false };
        owed.count = owed.count.saturating_add(1);
        if (limits.max > 0 && owed.count > limits.max)
            || (limits.ttl > 0 && now.saturating_sub(owed.since) > limits.ttl)
        {
            self.replies.remove(subject);
            return false;
        }
        true
    }

    /// Something is published where an answer is waited for.
    fn answers(&mut self, subject: &[u8], now: u64) {
        let Some(by) = self.replies.get_mut(subject).and_then(|owed| owed.by.take()) else { return };
        if let Some(asked) = self.asked.get_mut(&by) {
            asked.open = asked.open.saturating_sub(1);
            asked.moved = now;
            if asked.open == 0 {
                self.asked.remove(&by);
            }
        }
    }

    fn is_asked(&mut self, by: Asker, now: u64) {
        if self.asked.len() >= ASKERS && !self.asked.contains_key(&by) {
            self.asked.clear();
        }
        let asked = self.asked.entry(by).or_insert(Asked { open: 0, moved: now });
        if now.saturating_sub(asked.moved) > STUCK {
            *asked = Asked { open: 0, moved: now };
        }
        asked.open += 1;
    }

    /// Whether an asker has asked so much that it is to be held up; who is held up, until half of it is answered.
    pub(crate) fn is_asked_much(&self, by: Asker, held_up: bool, now: u64) -> bool {
        let most = if held_up { ASKED / 2 } else { ASKED };
        self.asked.get(&by).is_some_and(|asked| asked.open > most && now.saturating_sub(asked.moved) <= STUCK)
    }

    /// A message with this reply subject was delivered; where one of several gets each (a queue group), `by` counts what it has asked.
    pub(crate) fn owes_answer(&mut self, limits: Responses, reply: &[u8], by: Option<Asker>, now: u64) {
        if let Some(by) = by {
            self.is_asked(by, now);
        }
        let subject: Rc<[u8]> = reply.into();
        self.next += 1;
        self.reply_bytes += reply.len();
        self.order.push_back((Rc::clone(&subject), self.next));
        self.replies.insert(subject, Owed { by, since: now, count: 0, serial: self.next });
        // What is used up or too late goes first, and then, within the bound, the oldest.
        while let Some((oldest, serial)) = self.order.front() {
            let over = match self.replies.get(oldest).filter(|owed| owed.serial == *serial) {
                None => true,
                Some(owed) => {
                    (limits.max > 0 && owed.count >= limits.max)
                        || (limits.ttl > 0 && now.saturating_sub(owed.since) > limits.ttl)
                        || self.order.len() > REPLIES
                        || self.reply_bytes > REPLY_BYTES
                }
            };
            if !over {
                return;
            }
            self.reply_bytes = self.reply_bytes.saturating_sub(oldest.len());
            if self.replies.get(oldest).is_some_and(|owed| owed.serial == *serial) {
                self.replies.remove(oldest);
            }
            self.order.pop_front();
        }
    }
}

/// The position of the user these credentials belong to. Takes the same time whichever user is named and
/// wherever the password differs; the length of the password given is all it shows.
pub(crate) fn authenticate(users: &[User], name: &str, password: &str) -> Option<usize> {
    let mut found = None;
    for (n, user) in users.iter().enumerate() {
        let same =
            same(user.name.as_bytes(), name.as_bytes()) & same(user.password.as_bytes(), password.as_bytes());
        if bool::from(same) {
            found = Some(n);
        }
    }
    found
}

fn same(known: &[u8], given: &[u8]) -> subtle::Choice {
    let mut equal = known.len().ct_eq(&given.len());
    for (n, byte) in given.iter().enumerate() {
        equal &= known.get(n).copied().unwrap_or_default().ct_eq(byte);
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn nothing_is_allowed_that_is_not_listed() {
        let rights = Rights::from(&Permissions::default());
        assert!(!rights.may_publish(b"a"));
        assert!(!rights.may_subscribe(b"a", None));
    }

    #[test]
    fn deny_overrules_allow_and_filters_wildcard_subscriptions() {
        let rights = Rights::from(&Permissions {
            publish: Rules { allow: list(&["a.>"]), deny: list(&["a.secret"]) },
            subscribe: Rules { allow: list(&["a.>", "q.* workers"]), deny: list(&["a.secret"]) },
            allow_responses: None,
        });
        assert!(rights.may_publish(b"a.b") && !rights.may_publish(b"a.secret") && !rights.may_publish(b"b"));
        assert!(rights.may_subscribe(b"a.*", None) && !rights.may_subscribe(b">", None));
        assert!(!rights.may_subscribe(b"a.secret", None));
        assert!(rights.needs_check(b"a.*", None) && !rights.needs_check(b"a.b", None));
        assert!(rights.denies_delivery(b"a.secret", None));
        assert!(!rights.may_subscribe(b"q.1", None));
        assert!(rights.may_subscribe(b"q.1", Some(b"workers")));
        assert!(!rights.may_subscribe(b"q.1", Some(b"others")));
    }

    #[test]
    fn the_right_to_answer_is_used_up_and_runs_out() {
        let rights = Rights::from(&Permissions {
            allow_responses: Some(Responses { max: 1, ttl: 100 }),
            ..Permissions::default()
        });
        let limits = rights.responses.unwrap();
        let mut memory = Memory::default();
        assert!(!memory.may_publish(&rights, b"r", 0));
        memory.owes_answer(limits, b"r", None, 0);
        assert!(memory.may_publish(&rights, b"r", 10));
        assert!(!memory.may_publish(&rights, b"r", 11));
        memory.owes_answer(limits, b"s", None, 0);
        assert!(!memory.may_publish(&rights, b"s", 200));
        for n in 0..10_000u32 {
            memory.owes_answer(limits, &n.to_be_bytes(), None, 300);
        }
        assert!(memory.replies.len() <= REPLIES);
    }

    #[test]
    fn who_asks_much_is_held_up_until_half_is_answered_or_nothing_moves() {
        let rights = Rights::from(&Permissions {
            allow_responses: Some(Responses::default()),
            ..Permissions::default()
        });
        let limits = rights.responses.unwrap();
        let (asker, other) = (Asker::User(7), Asker::User(8));
        let mut memory = Memory::default();
        for n in 0..=u8::try_from(ASKED).unwrap() {
            assert!(!memory.is_asked_much(asker, false, 0), "{n}");
            memory.owes_answer(limits, &[n], Some(asker), 0);
        }
        memory.owes_answer(limits, b"another's", Some(other), 0);
        assert!(memory.is_asked_much(asker, false, 0) && !memory.is_asked_much(other, false, 0));
        for n in 0..40 {
            let held_up = usize::from(n) < ASKED + 1 - ASKED / 2;
            assert_eq!(memory.is_asked_much(asker, true, 0), held_up, "{n}");
            assert!(memory.may_publish(&rights, &[n], 0));
        }
        // A second answer to one question counts for none.
        assert!(!memory.may_publish(&rights, &[0], 0));
        for n in 100..200 {
            memory.owes_answer(limits, &[n], Some(asker), 1);
        }
        assert!(memory.is_asked_much(asker, true, STUCK) && !memory.is_asked_much(asker, true, STUCK + 2));
        for by in 0..5_000 {
            memory.owes_answer(limits, b"x", Some(Asker::Connection(by)), 2);
        }
        assert!(memory.asked.len() <= ASKERS);
    }

    #[test]
    fn only_the_right_name_with_its_password_passes() {
        let user = |name: &str, password: &str| User {
            name: name.to_owned(),
            password: password.to_owned(),
            permissions: None,
        };
        let users = [user("a", "one"), user("b", "two")];
        assert_eq!(authenticate(&users, "b", "two"), Some(1));
        for (name, password) in [("b", "one"), ("b", "tw"), ("b", "twoo"), ("c", "two"), ("", ""), ("b", "")]
        {
            assert_eq!(authenticate(&users, name, password), None, "{name} {password}");
        }
    }
}
