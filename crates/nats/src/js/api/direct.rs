//! `$JS.API.DIRECT.GET.…`: stored messages as they are, with what identifies them in headers.

use serde::Deserialize;

use super::super::config::parse;
use super::super::header;
use super::super::index::Filter;
use super::super::store::{Message, StoreError};
use super::super::stream::Core;
use super::super::time::{format_rfc3339, parse_rfc3339};
use super::super::{API_LEVEL, Get, JetStream, Now, Output, Publish, Shape, TURN_BYTES, TURN_MESSAGES};
use super::Request;
use super::stream::find;
use crate::subject::is_literal;

/// Subjects one `multi_last` may answer with.
const MULTI: usize = 1024;
/// The longest request whose cost is little whatever it says, bytes.
const NEAR_REQUEST: usize = 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DirectRequest {
    seq: u64,
    last_by_subj: String,
    next_by_subj: String,
    batch: u64,
    max_bytes: u64,
    start_time: Option<String>,
    multi_last: Vec<String>,
    up_to_seq: u64,
    up_to_time: Option<String>,
    no_hdr: bool,
}

impl DirectRequest {
    fn asks_nothing(&self) -> bool {
        self.seq == 0
            && self.last_by_subj.is_empty()
            && self.next_by_subj.is_empty()
            && self.multi_last.is_empty()
            && self.start_time.is_none()
    }

    fn contradicts_itself(&self) -> bool {
        let last = !self.last_by_subj.is_empty();
        let next = !self.next_by_subj.is_empty();
        let multi = !self.multi_last.is_empty();
        let time = self.start_time.is_some();
        (self.seq > 0 && (last || time))
            || (last && (time || next || self.batch > 0 || multi))
            || (next && multi)
            || (self.up_to_seq > 0 && self.up_to_time.is_some())
    }
}

impl JetStream {
    /// Whether this is the get of one message that costs little and does not wait for the medium. `target` is what follows
    /// `$JS.API.DIRECT.GET.`.
    pub(in super::super) fn is_near(&mut self, target: &str, payload: &[u8]) -> bool {
        let (name, subject) = target.split_once('.').unwrap_or((target, ""));
        let Some(core) = self.streams.get_mut(name).map(|s| &mut s.core) else { return true };
        let get = match payload {
            [] => DirectRequest { last_by_subj: subject.to_owned(), ..DirectRequest::default() },
            _ if payload.len() > NEAR_REQUEST || !subject.is_empty() => return false,
            _ => parse(payload).unwrap_or_default(),
        };
        let single = get.batch == 0 && get.multi_last.is_empty() && get.start_time.is_none();
        let literal = is_literal(get.last_by_subj.as_bytes()) && get.next_by_subj.is_empty();
        single && literal && find(core, get.seq, &get.last_by_subj, "").is_none_or(|seq| core.is_near(seq))
    }

    pub(super) fn direct_get(&mut self, request: Request<'_>, target: &str) {
        let Some(reply) = request.reply else { return };
        let (name, subject) = target.split_once('.').unwrap_or((target, ""));
        if !self.streams.get(name).is_some_and(|s| s.core.config.allow_direct) {
            return self.no_responders(Some(reply), "DIRECT.GET", target);
        }
        let level = header::text(request.headers, "Nats-Required-Api-Level");
        if level.is_some_and(|l| l.parse::<u64>().map_or(true, |l| l > API_LEVEL)) {
            return self.status(Some(reply), 412, "Required Api Level");
        }
        let empty = request.payload.trim_ascii().is_empty();
        if subject.is_empty() && empty {
            return self.status(Some(reply), 408, "Empty Request");
        }
        let Ok(mut get) = parse::<DirectRequest>(request.payload) else {
            return self.status(Some(reply), 408, "Malformed Request");
        };
        if !subject.is_empty() {
            // The subject in the request's subject is the whole request; a body may only refine it.
            if !get.last_by_subj.is_empty() || !get.next_by_subj.is_empty() || get.batch > 0 {
                return self.status(Some(reply), 408, "Bad Request");
            }
            subject.clone_into(&mut get.last_by_subj);
        }
        if get.asks_nothing() {
            return self.status(Some(reply), 408, "Empty Request");
        }
        if get.contradicts_itself() {
            return self.status(Some(reply), 408, "Bad Request");
        }
        let reply = reply.to_owned();
        let mut out = Vec::new();
        let Some(stream) = self.streams.get_mut(name) else { return };
        let dirty = stream.core.is_dirty();
        let outcome = if get.multi_last.is_empty() {
            one_or_batch(&mut stream.core, &get, &reply, &mut out)
        } else {
            multi(&mut stream.core, &get, &reply, &mut out)
        };
        let at = self.out.len();
        match outcome {
            Ok(()) => self.out.append(&mut out),
            Err((code, text)) => self.status(Some(&reply), code, text),
        }
        if dirty {
            // It may have read what the medium does not take.
            let (headers, payload) = (request.headers.to_vec(), request.payload.to_vec());
            let shape = Shape::Get(Get { target: target.to_owned(), reply, headers, payload });
            self.hold_from(name, at, shape);
        }
    }

