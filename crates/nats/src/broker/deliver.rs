//! Fan-out: one message into the output of those who subscribed.
//!
//! Bounds hold after each receiver, not after the last. A message of a client that has more receivers than one step has
//! room for stops in between ([`Fanning`]): what is there is written, and then it goes on.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use super::output::{Body, SHARE};
use super::{Broker, Conn, Owner, Sub};
use crate::internal::{Delivered, InternalMsg, InternalSub};
use crate::proto::push_number;
use crate::slab::Slab;
use crate::sublist::Matched;

/// What looking at one subscription or one place of the trie takes of a step, in bytes: time is bounded, too.
const WORK: usize = 32;

/// The last look-up: messages come in runs on one subject.
#[derive(Debug, Default)]
pub(super) struct LastMatch {
    subject: Vec<u8>,
    generation: u64,
    matched: Rc<Matched>,
}

/// One message on its way.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// The subject receivers see.
    pub(super) subject: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// What the users hear more than once: a user whose connections all subscribe to the same makes work that is not its sender's.
#[derive(Debug, Default)]
pub(super) struct Heard {
    messages: u64,
    /// Deliveries since they were taken.
    deliveries: u32,
    /// By user: the last message it got, and its deliveries beyond the first of a message since they were taken.
    users: Vec<(u64, u32)>,
    repeated: bool,
}

impl Heard {
    pub(super) fn of(users: usize) -> Self {
        Self { users: vec![(0, 0); users], ..Self::default() }
    }

    fn message(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }

    fn delivered(&mut self, message: u64, user: Option<usize>) {
        self.deliveries = self.deliveries.saturating_add(1);
        let Some((last, again)) = user.and_then(|user| self.users.get_mut(user)) else { return };
        if std::mem::replace(last, message) == message {
            *again = again.saturating_add(1);
            self.repeated = true;
        }
    }

    /// Tells `each` user with deliveries beyond the first of a message, how many they were of how many in all, and begins anew.
    pub(super) fn take(&mut self, mut each: impl FnMut(usize, u32, u32)) {
        let all = std::mem::take(&mut self.deliveries);
        if !std::mem::take(&mut self.repeated) {
            return;
        }
        for (user, (_, again)) in self.users.iter_mut().enumerate().filter(|(_, (_, again))| *again > 0) {
            each(user, std::mem::take(again), all);
        }
    }
}

/// A message some of whose receivers have it.
#[derive(Debug)]
pub(super) struct Fanning {
    message: u64,
    matched: Rc<Matched>,
    /// The next of the plain subscriptions, then of the queue groups.
    next: usize,
    /// Subscriptions from this number on came later than the message.
    before: u64,
    body: Option<Rc<Body>>,
    pub(super) delivered: Delivered,
}

/// For how long others still wait for the receivers of a user, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    left: u64,
    at: u64,
}

impl Patience {
    /// At most, and what a millisecond brings back.
    const MOST: u64 = 50_000;
    const BACK: u64 = 50;
    /// What a sender may wait at a time.
    const ONCE: u64 = 10_000;

    pub(super) fn new() -> Self {
        Self { left: Self::MOST, at: 0 }
    }

    fn take(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(std::mem::replace(&mut self.at, now));
        self.left = self.left.saturating_add(passed.saturating_mul(Self::BACK)).min(Self::MOST);
        let enough = self.left.checked_sub(Self::ONCE);
        self.left = enough.unwrap_or(self.left);
        enough.is_some()
    }
}

/// What delivering to one subscription did.
#[derive(Default)]
struct Outcome {
    delivered: bool,
    /// Whose the receiver is.
    user: Option<usize>,
    pending: usize,
    /// How many bytes more are kept.
    added: usize,
    /// How much more memory is the receiver's alone, in bytes.
    grown: usize,
    /// The subscription has had its last message.
    spent: bool,
    /// The receiver is over its bound.
    slow: bool,
    /// The connection got output for the first time since it was written.
    fresh: bool,
    /// The sender has asked the receiver for much that is not answered.
    asked_much: bool,
}

