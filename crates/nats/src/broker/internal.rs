//! The broker's side of [`Internal`].

use bytes::Bytes;

use super::deliver::Message;
use super::{Broker, InterestChange, InternalMsg, Owner, Sub};
use crate::internal::{Delivered, Internal, InternalSub};
use crate::subject::{SubjectError, check_filter};

impl Broker {
    /// The connection of a subscription, unless it is one from inside.
    fn receiver(&self, key: u32) -> Option<u32> {
        match self.subs.get(key)?.owner {
            Owner::Client(slot) => Some(slot),
            Owner::Internal => None,
        }
    }
}

impl Internal for Broker {
    fn internal_subscribe(&mut self, filter: &str) -> Result<InternalSub, SubjectError> {
        check_filter(filter.as_bytes())?;
        let key = self.subs.insert(Sub {
            owner: Owner::Internal,
            filter: filter.as_bytes().into(),
            queue: None,
            sid: Box::default(),
            delivered: 0,
            max: 0,
            check: false,
            serial: self.next_sub,
            cost: 0,
        });
        self.next_sub += 1;
        self.list.insert(filter.as_bytes(), None, key);
        Ok(InternalSub(key))
    }

    fn internal_unsubscribe(&mut self, sub: InternalSub) {
        if self.subs.get(sub.0).is_some_and(|s| matches!(s.owner, Owner::Internal)) {
            self.drop_sub(sub.0);
        }
    }

    fn take_internal(&mut self) -> Vec<InternalMsg> {
        self.internal_bytes = 0;
        std::mem::take(&mut self.internal)
    }

    fn internal_deliver(
        &mut self,
        route: &[u8],
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Delivered {
        // The time only matters to the right to answer; the last input's is near enough and saves an argument.
        let mut fanning = self.fan_out(route);
        let message = Message { subject, reply, headers, payload };
        self.go_on(&mut fanning, None, message, usize::MAX, self.now);
        self.behind = None;
        fanning.delivered
    }

    fn has_interest(&self, subject: &[u8]) -> bool {
        self.list.any(subject, |key| self.receiver(key).is_some())
    }

    fn pending_bytes(&self, subject: &[u8]) -> Option<usize> {
        let matched = self.list.look_up(subject);
        let keys = matched.plain.iter().chain(matched.queues.iter().flat_map(|(_, members)| members));
        let slots = keys.filter_map(|key| self.receiver(*key));
        slots.filter_map(|slot| self.conns.get(slot)).map(|conn| conn.out.pending()).max()
    }

    fn watch_interest(&mut self, subject: &[u8]) {
        let interested = self.has_interest(subject);
        self.watched.entry(subject.into()).or_insert(interested);
    }

    fn unwatch_interest(&mut self, subject: &[u8]) {
        self.watched.remove(subject);
    }

    fn take_interest_changes(&mut self) -> Vec<InterestChange> {
        let generation = self.list.generation();
        if self.watched.is_empty() || self.interest_generation == generation {
            return Vec::new();
        }
        self.interest_generation = generation;
        let mut watched = std::mem::take(&mut self.watched);
        let mut changes = Vec::new();
        for (subject, before) in &mut watched {
            let interested = self.has_interest(subject);
            if interested != *before {
                *before = interested;
                changes.push(InterestChange { subject: Bytes::copy_from_slice(subject), interested });
            }
        }
        self.watched = watched;
        changes
    }
}
