//! Fan-out: one message into the output buffers of those who subscribed.

use std::rc::Rc;

use bytes::Bytes;

use super::{Broker, Conn, Owner, Sub};
use crate::internal::{Delivered, InternalMsg, InternalSub};
use crate::proto::push_number;
use crate::slab::Slab;
use crate::sublist::Matched;

/// The last look-up: messages come in runs on one subject.
#[derive(Debug, Default)]
pub(super) struct LastMatch {
    subject: Vec<u8>,
    generation: u64,
    matched: Rc<Matched>,
}

/// One message on its way.
struct Message<'a> {
    /// The subject receivers see.
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: &'a [u8],
    payload: &'a [u8],
}

/// What delivering to one subscription did.
#[derive(Default)]
struct Outcome {
    delivered: bool,
    pending: usize,
    /// How much longer the receiver's buffer got.
    added: usize,
    /// The subscription has had its last message.
    spent: bool,
    /// The receiver's buffer is over its bound.
    slow: Option<u32>,
    /// The connection got output for the first time since it was written.
    fresh: Option<u32>,
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

    /// Delivers to everyone subscribed to `route`; they see `subject`.
    #[allow(clippy::too_many_arguments, reason = "a message is that many things, and this is the hot path")]
    pub(super) fn fan_out(
        &mut self,
        from: Option<u32>,
        route: &[u8],
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
        now: u64,
    ) -> Delivered {
        let matched = self.matched(route);
        let mut result = Delivered::default();
        if matched.is_empty() {
            return result;
        }
        let message = Message { subject, reply, headers, payload };
        for key in &matched.plain {
            self.deliver(from, *key, &message, now, &mut result);
        }
        for (_, members) in &matched.queues {
            let start = self.pick(members.len());
            for n in 0..members.len() {
                let at = (start + n) % members.len();
                if let Some(key) = members.get(at)
                    && self.deliver(from, *key, &message, now, &mut result)
                {
                    break;
                }
            }
        }
        // Changing subscriptions waits for the end of the loop: it walks over them.
        while let Some(key) = self.spent.pop() {
            self.end_sub(key);
        }
        while let Some(slot) = self.slow.pop() {
            self.slow_consumer(slot);
        }
        if std::mem::take(&mut self.over) {
            self.drop_the_fullest();
        }
        result
    }

    fn deliver(
        &mut self,
        from: Option<u32>,
        key: u32,
        message: &Message<'_>,
        now: u64,
        result: &mut Delivered,
    ) -> bool {
        let Some(sub) = self.subs.get_mut(key) else { return false };
        let slot = match sub.owner {
            Owner::Client(slot) => slot,
            Owner::Internal => {
                self.internal.push(to_internal(key, message));
                result.receivers += 1;
                return true;
            }
        };
        let outcome =
            to_client(&mut self.conns, sub, slot, from, message, now, self.config.limits.max_pending);
        if outcome.spent {
            self.spent.push(key);
        }
        if let Some(slot) = outcome.fresh {
            self.dirty.push_back(slot);
        }
        if let Some(slot) = outcome.slow {
            self.slow.push(slot);
        }
        if outcome.delivered {
            self.held += outcome.added;
            if self.held > self.config.limits.max_memory {
                self.over = true;
            }
            result.receivers += 1;
            result.max_pending = result.max_pending.max(outcome.pending);
            self.stats.out_msgs += 1;
            self.stats.out_bytes += (message.headers.len() + message.payload.len()) as u64;
            if outcome.pending > self.behind_at() {
                self.behind = Some(slot);
            }
        }
        outcome.delivered
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

fn to_internal(key: u32, message: &Message<'_>) -> InternalMsg {
    InternalMsg {
        sub: InternalSub(key),
        subject: Bytes::copy_from_slice(message.subject),
        reply: message.reply.map(Bytes::copy_from_slice),
        headers: Bytes::copy_from_slice(message.headers),
        payload: Bytes::copy_from_slice(message.payload),
    }
}

#[inline]
fn to_client(
    conns: &mut Slab<Conn>,
    sub: &mut Sub,
    slot: u32,
    from: Option<u32>,
    message: &Message<'_>,
    now: u64,
    max_pending: usize,
) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(conn) = conns.get_mut(slot) else { return outcome };
    if conn.closed.is_some() || (from == Some(slot) && !conn.options.echo) {
        return outcome;
    }
    if let Some(rights) = &conn.rights {
        if sub.check && rights.denies_delivery(message.subject, sub.queue.as_deref()) {
            return outcome;
        }
        if let (Some(limits), Some(reply)) = (rights.responses, message.reply) {
            conn.memory.owes_answer(limits, reply, now);
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
    let out = &mut conn.out.buf;
    let before = out.len();
    out.reserve(message.subject.len() + sub.sid.len() + message.reply.map_or(0, <[u8]>::len) + total + 64);
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
    out.extend_from_slice(headers);
    out.extend_from_slice(message.payload);
    out.extend_from_slice(b"\r\n");

    outcome.added = out.len() - before;
    conn.counted += outcome.added;
    outcome.delivered = true;
    outcome.pending = conn.out.pending();
    if outcome.pending > max_pending {
        outcome.slow = Some(slot);
    }
    if !conn.dirty {
        conn.dirty = true;
        outcome.fresh = Some(slot);
    }
    outcome
}
