//! Playing a case: each step publishes something with a reply subject and writes down what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;

/// How long an answer that must come may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing a client does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A request to `$JS.API.` and its one answer.
    Api(String, String),
    /// A publish and its acknowledgement.
    Publish { subject: String, headers: Vec<(String, String)>, payload: Bytes },
    /// A request that is answered with this many messages.
    Stream { subject: String, payload: String, answers: usize },
    /// A wait for this many messages on a subject subscribed to before.
    Listen(String, usize),
    /// A subscription.
    Subscribe(String),
    /// An acknowledgement, confirmed, for the message delivered this many before the last one.
    Ack(usize, String),
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
}

struct Session {
    client: Client,
    subscriptions: BTreeMap<String, async_nats::Subscriber>,
    /// Reply subjects of what was delivered.
    delivered: Vec<String>,
    /// Names the server made up, and what stands for them.
    names: BTreeMap<String, String>,
    inbox: usize,
}

/// What each step saw.
pub(crate) async fn play(url: &str, case: &Case) -> Vec<String> {
    let client = async_nats::connect(url).await.unwrap();
    let mut session = Session {
        client,
        subscriptions: BTreeMap::new(),
        delivered: Vec::new(),
        names: BTreeMap::new(),
        inbox: 0,
    };
    let mut seen = Vec::new();
    for step in &case.steps {
        seen.push(session.step(step).await);
    }
    seen
}

impl Session {
    async fn step(&mut self, step: &Step) -> String {
        match step {
            Step::Api(subject, payload) => {
                let subject = self.real_names(&format!("$JS.API.{subject}"));
                let messages = self.ask(subject, HeaderMap::new(), payload.clone().into(), 1).await;
                self.show(&messages)
            }
            Step::Publish { subject, headers, payload } => {
                let mut map = HeaderMap::new();
                for (name, value) in headers {
                    map.insert(name.as_str(), value.as_str());
                }
                let messages = self.ask(subject.clone(), map, payload.clone(), 1).await;
                self.show(&messages)
            }
            Step::Stream { subject, payload, answers } => {
                let subject = self.real_names(subject);
                let messages = self.ask(subject, HeaderMap::new(), payload.clone().into(), *answers).await;
                self.show(&messages)
            }
            Step::Subscribe(subject) => {
                let subscription = self.client.subscribe(subject.clone()).await.unwrap();
                self.client.flush().await.unwrap();
                self.subscriptions.insert(subject.clone(), subscription);
                String::new()
            }
            Step::Listen(subject, count) => {
                let mut messages = Vec::new();
                let subscription = self.subscriptions.get_mut(subject).unwrap();
                while messages.len() < *count {
                    match tokio::time::timeout(PATIENCE, subscription.next()).await {
                        Ok(Some(message)) => messages.push(message),
                        _ => break,
                    }
                }
                self.show(&messages)
            }
            Step::Ack(back, payload) => {
                let subject = self.delivered[self.delivered.len() - 1 - back].clone();
                let messages = self.ask(subject, HeaderMap::new(), payload.clone().into(), 1).await;
                self.show(&messages)
            }
        }
    }

    async fn ask(
        &mut self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        answers: usize,
    ) -> Vec<Message> {
        self.inbox += 1;
        let inbox = format!("_INBOX.case.{}", self.inbox);
        let mut subscription = self.client.subscribe(inbox.clone()).await.unwrap();
        if headers.is_empty() {
            self.client.publish_with_reply(subject, inbox.clone(), payload).await.unwrap();
        } else {
            self.client
                .publish_with_reply_and_headers(subject, inbox.clone(), headers, payload)
                .await
                .unwrap();
        }
        let mut messages = Vec::new();
        while messages.len() < answers {
            match tokio::time::timeout(PATIENCE, subscription.next()).await {
                Ok(Some(message)) => messages.push(message),
                _ => break,
            }
        }
        if answers == 0 {
            // It goes on waiting.
            self.subscriptions.insert(inbox, subscription);
        }
        messages
    }

