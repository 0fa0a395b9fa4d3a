//! `$JS.API.CONSUMER.…`

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::config::{ConsumerConfig, parse};
use super::super::consumer::Consumer;
use super::super::error::{self, ApiError};
use super::super::store::StoreError;
use super::super::time::{ZERO, format_rfc3339, parse_rfc3339};
use super::super::{JetStream, Output, Pull, Stream};
use super::{Answer, Request, page};

const NAMES: usize = 1024;
const LIST: usize = 256;
/// Sequences that the consumers of the last message of each subject have before them, together.
const MAX_SKIPPED: usize = 262_144;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CreateRequest {
    stream_name: String,
    config: Option<ConsumerConfig>,
    action: String,
    #[serde(rename = "pedantic")]
    _pedantic: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListRequest {
    offset: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseRequest {
    pause_until: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ResetRequest {
    seq: u64,
}

/// What a create subject says: stream, and for the newer forms name and filter.
struct Target<'a> {
    stream: &'a str,
    name: Option<&'a str>,
    filter: Option<&'a str>,
    durable: bool,
}

impl JetStream {
    pub(super) fn consumer_request(&mut self, request: Request<'_>, tail: &str) -> (&'static str, Answer) {
        let mut parts = tail.splitn(2, '.');
        let (verb, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match verb {
            "CREATE" => {
                let mut tokens = rest.splitn(3, '.');
                let stream = tokens.next().unwrap_or_default();
                let target = Target { stream, name: tokens.next(), filter: tokens.next(), durable: false };
                ("consumer_create", self.consumer_create(request, &target))
            }
            "DURABLE" => {
                let answer = match rest.strip_prefix("CREATE.").and_then(|r| r.split_once('.')) {
                    Some((stream, name)) => {
                        let target = Target { stream, name: Some(name), filter: None, durable: true };
                        self.consumer_create(request, &target)
                    }
                    None => Err(error::BAD_REQUEST),
                };
                ("consumer_create", answer)
            }
            "NAMES" => ("consumer_names", self.consumer_names(request, rest)),
            "LIST" => ("consumer_list", self.consumer_list(request, rest)),
            "INFO" => ("consumer_info", self.consumer_info(request, rest)),
            "DELETE" => ("consumer_delete", self.consumer_delete(request, rest)),
            "PAUSE" => ("consumer_pause", self.consumer_pause(request, rest)),
            "LEADER" => ("consumer_leader_stepdown", Err(error::CLUSTER_REQUIRED)),
            "UNPIN" => ("consumer_unpin", Err(error::BAD_REQUEST)),
            "RESET" => ("consumer_reset", self.consumer_reset(request, rest)),
            _ => ("error", Err(error::BAD_REQUEST)),
        }
    }

    fn consumer_create(&mut self, request: Request<'_>, target: &Target<'_>) -> Answer {
        let create: CreateRequest = parse(request.payload)?;
        if create.stream_name != target.stream {
            return Err(error::STREAM_MISMATCH);
        }
        let mut config = create.config.ok_or(error::CONSUMER_CONFIG_REQUIRED)?;
        check_subject(&config, target)?;
        if let Some(name) = target.name.filter(|_| !target.durable) {
            // The subject decides.
            name.clone_into(&mut config.name);
        }
        let Some(stream) = self.streams.get(target.stream) else { return Err(error::STREAM_NOT_FOUND) };
        self.check_consumer_bounds(stream, &config)?;
        let config = config.checked(&stream.core.config)?;
        let consumers = || self.streams.values().flat_map(|s| s.consumers.values());
        let (all_consumers, skipped) =
            (consumers().count(), consumers().map(Consumer::skipped).sum::<usize>());
        let name = if config.name.is_empty() { self.random_name() } else { config.name.clone() };
        let Some(stream) = self.streams.get_mut(target.stream) else { return Err(error::STREAM_NOT_FOUND) };
        let watched_before = stream.consumers.get(&name).and_then(Consumer::watched).map(str::to_owned);
        let mut undo = None;
        if let Some(existing) = stream.consumers.get_mut(&name) {
            if create.action == "create" && existing.config != config {
                return Err(error::CONSUMER_ALREADY_EXISTS);
            }
            existing.config.check_update(&config)?;
            if existing.config.deliver_subject != config.deliver_subject && existing.is_bound() {
                return Err(error::CONSUMER_EXISTING_ACTIVE);
            }
            if existing.config != config {
                undo = Some(existing.config.clone());
                existing.update(config, &stream.core.config, &stream.core.index);
            }
        } else {
            if create.action == "update" {
                return Err(error::CONSUMER_DOES_NOT_EXIST);
            }
            let bound = u64::try_from(stream.core.config.max_consumers).unwrap_or(u64::MAX);
            let bound = bound.min(self.limits.consumers as u64);
            if stream.consumers.len() as u64 >= bound {
                return Err(error::MAXIMUM_CONSUMERS);
            }
            if all_consumers + self.unwanted.len() >= self.limits.all_consumers {
                return Err(error::MAXIMUM_CONSUMERS);
            }
            let consumer = Consumer::new(&stream.core, name.clone(), config, request.now);
            if consumer.skipped() + skipped > MAX_SKIPPED {
                return Err(error::INSUFFICIENT_RESOURCES);
            }
            stream.consumers.insert(name.clone(), consumer);
        }
        let Some(consumer) = stream.consumers.get_mut(&name) else { return Err(error::CONSUMER_NOT_FOUND) };
        let watched = consumer.watched().map(str::to_owned);
        if consumer.is_stored() && consumer.dirty {
            // A durable consumer that was confirmed is there after a crash.
            let (generation, state) = consumer.saved();
            if let Err(error) = self.storage.put_consumer(target.stream, &name, generation, &state) {
                match undo {
                    // What is in force is stored again with the next states.
                    Some(config) => consumer.update(config, &stream.core.config, &stream.core.index),
                    None => {
                        stream.consumers.remove(&name);
                        if matches!(error, StoreError::Open(_)) {
                            self.unwanted.insert((target.stream.to_owned(), name));
                        }
                    }
                }
                self.undo_later(request.now, &error);
                return Err(ApiError::consumer_store(error.to_string()));
            }
            consumer.dirty = false;
        }
        self.unwanted.remove(&(target.stream.to_owned(), name.clone()));
        if watched != watched_before {
            self.out.extend(watched_before.map(Output::Unwatch));
            self.out.extend(watched.map(Output::Watch));
        }
        Ok(consumer.info(request.now))
    }

    /// Whether there is room for one more consumer with this configuration, before it is looked at more closely: what follows takes
    /// time by the square of its filters.
    fn check_consumer_bounds(&self, stream: &Stream, config: &ConsumerConfig) -> Result<(), ApiError> {
        let filters = config.filter_count();
        let same = |c: &&Consumer| c.name == config.name || c.name == config.durable_name;
        let (replaced, others): (Vec<_>, Vec<_>) = stream.consumers.values().partition(same);
        let of_stream: usize = others.iter().map(|c| c.config.filter_count()).sum();
        let replaced: usize = replaced.iter().map(|c| c.config.weight()).sum();
        if filters > self.limits.filters
            || of_stream + filters > self.limits.stream_filters
            || self.config_bytes() - replaced + config.weight() > self.limits.config_bytes
        {
            return Err(error::INSUFFICIENT_RESOURCES);
        }
        Ok(())
    }

    fn find_consumer(&mut self, rest: &str) -> Result<(&mut Stream, String), ApiError> {
        let (stream, name) = rest.split_once('.').ok_or(error::BAD_REQUEST)?;
        let stream = self.streams.get_mut(stream).ok_or(error::STREAM_NOT_FOUND)?;
        if stream.consumers.contains_key(name) {
            Ok((stream, name.to_owned()))
        } else {
            Err(error::CONSUMER_NOT_FOUND)
        }
    }

    fn consumer_names(&self, request: Request<'_>, stream: &str) -> Answer {
        let list: ListRequest = parse(request.payload)?;
        let stream = self.streams.get(stream).ok_or(error::STREAM_NOT_FOUND)?;
        let (total, names) = page(stream.consumers.keys().collect(), list.offset, NAMES);
        Ok(json!({"total": total, "offset": list.offset, "limit": NAMES, "consumers": names}))
    }

    fn consumer_list(&self, request: Request<'_>, stream: &str) -> Answer {
        let list: ListRequest = parse(request.payload)?;
        let stream = self.streams.get(stream).ok_or(error::STREAM_NOT_FOUND)?;
        let (total, consumers) = page(stream.consumers.values().collect(), list.offset, LIST);
        let infos: Vec<Value> = consumers.into_iter().map(|c| c.info(request.now)).collect();
        Ok(json!({"total": total, "offset": list.offset, "limit": LIST, "consumers": infos}))
    }

    fn consumer_info(&mut self, request: Request<'_>, rest: &str) -> Answer {
        request.no_body()?;
        let (stream, name) = self.find_consumer(rest)?;
        stream.consumers.get(&name).map(|c| c.info(request.now)).ok_or(error::CONSUMER_NOT_FOUND)
    }

    fn consumer_delete(&mut self, request: Request<'_>, rest: &str) -> Answer {
        request.no_body()?;
        self.find_consumer(rest)?;
        let (stream, name) = rest.split_once('.').ok_or(error::BAD_REQUEST)?;
        self.remove_consumer(stream, name).map_err(|e| ApiError::consumer_store(e.to_string()))?;
        Ok(json!({"success": true}))
    }

    fn consumer_pause(&mut self, request: Request<'_>, rest: &str) -> Answer {
        let pause: PauseRequest = parse(request.payload)?;
        let until = match &pause.pause_until {
            Some(text) if text != ZERO => {
                Some(parse_rfc3339(text).ok_or_else(|| ApiError::invalid_json("pause_until is not a time"))?)
            }
            _ => None,
        };
        self.find_consumer(rest)?;
        let (stream_name, name) = rest.split_once('.').ok_or(error::BAD_REQUEST)?;
        let consumer = self.streams.get_mut(stream_name).and_then(|s| s.consumers.get_mut(name));
        let consumer = consumer.ok_or(error::CONSUMER_NOT_FOUND)?;
        let before = std::mem::replace(&mut consumer.config.pause_until, until.map(format_rfc3339));
        let left = consumer.pause_left(request.now);
        if consumer.is_stored() {
            let (generation, state) = consumer.saved();
            if let Err(error) = self.storage.put_consumer(stream_name, name, generation, &state) {
                consumer.config.pause_until = before;
                // What is in force is stored again with the next states.
                consumer.dirty = true;
                self.undo_later(request.now, &error);
                return Err(ApiError::consumer_store(error.to_string()));
            }
        }
        let mut answer = json!({
            "paused": left.is_some(),
            "pause_until": until.map_or_else(|| ZERO.to_owned(), format_rfc3339),
        });
        if let (Some(left), Some(map)) = (left, answer.as_object_mut()) {
            map.insert("pause_remaining".to_owned(), left.into());
        }
        Ok(answer)
    }

    fn consumer_reset(&mut self, request: Request<'_>, rest: &str) -> Answer {
        let reset: ResetRequest = parse(request.payload)?;
        self.find_consumer(rest)?;
        let (stream_name, name) = rest.split_once('.').ok_or(error::BAD_REQUEST)?;
        let stream = self.streams.get_mut(stream_name).ok_or(error::STREAM_NOT_FOUND)?;
        let consumer = stream.consumers.get_mut(name).ok_or(error::CONSUMER_NOT_FOUND)?;
        let mut again = consumer.reset_to(&stream.core, reset.seq, request.now)?;
        if consumer.is_stored() {
            let (generation, state) = again.saved();
            consumer.counted(generation);
            let stored = self.storage.put_consumer(stream_name, name, generation, &state);
            if let Err(error) = stored {
                consumer.dirty = true;
                self.undo_later(request.now, &error);
                return Err(ApiError::consumer_store(error.to_string()));
            }
        }
        let seq = again.next_seq();
        again.dirty = false;
        *consumer = again;
        let mut answer = consumer.info(request.now);
        if let Some(map) = answer.as_object_mut() {
            map.insert("reset_seq".to_owned(), seq.into());
        }
        Ok(answer)
    }

    /// A pull request: answered with messages and statuses, never with JSON.
    pub(super) fn consumer_next(&mut self, request: Request<'_>, rest: &str) {
        let Some(reply) = request.reply else { return };
        let Ok((stream, name)) = self.find_consumer(rest) else {
            return self.no_responders(Some(reply), "CONSUMER.MSG.NEXT", rest);
        };
        let dirty = stream.core.is_dirty();
        let pull = Pull {
            stream: stream.core.config.name.clone(),
            consumer: name,
            reply: reply.to_owned(),
            payload: request.payload.to_vec(),
        };
        if dirty {
            // What there is to pull is known when it is stored.
            self.pulls.push(pull);
        } else {
            self.pull(request.now, &pull);
        }
    }
}

/// Whether the create subject and the request say the same.
fn check_subject(config: &ConsumerConfig, target: &Target<'_>) -> Result<(), ApiError> {
    if target.durable {
        if config.durable_name.is_empty() {
            return Err(error::CONSUMER_DURABLE_NOT_SET);
        }
        return if target.name == Some(config.durable_name.as_str()) {
            Ok(())
        } else {
            Err(error::CONSUMER_DURABLE_MISMATCH)
        };
    }
    let Some(name) = target.name else {
        // The oldest form is for ephemeral consumers only.
        return if config.durable_name.is_empty() {
            Ok(())
        } else {
            Err(error::CONSUMER_EPHEMERAL_WITH_DURABLE_NAME)
        };
    };
    if !config.durable_name.is_empty() && config.durable_name != name {
        return Err(error::CONSUMER_DURABLE_MISMATCH);
    }
    match target.filter {
        Some(_) if config.filter_subjects.len() > 1 => Err(error::CONSUMER_MULTIPLE_FILTERS),
        Some(filter) if config.filters().first().map(String::as_str) != Some(filter) => {
            Err(error::CONSUMER_FILTER_MISMATCH)
        }
        _ => Ok(()),
    }
}
