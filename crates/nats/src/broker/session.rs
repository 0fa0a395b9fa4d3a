//! One connection's input: operations in the order they come.

use std::rc::Rc;

use super::deliver::{Fanning, Message};
use super::{Broker, CloseReason, ConnId, Flow, Link, Owner, Sub, rights};
use crate::proto::{Op, ProtocolError, Publish, Step, parse, quoted, starts_connect};
use crate::subject::{check_filter, check_literal};

/// Messages for machines inside that one connection brings before they, and all other connections, have their turn.
const INSIDE: usize = 128;

/// What one connection may have done before all others have their turn, in units of a message that is passed on: some 64 KiB of the
/// smallest messages. It is little of what costs more, so that a flood of that holds nobody up.
const WORK: usize = 2_048;
/// What a subscription that comes or goes costs in these units.
const SUBSCRIPTION: usize = 8;
/// What a refusal costs in these units.
pub(super) const REFUSAL: usize = 16;

/// What became of the bytes at hand.
enum Next {
    /// This many are done with.
    Used(usize),
    /// Keep this many, and call again with at least `need` in total.
    More { keep: usize, need: usize },
    /// The operation is not done yet: call again with the same.
    Again,
    /// The connection is closing.
    Closed,
}

impl Broker {
    /// Bytes from a client.
    pub fn input(&mut self, id: ConnId, data: &[u8], now: u64) -> Flow {
        self.now = now;
        self.inside = 0;
        let flow = self.take_in(id, data, now);
        self.count_input(id, flow)
    }

    fn count_input(&mut self, id: ConnId, flow: Flow) -> Flow {
        match self.live(id) {
            Some(conn) if conn.closed.is_none() => {}
            _ => return flow,
        }
        self.count(id.slot);
        if self.closing(id).is_some() { Flow::Closed } else { flow }
    }

    fn take_in(&mut self, id: ConnId, data: &[u8], now: u64) -> Flow {
        let Some(conn) = self.live_mut(id).filter(|c| c.closed.is_none()) else { return Flow::Closed };
        conn.last_in = now;
        if conn.partial.is_empty() {
            let (done, keep, flow) = self.process(id, data, now, false);
            let rest = data.get(done..done + keep).unwrap_or_default();
            if !rest.is_empty()
                && let Some(conn) = self.live_mut(id)
            {
                conn.partial.extend_from_slice(rest);
            }
            return flow;
        }
        conn.partial.extend_from_slice(data);
        if conn.partial.len() < conn.need {
            return Flow::Continue;
        }
        self.held_input(id, now, false)
    }

    /// Processes what was held back after [`Flow::Wait`] or [`Flow::Flush`]. `force` ignores receivers that are behind: what
    /// then does not fit ends their connection.
    pub fn resume(&mut self, id: ConnId, now: u64, force: bool) -> Flow {
        match self.live(id) {
            Some(conn) if conn.closed.is_none() => {
                let flow = self.held_input(id, now, force);
                self.count_input(id, flow)
            }
            _ => Flow::Closed,
        }
    }

    fn held_input(&mut self, id: ConnId, now: u64, force: bool) -> Flow {
        /// A buffer above this is given back when empty, in bytes.
        const KEEP: usize = 256 * 1024;
        let Some(conn) = self.live_mut(id) else { return Flow::Closed };
        let mut held = std::mem::take(&mut conn.partial);
        let (done, keep, flow) = self.process(id, &held, now, force);
        held.truncate(done + keep);
        held.drain(..done.min(held.len()));
        if let Some(conn) = self.live_mut(id)
            && conn.closed.is_none()
            && (!held.is_empty() || held.capacity() <= KEEP)
        {
            conn.partial = held;
        }
        flow
    }