impl Broker {
    fn matched(&mut self, subject: &[u8]) -> Rc<Matched> {
        let generation = self.list.generation();
        if self.last_match.generation != generation || self.last_match.subject != subject {
            self.last_match.matched = self.list.matches(subject);
            self.last_match.generation = generation;
            self.last_match.subject.clear();
            self.last_match.subject.extend_from_slice(subject);
        }
        Rc::clone(&self.last_match.matched)
    }

    /// Begins with everyone subscribed to `route`.
    pub(super) fn fan_out(&mut self, route: &[u8]) -> Fanning {
        let matched = self.matched(route);
        self.step += WORK * self.list.take_visited();
        Fanning {
            message: self.heard.message(),
            matched,
            next: 0,
            before: self.next_sub,
            body: None,
            delivered: Delivered::default(),
        }
    }

    /// Delivers to the receivers that are left, all of them or as many as fit in a step of `room` bytes. Whether all have it.
    pub(super) fn go_on(
        &mut self,
        fanning: &mut Fanning,
        from: Option<u32>,
        message: Message<'_>,
        room: usize,
        now: u64,
    ) -> bool {
        let matched = Rc::clone(&fanning.matched);
        let plain = matched.plain.len();
        while let Some(key) = matched.plain.get(fanning.next) {
            if self.step > room {
                return false;
            }
            fanning.next += 1;
            self.deliver(from, *key, message, fanning, now);
        }
        while let Some((_, members)) = matched.queues.get(fanning.next - plain) {
            if self.step > room {
                return false;
            }
            fanning.next += 1;
            let start = self.pick(members.len());
            let (after, first) = members.split_at_checked(start).unwrap_or_default();
            for key in first.iter().chain(after) {
                if self.deliver(from, *key, message, fanning, now) {
                    break;
                }
            }
        }
        true
    }

    fn deliver(
        &mut self,
        from: Option<u32>,
        key: u32,
        message: Message<'_>,
        fanning: &mut Fanning,
        now: u64,
    ) -> bool {
        self.step += WORK;
        // A number may have been given to another subscription meanwhile.
        let Some(sub) = self.subs.get_mut(key).filter(|s| s.serial < fanning.before) else { return false };
        let slot = match sub.owner {
            Owner::Client(slot) => slot,
            Owner::Internal => {
                let user = from.and_then(|from| self.conns.get(from)).and_then(|conn| conn.who);
                let message = to_internal(key, user, message);
                self.step += message.cost();
                self.internal_bytes += message.cost();
                self.inside += 1;
                self.internal.push(message);
                fanning.delivered.receivers += 1;
                return true;
            }
        };
        let body = (&mut fanning.body, &self.bodies);
        let outcome =
            to_client(&mut self.conns, sub, slot, from, message, body, now, self.config.limits.max_pending);
        if outcome.spent {
            self.end_sub(key);
        }
        if !outcome.delivered {
            return false;
        }
        if outcome.fresh {
            self.dirty.push_back(slot);
        }
        self.heard.delivered(fanning.message, outcome.user);
        self.held += outcome.grown;
        self.step += outcome.added;
        let result = &mut fanning.delivered;
        result.receivers += 1;
        result.max_pending = result.max_pending.max(outcome.pending);
        self.stats.out_msgs += 1;
        self.stats.out_bytes += (message.headers.len() + message.payload.len()) as u64;
        if outcome.pending > self.behind_at()
            && (self.behind.is_some() || self.is_waited_for(from, outcome.user, now))
        {
            self.behind = Some(slot);
        }
        if outcome.asked_much {
            self.asked_much = Some(slot);
        }
        if outcome.slow {
            self.slow_consumer(slot);
        }
        self.keep_within_memory(now);
        true
    }

    /// Whether a sender waits for a receiver of `user` that is behind. One of the same user does, and where there are no users; all others
    /// together do for a twentieth of the time: who does not read holds up nobody else's answers.
    fn is_waited_for(&mut self, from: Option<u32>, user: Option<usize>, now: u64) -> bool {
        let sender = from.and_then(|from| self.conns.get(from)).and_then(|conn| conn.who);
        let Some(patience) =
            user.filter(|user| sender != Some(*user)).and_then(|user| self.patience.get_mut(user))
        else {
            return true;
        };
        patience.take(now)
    }