    /// Answers a get of a turn that did not happen.
    pub(in super::super) fn get_again(&mut self, now: Now, get: &Get) {
        let request = Request { now, reply: Some(&get.reply), headers: &get.headers, payload: &get.payload };
        self.direct_get(request, &get.target);
    }
}

/// What a get says whose message is there and does not read: never that it is not there.
fn unreadable(core: &mut Core, error: &StoreError) -> (u16, &'static str) {
    match error {
        StoreError::Damaged(_) => (500, "Message Damaged"),
        // Nothing about this message: it is to be asked for again. 503 is taken, by "no responders".
        _ if !core.is_there() => (504, "Medium Not Readable"),
        _ => (500, "Message Not Readable"),
    }
}

type Outcome = Result<(), (u16, &'static str)>;

/// Sends one message of an answer and says what it costs.
fn send(out: &mut Vec<Output>, reply: &str, headers: bytes::Bytes, payload: bytes::Bytes) -> u64 {
    let publish =
        Publish { route: reply.to_owned(), subject: reply.to_owned(), reply: None, headers, payload };
    let cost = publish.cost() as u64;
    out.push(Output::Publish(publish));
    cost
}

/// A stored message with the headers that say which one it is. `batch`: how many follow, and the one before.
fn labelled(core: &Core, seq: u64, message: &Message, batch: Option<(u64, u64)>) -> bytes::Bytes {
    let subject = core.index.get(seq).map(|slot| slot.subject.to_string()).unwrap_or_default();
    let (number, time) = (seq.to_string(), format_rfc3339(message.time));
    let mut more = vec![
        ("Nats-Stream", core.config.name.as_str()),
        ("Nats-Subject", &subject),
        ("Nats-Sequence", &number),
        ("Nats-Time-Stamp", &time),
    ];
    let counts = batch.map(|(pending, last)| (pending.to_string(), last.to_string()));
    if let Some((pending, last)) = &counts {
        more.push(("Nats-Num-Pending", pending));
        more.push(("Nats-Last-Sequence", last));
    }
    header::extend(&message.headers, &more)
}

fn bound(max_bytes: u64) -> u64 {
    if max_bytes == 0 { TURN_BYTES as u64 } else { max_bytes.min(TURN_BYTES as u64) }
}

fn one_or_batch(core: &mut Core, get: &DirectRequest, reply: &str, out: &mut Vec<Output>) -> Outcome {
    const NOT_FOUND: (u16, &str) = (404, "Message Not Found");
    let start = match get.start_time.as_deref() {
        Some(text) => core.index.at_time(parse_rfc3339(text).ok_or((408, "Malformed Request"))?),
        None => get.seq,
    };
    if get.batch == 0 {
        let seq = find(core, start, &get.last_by_subj, &get.next_by_subj).ok_or(NOT_FOUND)?;
        let message = core.read(seq).map_err(|e| unreadable(core, &e))?;
        let headers = if get.no_hdr { bytes::Bytes::new() } else { labelled(core, seq, &message, None) };
        send(out, reply, headers, message.payload);
        return Ok(());
    }
    let filter = match get.next_by_subj.as_str() {
        "" => Filter::All,
        next => Filter::Some(vec![next.to_owned()]),
    };
    let mut pending = core.index.count(&filter, start);
    let (mut from, mut last, mut sent, mut cost) = (start, 0, 0, 0);
    // Whoever asks for more than a turn gives is told what is left, and asks again.
    for nth in 0..get.batch.min(TURN_MESSAGES as u64) {
        let Some(seq) = core.index.next(&filter, from) else {
            if nth == 0 {
                return Err(NOT_FOUND);
            }
            break;
        };
        from = seq + 1;
        pending = pending.saturating_sub(1);
        let message = match core.read(seq) {
            Ok(message) => message,
            Err(StoreError::Damaged(_)) => continue,
            // It is there: never passed over in silence. The batch ends before it; who goes on from there is told which one it is.
            Err(error) if last == 0 => {
                let (code, text) = unreadable(core, &error);
                if code != 500 {
                    return Err((code, text));
                }
                let status = header::status(code, text, &[("Nats-Sequence", seq)]);
                let slot = core.index.get(seq);
                let subject = slot.map(|slot| slot.subject.to_string()).unwrap_or_default();
                let time = format_rfc3339(slot.map_or(0, |slot| slot.time));
                let which = [("Nats-Subject", subject.as_str()), ("Nats-Time-Stamp", time.as_str())];
                send(out, reply, header::extend(&status, &which), bytes::Bytes::new());
                return Ok(());
            }
            Err(_) => {
                pending += 1;
                break;
            }
        };
        let bytes = (message.headers.len() + message.payload.len()) as u64;
        let headers = if get.no_hdr {
            bytes::Bytes::new()
        } else {
            labelled(core, seq, &message, Some((pending, last)))
        };
        last = seq;
        sent += bytes;
        cost += send(out, reply, headers, message.payload);
        if sent >= bound(get.max_bytes) || cost >= TURN_BYTES as u64 {
            break;
        }
    }
    let end = [("Nats-Num-Pending", pending), ("Nats-Last-Sequence", last)];
    send(out, reply, header::status(204, "EOB", &end), bytes::Bytes::new());
    Ok(())
}

fn multi(core: &mut Core, get: &DirectRequest, reply: &str, out: &mut Vec<Output>) -> Outcome {
    const NO_RESULTS: (u16, &str) = (404, "No Results");
    let mut upto = get.up_to_seq;
    if let Some(text) = get.up_to_time.as_deref() {
        let at = core.index.at_time(parse_rfc3339(text).ok_or((408, "Malformed Request"))?);
        if at <= core.index.first_seq() {
            return Err(NO_RESULTS);
        }
        upto = at - 1;
    }
    if upto == 0 {
        upto = core.index.last_seq();
    }
    let mut seqs = core.index.last_per_subject(&get.multi_last, upto);
    if seqs.len() > MULTI {
        return Err((413, "Too Many Results"));
    }
    seqs.retain(|seq| *seq >= get.seq);
    if seqs.is_empty() {
        return Err(NO_RESULTS);
    }
    let (mut last, mut sent, mut cost) = (0, 0, 0);
    let mut pending = seqs.len() as u64;
    for (nth, seq) in seqs.into_iter().enumerate() {
        let full = sent >= bound(get.max_bytes) || cost >= TURN_BYTES as u64;
        if full || get.batch > 0 && nth as u64 >= get.batch {
            break;
        }
        pending -= 1;
        let message = core.read(seq).map_err(|e| unreadable(core, &e))?;
        sent += (message.headers.len() + message.payload.len()) as u64;
        let headers = labelled(core, seq, &message, Some((pending, last)));
        cost += send(out, reply, headers, message.payload);
        last = seq;
    }
    let end = [("Nats-Num-Pending", pending), ("Nats-Last-Sequence", last), ("Nats-UpTo-Sequence", upto)];
    send(out, reply, header::status(204, "EOB", &end), bytes::Bytes::new());
    Ok(())
}
