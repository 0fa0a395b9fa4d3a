//! `$JS.API.STREAM.…`

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::config::{StreamConfig, parse};
use super::super::error::{self, ApiError};
use super::super::meta::put_meta;
use super::super::store::{Flush, StoreError};
use super::super::time::{ZERO, format_rfc3339};
use super::super::{JetStream, StorageType, Stream};
use super::{Answer, Request, page};
use crate::subject;

/// Names on one page.
const NAMES: usize = 1024;
/// Infos on one page.
const LIST: usize = 256;
/// Subjects, and deleted sequences, in one info.
const DETAILS: usize = 100_000;
/// Bytes of answer one page may have: well below the 1 MiB a client accepts.
const PAGE_BYTES: usize = 512 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListRequest {
    offset: usize,
    subject: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InfoRequest {
    offset: usize,
    deleted_details: bool,
    subjects_filter: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PurgeRequest {
    seq: u64,
    filter: String,
    keep: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MsgDeleteRequest {
    seq: u64,
    #[serde(rename = "no_erase")]
    _no_erase: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MsgGetRequest {
    seq: u64,
    last_by_subj: String,
    next_by_subj: String,
    batch: u64,
}

impl JetStream {
    pub(super) fn stream_request(&mut self, request: Request<'_>, tail: &str) -> (&'static str, Answer) {
        let (verb, name) = tail.rsplit_once('.').unwrap_or((tail, ""));
        match (verb, name) {
            ("NAMES", "") => ("stream_names", self.stream_names(request)),
            ("LIST", "") => ("stream_list", self.stream_list(request)),
            ("CREATE", name) => ("stream_create", self.stream_create(request, name)),
            ("UPDATE", name) => ("stream_update", self.stream_update(request, name)),
            ("INFO", name) => ("stream_info", self.stream_info(request, name)),
            ("DELETE", name) => ("stream_delete", self.stream_delete(request, name)),
            ("PURGE", name) => ("stream_purge", self.stream_purge(request, name)),
            ("MSG.GET", name) => ("stream_msg_get", self.message_get(request, name)),
            ("MSG.DELETE", name) => ("stream_msg_delete", self.message_delete(request, name)),
            ("SNAPSHOT", _) => ("stream_snapshot", Err(ApiError::stream_snapshot("not supported"))),
            ("RESTORE", _) => ("stream_restore", Err(ApiError::stream_restore("not supported"))),
            ("LEADER.STEPDOWN", _) => ("stream_leader_stepdown", Err(error::CLUSTER_REQUIRED)),
            ("PEER.REMOVE", _) => ("stream_remove_peer", Err(error::CLUSTER_REQUIRED)),
            _ => ("error", Err(error::BAD_REQUEST)),
        }
    }

    fn stream_mut(&mut self, name: &str) -> Result<&mut Stream, ApiError> {
        self.streams.get_mut(name).ok_or(error::STREAM_NOT_FOUND)
    }

    /// A stream that takes changes.
    fn stream_to_change(&mut self, name: &str) -> Result<&mut Stream, ApiError> {
        let stream = self.stream_mut(name)?;
        match &stream.core.trouble {
            Some(trouble) => Err(trouble.refusal()),
            None => Ok(stream),
        }
    }

    /// Whether there is room for a configuration: for its names and texts, and for what it may store.
    fn check_bounds(&self, config: &StreamConfig, replaced: usize) -> Result<(), ApiError> {
        let bound = match config.storage {
            StorageType::Memory => Some(self.limits.memory_stream),
            StorageType::File => self.storage.capacity(),
        };
        if bound.is_some_and(|bound| u64::try_from(config.max_bytes).is_ok_and(|max| max > bound)) {
            return Err(match config.storage {
                StorageType::Memory => error::MEMORY_RESOURCES,
                StorageType::File => error::STORAGE_RESOURCES,
            });
        }
        if config.subjects.len() > self.limits.filters
            || self.config_bytes() - replaced + config.weight() > self.limits.config_bytes
        {
            return Err(error::INSUFFICIENT_RESOURCES);
        }
        Ok(())
    }

    fn overlapping(&self, request: &ListRequest) -> Vec<String> {
        let wanted = |s: &Stream| {
            request.subject.is_empty()
                || s.core
                    .config
                    .subjects
                    .iter()
                    .any(|c| subject::overlaps(c.as_bytes(), request.subject.as_bytes()))
        };
        self.streams.iter().filter(|(_, s)| wanted(s)).map(|(name, _)| name.clone()).collect()
    }

    fn stream_names(&self, request: Request<'_>) -> Answer {
        let list: ListRequest = parse(request.payload)?;
        let (total, names) = page(self.overlapping(&list), list.offset, NAMES);
        let streams = if total == 0 { Value::Null } else { json!(names) };
        Ok(json!({"total": total, "offset": list.offset, "limit": NAMES, "streams": streams}))
    }

    fn stream_list(&self, request: Request<'_>) -> Answer {
        let list: ListRequest = parse(request.payload)?;
        let (total, names) = page(self.overlapping(&list), list.offset, LIST);
        let infos: Vec<Value> =
            names.iter().filter_map(|n| self.streams.get(n)).map(|s| description(s, request)).collect();
        Ok(json!({"total": total, "offset": list.offset, "limit": LIST, "streams": infos}))
    }

    fn stream_create(&mut self, request: Request<'_>, name: &str) -> Answer {
        let config: StreamConfig = parse(request.payload)?;
        if config.name != name {
            return Err(error::STREAM_MISMATCH);
        }
        let config = config.checked()?;
        if let Some(existing) = self.streams.get(name) {
            if existing.core.config != config {
                return Err(error::STREAM_NAME_EXISTS);
            }
            let mut answer = description(existing, request);
            mark_created(&mut answer);
            return Ok(answer);
        }
        if self.streams.len() >= self.limits.streams {
            return Err(error::MAXIMUM_STREAMS);
        }
        if config.mirror_direct {
            return Err(ApiError::invalid_config("stream has no mirror but does have mirror direct"));
        }
        self.check_bounds(&config, 0)?;
        config.check_subjects()?;
        self.check_overlap(&config)?;
        let stream = match self.new_stream(config, request.now) {
            Ok(stream) => stream,
            Err(StoreError::Full) => return Err(error::STORAGE_RESOURCES),
            Err(error) => {
                self.undo_later(request.now, &error);
                return Err(ApiError::stream_create(error.to_string()));
            }
        };
        self.epoch.forget(name);
        let mut answer = description(&stream, request);
        mark_created(&mut answer);
        self.streams.insert(name.to_owned(), stream);
        self.capture();
        Ok(answer)
    }

    fn check_overlap(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let others = self.streams.values().map(|s| &s.core.config).filter(|c| c.name != config.name);
        let mut theirs = others.flat_map(|c| &c.subjects);
        let collides = |other: &String| {
            config.subjects.iter().any(|s| subject::overlaps(s.as_bytes(), other.as_bytes()))
        };
        if theirs.any(collides) { Err(error::SUBJECT_OVERLAP) } else { Ok(()) }
    }

    fn stream_update(&mut self, request: Request<'_>, name: &str) -> Answer {
        let config: StreamConfig = parse(request.payload)?;
        if config.name != name {
            return Err(error::STREAM_MISMATCH);
        }
        let stream = self.stream_to_change(name)?;
        let (old, weight) = (stream.core.config.clone(), stream.core.config.weight());
        let limits = config.consumer_limits.clone();
        let config = config.checked()?;
        old.check_update(&config)?;
        let violating = stream.consumers.values().filter(|c| c.config.check_limits(&limits).is_err());
        let violating: Vec<&str> = violating.map(|c| c.name.as_str()).collect();
        if !violating.is_empty() {
            return Err(ApiError::limits_violated(&violating));
        }
        self.check_bounds(&config, weight)?;
        config.check_subjects()?;
        self.check_overlap(&config)?;
        let failed = |e: StoreError| ApiError::stream_update(e.to_string());
        let class = Stream::class(&config);
        // First what older limits removed is written down, which nobody sees, then the configuration, and then what it
        // removes: a crash in between brings nothing back, and a refusal leaves all as it was.
        self.stream_mut(name)?.core.note_gaps();
        if !self.settle(request.now, name, Flush::Medium) {
            let trouble = self.stream_mut(name)?.core.trouble.as_ref();
            return Err(trouble.map_or(error::INSUFFICIENT_RESOURCES, |t| failed(t.error.clone())));
        }
        if !class.memory {
            let Some(stream) = self.streams.get_mut(name) else { return Err(error::STREAM_NOT_FOUND) };
            let meta = stream.meta(&config);
            let stored = put_meta(self.storage.as_mut(), &mut stream.kept, name, class, &meta);
            if let Err(error) = stored {
                // What may be there after a crash is replaced by what is in force as soon as the medium takes it.
                stream.meta_dirty |= matches!(error, StoreError::Open(_));
                self.undo_later(request.now, &error);
                return Err(failed(error));
            }
            stream.meta_dirty = false;
        }
        self.stream_mut(name)?.core.update(config.clone());
        // It is in force; what it removes comes back only where the journal cannot be written.
        self.settle(request.now, name, Flush::Medium);
        let answer = description(self.stream_mut(name)?, request);
        if old.subjects != config.subjects {
            self.capture();
        }
        Ok(answer)
    }

    fn stream_info(&mut self, request: Request<'_>, name: &str) -> Answer {
        let info: InfoRequest = parse(request.payload)?;
        let stream = self.stream_mut(name)?;
        let mut answer = description(stream, request);
        let index = &stream.core.index;
        let (mut total, mut limit) = (0, 0);
        if info.deleted_details
            && let Some(state) = answer.get_mut("state").and_then(Value::as_object_mut)
            && index.deleted_count() > 0
        {
            state.insert("deleted".to_owned(), json!(index.deleted(DETAILS)));
        }
        if !info.subjects_filter.is_empty()
            && let Some(state) = answer.get_mut("state").and_then(Value::as_object_mut)
        {
            let mut subjects = serde_json::Map::new();
            let mut bytes = 0;
            for (subject, seqs) in index.matching(&info.subjects_filter) {
                total += 1;
                if total <= info.offset || subjects.len() >= DETAILS || bytes > PAGE_BYTES {
                    continue;
                }
                bytes += subject.len() + 16;
                subjects.insert(subject.to_string(), seqs.len().into());
            }
            // A page ends where the answer gets too long; the client asks on from there.
            if total > 0 {
                limit = if bytes > PAGE_BYTES { subjects.len() } else { DETAILS };
                state.insert("subjects".to_owned(), Value::Object(subjects));
            }
        }
        if let Some(map) = answer.as_object_mut() {
            map.insert("total".to_owned(), total.into());
            map.insert("offset".to_owned(), info.offset.into());
            map.insert("limit".to_owned(), limit.into());
        }
        Ok(answer)
    }

    fn stream_delete(&mut self, request: Request<'_>, name: &str) -> Answer {
        request.no_body()?;
        let stream = self.stream_mut(name)?;
        if !stream.is_absent && !Stream::class(&stream.core.config).memory {
            if let Err(error) = self.storage.delete(name) {
                self.undo_later(request.now, &error);
                return Err(ApiError::stream_delete(error.to_string()));
            }
            self.unwanted.retain(|(stream, _)| stream != name);
        }
        let mut stream = self.streams.remove(name).ok_or(error::STREAM_NOT_FOUND)?;
        stream.consumers.values_mut().for_each(|c| c.close(&mut self.out));
        self.no_room = false;
        self.capture();
        Ok(json!({"success": true}))
    }

    fn stream_purge(&mut self, request: Request<'_>, name: &str) -> Answer {
        let purge: PurgeRequest = parse(request.payload)?;
        self.relieve(request.now, name, true);
        let filter = Some(purge.filter.as_str()).filter(|f| !f.is_empty());
        let everything = filter.is_none_or(|f| f == ">") && purge.seq == 0 && purge.keep == 0;
        let stream = self.stream_mut(name)?;
        if let Some(trouble) = &stream.core.trouble
            && !(everything && trouble.error == StoreError::Full)
        {
            return Err(trouble.refusal());
        }
        if stream.core.config.sealed {
            return Err(error::STREAM_SEALED);
        }
        if purge.seq > 0 && purge.keep > 0 {
            return Err(error::BAD_REQUEST);
        }
        if stream.core.config.deny_purge {
            return Err(ApiError::purge_failed("stream purge not permitted"));
        }
        if !everything {
            let gone = stream.core.purge(filter, purge.seq, purge.keep);
            self.no_room &= gone == 0;
            return Ok(json!({"success": true, "purged": gone}));
        }
        let failed = |error: &StoreError| ApiError::purge_failed(error.to_string());
        if !self.settle(request.now, name, Flush::Medium) {
            let trouble = self.stream_mut(name)?.core.trouble.as_ref();
            // All of it can go without room for a word about it.
            if let Some(trouble) = trouble.filter(|t| t.error != StoreError::Full) {
                return Err(failed(&trouble.error));
            }
        }
        let stream = self.stream_mut(name)?;
        match stream.core.purge_all() {
            Ok(gone) => {
                stream.core.try_now(request.now, true);
                stream.spread();
                self.no_room &= gone == 0;
                Ok(json!({"success": true, "purged": gone}))
            }
            Err(error) => Err(ApiError::purge_failed(self.fail(request.now, name, error))),
        }
    }

    fn message_delete(&mut self, request: Request<'_>, name: &str) -> Answer {
        let delete: MsgDeleteRequest = parse(request.payload)?;
        if request.payload.trim_ascii().is_empty() {
            return Err(error::BAD_REQUEST);
        }
        self.relieve(request.now, name, true);
        let stream = self.stream_to_change(name)?;
        if stream.core.config.sealed {
            return Err(error::STREAM_SEALED);
        }
        if stream.core.config.deny_delete {
            return Err(ApiError::msg_delete_failed("message delete not permitted"));
        }
        let gone = stream.core.delete_message(delete.seq);
        if gone {
            self.no_room = false;
            return Ok(json!({"success": true}));
        }
        let stream = self.stream_mut(name)?;
        Err(if delete.seq > stream.core.index.last_seq() {
            ApiError::msg_delete_failed("stream store EOF")
        } else {
            ApiError::sequence_not_found(delete.seq)
        })
    }

    fn message_get(&mut self, request: Request<'_>, name: &str) -> Answer {
        if request.payload.trim_ascii().is_empty() {
            return Err(error::BAD_REQUEST);
        }
        let get: MsgGetRequest = parse(request.payload)?;
        let stream = self.stream_mut(name)?;
        let both = get.seq > 0 && !get.last_by_subj.is_empty();
        let neither = get.seq == 0 && get.last_by_subj.is_empty() && get.next_by_subj.is_empty();
        let mixed = !get.last_by_subj.is_empty() && !get.next_by_subj.is_empty();
        if both || neither || mixed || get.batch > 0 {
            return Err(error::BAD_REQUEST);
        }
        let found = find(&stream.core, get.seq, &get.last_by_subj, &get.next_by_subj);
        let seq = found.ok_or(error::NO_MESSAGE_FOUND)?;
        let subject = stream.core.index.get(seq).ok_or(error::NO_MESSAGE_FOUND)?.subject.to_string();
        let message = stream.core.read(seq).map_err(|e| ApiError::stream_general(e.to_string()))?;
        let mut value = json!({"subject": subject, "seq": seq, "time": format_rfc3339(message.time)});
        if let Some(map) = value.as_object_mut() {
            if !message.headers.is_empty() {
                map.insert("hdrs".to_owned(), BASE64.encode(&message.headers).into());
            }
            if !message.payload.is_empty() {
                map.insert("data".to_owned(), BASE64.encode(&message.payload).into());
            }
        }
        Ok(json!({"message": value}))
    }
}

/// The message a get asks for.
pub(super) fn find(core: &super::super::Core, seq: u64, last_by: &str, next_by: &str) -> Option<u64> {
    if !last_by.is_empty() {
        return core.index.last(last_by, u64::MAX);
    }
    if !next_by.is_empty() {
        let filter = super::super::index::Filter::Some(vec![next_by.to_owned()]);
        return core.index.next(&filter, seq);
    }
    core.index.contains(seq).then_some(seq)
}

fn mark_created(answer: &mut Value) {
    if let Some(map) = answer.as_object_mut() {
        map.insert("did_create".to_owned(), true.into());
    }
}

/// Configuration and state of a stream.
fn description(stream: &Stream, request: Request<'_>) -> Value {
    let index = &stream.core.index;
    let first = index.first().map_or_else(|| ZERO.to_owned(), |(_, slot)| format_rfc3339(slot.time));
    let last = index.last_time().map_or_else(|| ZERO.to_owned(), format_rfc3339);
    let mut state = json!({
        "messages": index.len(),
        "bytes": index.bytes(),
        "first_seq": index.first_seq(),
        "first_ts": first,
        "last_seq": index.last_seq(),
        "last_ts": last,
        "consumer_count": stream.consumers.len(),
    });
    if let Some(map) = state.as_object_mut() {
        if index.subject_count() > 0 {
            map.insert("num_subjects".to_owned(), index.subject_count().into());
        }
        if index.deleted_count() > 0 {
            map.insert("num_deleted".to_owned(), index.deleted_count().into());
        }
    }
    json!({
        "config": stream.core.config,
        "created": format_rfc3339(stream.core.created),
        "state": state,
        "ts": format_rfc3339(request.now.wall),
    })
}