    /// Runs operations; answers how many bytes are done with, how many after them to keep, and what the shell does.
    fn process(&mut self, id: ConnId, data: &[u8], now: u64, force: bool) -> (usize, usize, Flow) {
        let mut done = 0;
        self.step = 0;
        self.inside = 0;
        self.work = 0;
        self.asked_much = None;
        if self.is_full_inside() {
            return self.stop(id, done, data, None);
        }
        loop {
            let rest = data.get(done..).unwrap_or_default();
            if rest.is_empty() {
                if let Some(conn) = self.conns.get_mut(id.slot) {
                    conn.need = 0;
                }
                return (done, 0, Flow::Continue);
            }
            match self.operation(id.slot, rest, now) {
                Next::Used(n) => done += n,
                Next::More { keep, need } => {
                    if let Some(conn) = self.conns.get_mut(id.slot) {
                        conn.need = need;
                    }
                    return (done, keep, Flow::Continue);
                }
                Next::Closed => return (done, 0, Flow::Closed),
                Next::Again => {
                    let behind = self.behind.take();
                    return self.stop(id, done, data, behind.filter(|_| !force));
                }
            }
            if let Some(behind) = self.behind.take()
                && !force
            {
                return self.stop(id, done, data, Some(behind));
            }
            // Also of one that has waited for long: one question more, and it waits again.
            if let Some(asked) = self.asked_much.take() {
                return self.stop(id, done, data, Some(asked));
            }
            if self.conns.get(id.slot).is_none_or(|c| c.closed.is_some()) {
                return (done, 0, Flow::Closed);
            }
            let enough = self.inside >= INSIDE || self.work >= WORK;
            if enough || self.step > self.room() || self.is_crowded() {
                return self.stop(id, done, data, None);
            }
        }
    }

    /// What one step may add to what is kept, in bytes: not so much that a receiver is over its bound before it got to read.
    fn room(&self) -> usize {
        const ENOUGH: usize = 1024 * 1024;
        (self.config.limits.max_pending / 4).min(self.config.limits.max_memory / 8).min(ENOUGH)
    }

    /// Whether machines inside must have their turn before more comes in.
    fn is_full_inside(&self) -> bool {
        self.internal_bytes > self.config.limits.max_memory / 16
    }

    /// Whether what there is should leave before more comes in.
    fn is_crowded(&self) -> bool {
        self.is_full_inside() || self.kept() > self.config.limits.max_memory / 4 * 3
    }

    fn stop(&mut self, id: ConnId, done: usize, data: &[u8], behind: Option<u32>) -> (usize, usize, Flow) {
        if let Some(conn) = self.conns.get_mut(id.slot) {
            conn.need = 0;
        }
        let behind = behind.and_then(|slot| Some(ConnId { slot, client: self.conns.get(slot)?.client }));
        (done, data.len().saturating_sub(done), behind.map_or(Flow::Flush, Flow::Wait))
    }

    /// Whoever closes has sent what it sent: a message on its way reaches the rest of its receivers.
    pub(super) fn finish_message(&mut self, id: ConnId) {
        let Some(conn) = self.live_mut(id).filter(|c| c.closed.is_none() && c.fanning.is_some()) else {
            return;
        };
        let held = std::mem::take(&mut conn.partial);
        let now = self.now;
        while let Next::Again = self.operation(id.slot, &held, now) {
            self.step = 0;
        }
    }