    /// A number below `bound`, not predictable from outside, cheap (xorshift64*).
    fn pick(&mut self, bound: usize) -> usize {
        let mut x = self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        let high = usize::try_from(x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or(0);
        if bound == 0 { 0 } else { high % bound }
    }
}

fn to_internal(key: u32, user: Option<usize>, message: Message<'_>) -> InternalMsg {
    InternalMsg {
        sub: InternalSub(key),
        user,
        subject: Bytes::copy_from_slice(message.subject),
        reply: message.reply.map(Bytes::copy_from_slice),
        headers: Bytes::copy_from_slice(message.headers),
        payload: Bytes::copy_from_slice(message.payload),
    }
}

#[inline]
#[allow(clippy::too_many_arguments, reason = "the hot path, apart from the broker for the borrows' sake")]
fn to_client(
    conns: &mut Slab<Conn>,
    sub: &mut Sub,
    slot: u32,
    from: Option<u32>,
    message: Message<'_>,
    (body, bodies): (&mut Option<Rc<Body>>, &Rc<Cell<usize>>),
    now: u64,
    max_pending: usize,
) -> Outcome {
    let mut outcome = Outcome::default();
    // Of those of a queue group only: an event may have a reply subject too, which its hearers do not answer.
    let counts = sub.queue.is_some() && message.reply.is_some();
    let by = from.filter(|_| counts).and_then(|from| conns.get(from)).map(Conn::asker);
    let Some(conn) = conns.get_mut(slot) else { return outcome };
    if conn.closed.is_some() || (from == Some(slot) && !conn.options.echo) {
        return outcome;
    }
    if let Some(rights) = &conn.rights {
        if sub.check && rights.denies_delivery(message.subject, sub.queue.as_deref()) {
            return outcome;
        }
        if let (Some(limits), Some(reply)) = (rights.responses, message.reply) {
            conn.memory.owes_answer(limits, reply, by, now);
            outcome.asked_much = by.is_some_and(|by| conn.memory.is_asked_much(by, false, now));
        }
    }
    if sub.max > 0 && sub.delivered >= sub.max {
        outcome.spent = true;
        return outcome;
    }
    sub.delivered += 1;
    outcome.spent = sub.max > 0 && sub.delivered >= sub.max;

    // A client that does not know headers gets the message without.
    let headers = if conn.options.headers { message.headers } else { &[] };
    let total = headers.len() + message.payload.len();
    let out = &mut conn.out;
    let (pending, capacity) = (out.pending(), out.capacity());
    if out.pending() == 0 {
        conn.progress = now;
    }
    let line = message.subject.len() + sub.sid.len() + message.reply.map_or(0, <[u8]>::len) + 64;
    let copied = if total < SHARE { total } else { 0 };
    out.write(line + copied, |out| {
        out.extend_from_slice(if headers.is_empty() { b"MSG " } else { b"HMSG " });
        out.extend_from_slice(message.subject);
        out.push(b' ');
        out.extend_from_slice(&sub.sid);
        out.push(b' ');
        if let Some(reply) = message.reply {
            out.extend_from_slice(reply);
            out.push(b' ');
        }
        if !headers.is_empty() {
            push_number(out, headers.len());
            out.push(b' ');
        }
        push_number(out, total);
        out.extend_from_slice(b"\r\n");
        if total < SHARE {
            out.extend_from_slice(headers);
            out.extend_from_slice(message.payload);
            out.extend_from_slice(b"\r\n");
        }
    });
    outcome.added = out.pending() - pending;
    if total >= SHARE {
        let body = body.get_or_insert_with(|| {
            outcome.added += message.headers.len() + message.payload.len();
            Body::new(message.headers, message.payload, bodies)
        });
        out.share(body, message.headers.len() - headers.len());
    }
    outcome.grown = out.capacity() - capacity;
    conn.counted += outcome.grown;
    outcome.delivered = true;
    outcome.user = conn.who;
    outcome.pending = out.pending();
    outcome.slow = out.kept() > max_pending;
    outcome.fresh = !std::mem::replace(&mut conn.dirty, true);
    outcome
}