    fn real_names(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |t, (real, shown)| t.replace(shown, real))
    }

    fn show(&mut self, messages: &[Message]) -> String {
        if messages.is_empty() {
            return "<silence>".to_owned();
        }
        messages.iter().map(|m| self.show_one(m)).collect::<Vec<_>>().join("\n               ")
    }

    fn show_one(&mut self, message: &Message) -> String {
        let mut text = String::new();
        if !message.subject.starts_with("_INBOX.") {
            text.push_str(&format!("{} ", message.subject));
        }
        if let Some(reply) = &message.reply {
            let mut tokens: Vec<&str> = reply.split('.').collect();
            if reply.starts_with("$JS.ACK.") {
                self.delivered.push(reply.to_string());
                // The time the message was stored.
                tokens[7] = "T";
            } else if reply.starts_with("$JS.FC.") {
                tokens[4] = "N";
            }
            let reply = tokens.join(".");
            text.push_str(&format!("reply={} ", self.known(&reply)));
        }
        if let Some(status) = message.status {
            text.push_str(&format!("{} {:?} ", status.as_u16(), message.description));
        }
        if let Some(headers) = &message.headers {
            let mut shown: Vec<String> = headers
                .iter()
                .flat_map(|(name, values)| {
                    values.iter().map(move |v| (name.to_string(), v.as_str().to_owned()))
                })
                .map(|(name, value)| {
                    let value = match name.as_str() {
                        "Nats-Time-Stamp" => "T".to_owned(),
                        "Nats-Consumer-Stalled" => "S".to_owned(),
                        _ => value,
                    };
                    format!("{name}={value}")
                })
                .collect();
            shown.sort();
            text.push_str(&format!("[{}] ", shown.join(" ")));
        }
        match serde_json::from_slice::<Value>(&message.payload) {
            Ok(value) if value.is_object() => {
                self.learn(&value);
                let value = self.known(&normal(value).to_string());
                text.push_str(&value);
            }
            _ => text.push_str(&String::from_utf8_lossy(&message.payload)),
        }
        text
    }

    /// Remembers a name the server made up.
    fn learn(&mut self, value: &Value) {
        if let (Some(name), Some(config)) = (value["name"].as_str(), value["config"].as_object())
            && config.get("name").is_none()
        {
            let shown = format!("GENERATED{}", self.names.len());
            self.names.entry(name.to_owned()).or_insert(shown);
        }
    }

    fn known(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |t, (real, shown)| t.replace(real, shown))
    }
}

/// An answer without what differs from run to run.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            if map.contains_key("error") && map.contains_key("type") {
                // nats-server adds the zero values of the answer there would have been.
                return map.into_iter().filter(|(key, _)| key == "error" || key == "type").collect();
            }
            // Ours learns of the receiver a moment after the consumer was made; asked later it says so.
            let created =
                map.get("type").is_some_and(|t| t == "io.nats.jetstream.api.v1.consumer_create_response");
            map.into_iter()
                .filter(|(key, _)| !matches!(key.as_str(), "cluster" | "limits" | "api"))
                .filter(|(key, _)| !(created && key == "push_bound"))
                .filter_map(|(key, value)| {
                    let value = match key.as_str() {
                        "created" | "ts" | "first_ts" | "last_ts" | "time" | "last_active" => {
                            match value.as_str() {
                                Some("0001-01-01T00:00:00Z") => value,
                                Some(text) if nats::js::parse_rfc3339(text).is_some() => "T".into(),
                                _ => value,
                            }
                        }
                        "pause_remaining" => "T".into(),
                        "metadata" => {
                            // The server's own marks; we set none.
                            let kept: serde_json::Map<_, _> = value
                                .as_object()?
                                .clone()
                                .into_iter()
                                .filter(|(key, _)| !key.starts_with("_nats."))
                                .collect();
                            if kept.is_empty() {
                                return None;
                            }
                            Value::Object(kept)
                        }
                        _ => normal(value),
                    };
                    Some((key, value))
                })
                .collect()
        }
        Value::Array(values) => values.into_iter().map(normal).collect(),
        other => other,
    }
}