    fn operation(&mut self, slot: u32, data: &[u8], now: u64) -> Next {
        let Some(conn) = self.conns.get(slot) else { return Next::Closed };
        if !conn.admitted && !starts_connect(data) {
            return self.refuse(slot);
        }
        let (op, used) = match parse(data, self.config.limits.max_control_line) {
            Step::More { keep } => return Next::More { keep, need: 0 },
            Step::Op { op, used } => (op, used),
            Step::Error(error) => return self.protocol_error(slot, error),
        };
        self.work += match &op {
            Op::Subscribe { .. } | Op::Unsubscribe { .. } => SUBSCRIPTION,
            _ => 1,
        };
        match op {
            Op::Publish(publish) => return self.publish(slot, data, used, publish, now),
            Op::Ping => self.ping(slot),
            Op::Pong => {
                if let Some(conn) = self.conns.get_mut(slot) {
                    conn.pings_out = 0;
                }
            }
            Op::Subscribe { subject, queue, sid } => self.subscribe(slot, subject, queue, sid),
            Op::Unsubscribe { sid, max } => self.unsubscribe(slot, sid, max),
            Op::Connect(json) => return self.connect_op(slot, json, used, now),
            Op::Ok => {}
            Op::Info(json) => {
                if serde_json::from_slice::<serde_json::Value>(json).is_err() {
                    return self.protocol_error(slot, ProtocolError::Arguments);
                }
            }
            Op::Err(_) => {
                self.close(slot, CloseReason::ProtocolViolation);
                return Next::Closed;
            }
        }
        Next::Used(used)
    }

    fn protocol_error(&mut self, slot: u32, error: ProtocolError) -> Next {
        match error {
            ProtocolError::Unknown => {
                self.close_saying(slot, CloseReason::ProtocolViolation, "Unknown Protocol Operation");
            }
            ProtocolError::Arguments => self.close(slot, CloseReason::ProtocolViolation),
            ProtocolError::ControlLine => {
                self.close_saying(slot, CloseReason::MaxControlLineExceeded, "maximum control line exceeded");
            }
        }
        Next::Closed
    }

    fn refuse(&mut self, slot: u32) -> Next {
        self.close_saying(slot, CloseReason::AuthenticationViolation, "Authorization Violation");
        Next::Closed
    }

    fn ok_if_verbose(&mut self, slot: u32) {
        if self.conns.get(slot).is_some_and(|c| c.options.verbose) {
            self.send(slot, b"+OK\r\n");
        }
    }

    fn ping(&mut self, slot: u32) {
        self.send(slot, b"PONG\r\n");
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.connect_seen && !conn.first_pong_sent {
            conn.first_pong_sent = true;
            if conn.options.protocol >= 1 {
                self.info(slot, true);
            }
        }
    }

    fn connect_op(&mut self, slot: u32, json: &[u8], used: usize, now: u64) -> Next {
        let Some(conn) = self.conns.get_mut(slot) else { return Next::Closed };
        if !conn.options.update(json) {
            return self.protocol_error(slot, ProtocolError::Arguments);
        }
        let again = std::mem::replace(&mut conn.connect_seen, true);
        let account = !conn.options.account.is_empty();
        let who = if self.config.users.is_empty() {
            None
        } else {
            match rights::authenticate(&self.config.users, &conn.options.user, &conn.options.pass) {
                Some(n) => Some(n),
                None => return self.refuse(slot),
            }
        };
        if account {
            return self.refuse(slot);
        }
        if !self.places.admit(conn.client, conn.who, who) {
            self.no_place(slot);
            return Next::Closed;
        }
        conn.options.pass = String::new();
        conn.who = who;
        conn.rights = who.and_then(|n| self.rights.get(n)).and_then(Option::as_ref).map(Rc::clone);
        conn.user = who.and_then(|n| self.config.users.get(n)).map(|u| u.name.clone());
        conn.memory = rights::Memory::default();
        let due = now.saturating_add(self.config.limits.ping_interval);
        conn.due = due;
        self.next_due = self.next_due.min(due);
        let options = &conn.options;
        if !(0..=1).contains(&options.protocol) {
            self.close_saying(slot, CloseReason::BadClientProtocolVersion, "invalid client protocol");
            return Next::Closed;
        }
        if options.no_responders && !options.headers {
            self.close_saying(
                slot,
                CloseReason::NoRespondersRequiresHeaders,
                "no responders requires headers support",
            );
            return Next::Closed;
        }
        conn.admitted = true;
        // A second `CONNECT` may change who this is: what the first one subscribed to goes.
        let subs = if again { std::mem::take(&mut conn.subs) } else { Default::default() };
        if !again {
            self.links.push(Link {
                client_id: conn.client,
                user: conn.user.clone(),
                name: conn.options.name.clone(),
                address: conn.address.clone(),
                closed: None,
            });
        }
        for key in subs.into_values() {
            self.drop_sub(key);
        }
        self.ok_if_verbose(slot);
        Next::Used(used)
    }

