//! What a client is told when the daemon that would answer is dead: which one, by every method it owns.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use http::Method;
use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};
use schema::{HttpBinding, MethodInfo, Segment};
use serde_json::json;
use testkit::{Client, Credential, Reaper, Reply, Suite};
use tokio::task::JoinSet;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// The operator starts a dead daemon again; how often a call may fall into a moment in which it lives.
const ATTEMPTS: usize = 50;
/// Methods asked at the same time.
const AT_ONCE: usize = 6;
/// Suites at the same time, a dead daemon in each.
const DEAD_AT_ONCE: usize = 4;

type Result<T = ()> = anyhow::Result<T>;

/// A request that passes validation, found by mending what the validator complains about.
fn valid(method: &MethodInfo) -> Result<DynamicMessage> {
    let mut message = DynamicMessage::new(method.input());
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..64 {
        let violations = schema::validate(&message);
        let Some(violation) = violations.first() else { return Ok(message) };
        let attempt = tried.entry(violation.field.clone()).or_default();
        mend(&mut message, &violation.field, *attempt)
            .with_context(|| format!("{}: {} ({})", method.full_name, violation.field, violation.message))?;
        *attempt += 1;
    }
    anyhow::bail!("{}: no valid request was found", method.full_name)
}

/// Sets the field at a dotted path to its next candidate.
fn mend(message: &mut DynamicMessage, path: &str, attempt: usize) -> Option<()> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let descriptor = message.descriptor();
    let field = descriptor.get_field_by_name(first).or_else(|| {
        descriptor.oneofs().find(|oneof| oneof.name() == first).and_then(|oneof| oneof.fields().next())
    })?;
    if let (Some(rest), Kind::Message(_)) = (rest, field.kind()) {
        return mend(message.get_field_mut(&field).as_message_mut()?, rest, attempt);
    }
    const TEXTS: &[&str] = &["system", "EventLog", "seven brass doorknobs", "someone@example.org", "x", "1"];
    let value = match field.kind() {
        Kind::String => Value::String((*TEXTS.get(attempt)?).to_owned()),
        Kind::Bytes => Value::Bytes(vec![1; attempt + 1].into()),
        Kind::Bool => Value::Bool(attempt == 0),
        Kind::Enum(kind) => Value::EnumNumber(kind.values().nth(attempt + 1)?.number()),
        Kind::Message(kind) => Value::Message(DynamicMessage::new(kind)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(u32::try_from(attempt).ok()? + 1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::try_from(attempt).ok()? + 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(i32::try_from(attempt).ok()? + 1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::try_from(attempt).ok()? + 1),
        Kind::Float => Value::F32(1.0),
        Kind::Double => Value::F64(1.0),
    };
    message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
    Some(())
}

/// The text at a dotted path.
fn text_at(message: &DynamicMessage, path: &str) -> Option<String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = message.get_field_by_name(first)?;
    match rest {
        Some(rest) => text_at(value.as_message()?, rest),
        None => value.as_str().map(str::to_owned),
    }
}

async fn rest(client: &Client, binding: &HttpBinding, message: &DynamicMessage) -> Result<Reply> {
    let part = |segment: &Segment| match segment {
        Segment::Literal(literal) => (*literal).to_owned(),
        Segment::Field(field) => {
            text_at(message, field).filter(|t| !t.is_empty()).unwrap_or_else(|| "system".to_owned())
        }
    };
    let path = binding.segments.iter().map(part).fold(String::new(), |path, part| path + "/" + &part);
    let verb = Method::from_bytes(binding.verb.as_bytes())?;
    match binding.body {
        None => client.send(verb, &path, &[], Vec::new().into()).await,
        Some(_) => {
            let body = serde_json::to_vec(message)?;
            client.send(verb, &path, &[("content-type", "application/json")], body.into()).await
        }
    }
}

/// Every method of `owner`, by Connect and by each REST path, while `owner` is dead.
async fn every_method_names_the_dead(owner: &'static str) -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let token = enter(&suite).await?;
    let reaper = Reaper::of(suite.ready.pid, owner);
    let mut asked = 0;
    let mut asking = JoinSet::new();
    for method in schema::methods().iter().filter(|m| m.owner == owner && !m.internal && !m.server_streaming)
    {
        // Each answer takes a while: the gateway gives a dead daemon a moment to come back.
        if asking.len() >= AT_ONCE
            && let Some(done) = asking.join_next().await
        {
            asked += done??;
        }
        let client = suite.client(token.clone());
        asking.spawn(async move { every_way(&client, owner, method).await });
    }
    while let Some(done) = asking.join_next().await {
        asked += done??;
    }
    assert!(asked > 0, "{owner}: no calls");
    drop(reaper);
    suite.stop().await
}

/// One method by Connect and by each REST path; how many ways that were.
async fn every_way(client: &Client, owner: &str, method: &MethodInfo) -> Result<usize> {
    let message = valid(method)?;
    told(client, owner, method, None, &message).await?;
    for binding in method.http {
        told(client, owner, method, Some(binding), &message).await?;
    }
    Ok(1 + method.http.len())
}

/// Asks until the answer is the dead daemon's, which at the first attempt it nearly always is.
async fn told(
    client: &Client,
    owner: &str,
    method: &MethodInfo,
    binding: Option<&HttpBinding>,
    message: &DynamicMessage,
) -> Result {
    let what = binding.map_or_else(|| method.full_name.to_owned(), |b| format!("{} {}", b.verb, b.path));
    let body = serde_json::to_value(message)?;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let reply = match binding {
            None => client.call(method.path.trim_start_matches("/schema.v1alpha1."), &body).await?,
            Some(binding) => rest(client, binding, message).await?,
        };
        last = format!("{} {}", reply.status, reply.text());
        if reply.status == 503 {
            let error = reply.json()?;
            // Connect names the code, REST numbers it.
            ensure!(error["code"] == json!("unavailable") || error["code"] == json!(14), "{what}: {last}");
            // In a moment in which it lives it may still be at reading its store, and says so itself.
            if error["message"].as_str().is_some_and(|m| m.contains(owner)) {
                return Ok(());
            }
        }
    }
    anyhow::bail!("{what} with a dead {owner} does not name it: {last}")
}

async fn enter(suite: &Suite) -> Result<Credential> {
    let login = json!({ "username": "admin", "password": testkit::ADMIN_PASSWORD });
    let reply = suite.client(Credential::None).post("/api/v1alpha1/sessions", &login).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(Credential::Token(reply.json()?["token"].as_str().context("a token")?.to_owned()))
}

/// Who answers clients. The operator's own methods have no such case: with it go the bus and every daemon; nor have websrv's, whom clients ask.
fn owners() -> BTreeSet<&'static str> {
    let others = |owner: &str| !["operator", "websrv"].contains(&owner);
    let public = schema::methods().iter().filter(|method| !method.internal && others(method.owner));
    public.map(|method| method.owner).collect()
}

/// Each daemon in a suite of its own, a few side by side.
#[tokio::test]
async fn a_dead_daemon_is_named_by_each_of_its_methods() -> Result {
    let owners = owners();
    assert!(owners.len() >= 8 && owners.contains("statemgr"), "{owners:?}");
    let mut dead = JoinSet::new();
    for owner in owners {
        if dead.len() >= DEAD_AT_ONCE
            && let Some(done) = dead.join_next().await
        {
            done??;
        }
        dead.spawn(every_method_names_the_dead(owner));
    }
    while let Some(done) = dead.join_next().await {
        done??;
    }
    Ok(())
}

#[test]
fn a_valid_request_is_found_for_every_method() -> Result {
    for method in schema::methods().iter().filter(|method| !method.internal) {
        valid(method)?;
    }
    Ok(())
}