    fn subscribe(&mut self, slot: u32, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        let Some(conn) = self.conns.get(slot) else { return };
        let mut check = false;
        if let Some(rights) = &conn.rights {
            if !rights.may_subscribe(subject, queue) {
                let mut text = format!("Permissions Violation for Subscription to {}", quoted(subject));
                if let Some(queue) = queue {
                    text.push_str(" using queue ");
                    text.push_str(&quoted(queue));
                }
                self.forbid(slot, text);
                return;
            }
            check = rights.needs_check(subject, queue);
        }
        let limits = &self.config.limits;
        let cost = Sub::cost(subject, queue, sid);
        if conn.subs.len() >= limits.max_subscriptions
            || self.stats.subscriptions >= limits.max_total_subscriptions
            || conn.subs_cost + cost > limits.max_subscription_memory / 4
            || self.subs_cost + cost > limits.max_subscription_memory
        {
            self.say_error(slot, "maximum subscriptions exceeded");
            return;
        }
        if !conn.subs.contains_key(sid) {
            if check_filter(subject).is_err() {
                self.say_error(slot, "Invalid Subject");
                return;
            }
            let key = self.subs.insert(Sub {
                owner: Owner::Client(slot),
                filter: subject.into(),
                queue: queue.map(Into::into),
                sid: sid.into(),
                delivered: 0,
                max: 0,
                check,
                serial: self.next_sub,
                cost,
            });
            self.next_sub += 1;
            self.list.insert(subject, queue, key);
            self.stats.subscriptions += 1;
            self.subs_cost += cost;
            if let Some(conn) = self.conns.get_mut(slot) {
                conn.subs.insert(sid.into(), key);
                conn.subs_cost += cost;
            }
        }
        self.ok_if_verbose(slot);
    }

    fn unsubscribe(&mut self, slot: u32, sid: &[u8], max: Option<u64>) {
        let key = self.conns.get(slot).and_then(|c| c.subs.get(sid).copied());
        let mut now = None;
        if let Some(key) = key
            && let Some(sub) = self.subs.get_mut(key)
        {
            match max {
                Some(max) if max > sub.delivered => sub.max = max,
                _ => now = Some(key),
            }
        }
        self.ok_if_verbose(slot);
        if let Some(key) = now {
            self.end_sub(key);
        }
    }

    /// Ends a client's subscription.
    pub(super) fn end_sub(&mut self, key: u32) {
        if let Some(sub) = self.subs.get(key)
            && let Owner::Client(slot) = sub.owner
            && let Some(conn) = self.conns.get_mut(slot)
        {
            conn.subs.remove(&sub.sid);
        }
        self.drop_sub(key);
    }

    fn publish(&mut self, slot: u32, data: &[u8], used: usize, p: Publish<'_>, now: u64) -> Next {
        let Some(conn) = self.conns.get_mut(slot) else { return Next::Closed };
        if p.headers.is_some() && !conn.options.headers {
            return self.protocol_error(slot, ProtocolError::Arguments);
        }
        if !std::mem::replace(&mut conn.checked, true) {
            if p.size > self.config.limits.max_payload {
                self.close_saying(slot, CloseReason::MaxPayloadExceeded, "Maximum Payload Violation");
                return Next::Closed;
            }
            if conn.options.pedantic && check_literal(p.subject).is_err() {
                self.say_error(slot, "Invalid Publish Subject");
            }
        }
        let end = used + p.size;
        let tail = data.get(end..).unwrap_or_default();
        match (tail.first(), tail.get(1)) {
            (Some(b'\r'), Some(b'\n')) => {}
            // One byte at a time: a wrong one is refused as soon as it is here.
            (None, _) => return Next::More { keep: data.len(), need: end + 1 },
            (Some(b'\r'), None) => return Next::More { keep: data.len(), need: end + 2 },
            _ => return self.protocol_error(slot, ProtocolError::Unknown),
        }
        let begun = self.conns.get_mut(slot).and_then(|conn| conn.fanning.take());
        let (headers, payload) = data
            .get(used..end)
            .and_then(|body| body.split_at_checked(p.headers.unwrap_or(0)))
            .unwrap_or_default();
        let message = Message { subject: p.subject, reply: p.reply, headers, payload };
        let left = self.message(slot, message, begun, now);
        let Some(conn) = self.conns.get_mut(slot).filter(|c| c.closed.is_none()) else { return Next::Closed };
        if left.is_some() {
            conn.fanning = left;
            return Next::Again;
        }
        conn.checked = false;
        Next::Used(end + 2)
    }

    /// Begins with a message or goes on with it; answers with what is left to do.
    fn message(
        &mut self,
        slot: u32,
        message: Message<'_>,
        begun: Option<Fanning>,
        now: u64,
    ) -> Option<Fanning> {
        let mut fanning = match begun {
            Some(fanning) => fanning,
            None => self.begin(slot, message, now)?,
        };
        let room = self.room();
        if !self.go_on(&mut fanning, Some(slot), message, room, now) {
            return Some(fanning);
        }
        if fanning.delivered.receivers == 0
            && let Some(reply) = message.reply
            && self.conns.get(slot).is_some_and(|c| c.options.no_responders)
        {
            self.no_responders(slot, message.subject, reply);
        }
        None
    }

    /// Whether a message may be published, and to whom it goes.
    fn begin(&mut self, slot: u32, message: Message<'_>, now: u64) -> Option<Fanning> {
        self.stats.in_msgs += 1;
        self.stats.in_bytes += (message.headers.len() + message.payload.len()) as u64;
        let conn = self.conns.get_mut(slot)?;
        let verbose = conn.options.verbose;
        if let Some(rights) = &conn.rights
            && !conn.memory.may_publish(rights, message.subject, now)
        {
            let text = format!("Permissions Violation for Publish to {}", quoted(message.subject));
            self.forbid(slot, text);
            return None;
        }
        if let Some(reply) = message.reply
            && (reply.starts_with(b"_R_.") || reply.starts_with(b"_GR_."))
        {
            let text = format!("Permissions Violation for Publish with Reply of {}", quoted(reply));
            self.forbid(slot, text);
            return None;
        }
        if verbose {
            self.send(slot, b"+OK\r\n");
        }
        Some(self.fan_out(message.subject))
    }

    /// Tells a requester that nobody listens, if it listens for the answer itself.
    fn no_responders(&mut self, slot: u32, subject: &[u8], reply: &[u8]) {
        let matched = self.list.matches(reply);
        let own = matched.plain.iter().find_map(|key| {
            self.subs.get(*key).filter(|s| matches!(s.owner, Owner::Client(owner) if owner == slot))
        });
        let Some(sub) = own else { return };
        let mut head = b"NATS/1.0 503\r\nNats-Subject: ".to_vec();
        head.extend_from_slice(subject);
        head.extend_from_slice(b"\r\n\r\n");
        let mut out = b"HMSG ".to_vec();
        out.extend_from_slice(reply);
        out.push(b' ');
        out.extend_from_slice(&sub.sid);
        for _ in 0..2 {
            out.push(b' ');
            crate::proto::push_number(&mut out, head.len());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&head);
        out.extend_from_slice(b"\r\n");
        self.send(slot, &out);
    }
}
