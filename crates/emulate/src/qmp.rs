//! A client of QEMU's machine protocol: one JSON object a line, commands with ids, events in between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{broadcast, oneshot};

/// Longest line taken: the tree of a machine's objects is some 60 KB.
const LINE_MAX: u64 = 4 * 1024 * 1024;
/// Events kept for a reader that is busy.
const EVENTS: usize = 64;
/// Longest wait for an answer. QEMU answers in a millisecond, or when a busy machine lets it.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Something QEMU tells by itself.
#[derive(Debug, Clone)]
pub struct Event {
    /// `RESET`, `SHUTDOWN`, `WATCHDOG`, …
    pub name: String,
    /// What it says more.
    pub data: Value,
    /// When it was read, on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

type Answer = std::result::Result<Value, String>;

#[derive(Debug)]
struct Shared {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    /// Who waits for which answer; `None` once QEMU is gone.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
    next: AtomicU64,
    events: broadcast::Sender<Event>,
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to one QEMU; clones share it.
#[derive(Debug, Clone)]
pub struct Qmp(Arc<Shared>);

impl Qmp {
    /// Connects to the socket of a QEMU, waiting for it to appear, and makes it ready for commands.
    ///
    /// # Errors
    /// When it does not appear within `limit`, or does not greet.
    pub async fn connect(path: &Path, limit: Duration) -> Result<Self> {
        let connect = async {
            loop {
                match UnixStream::connect(path).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let stream = tokio::time::timeout(limit, connect)
            .await
            .with_context(|| format!("QEMU does not listen on {}", path.display()))?;
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let greeting = line(&mut reader).await?.context("QEMU closed the connection at once")?;
        if greeting.get("QMP").is_none() {
            bail!("this is not QEMU's machine protocol: {greeting}");
        }
        let shared = Arc::new(Shared {
            writer: tokio::sync::Mutex::new(writer),
            pending: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
            events: broadcast::Sender::new(EVENTS),
        });
        tokio::spawn(read(reader, Arc::clone(&shared)));
        let qmp = Self(shared);
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Runs a command and returns what it answers.
    ///
    /// # Errors
    /// When QEMU refuses it, is gone, or says nothing for long.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match self.0.pending().as_mut() {
            Some(pending) => drop(pending.insert(id, sender)),
            None => bail!("{command}: QEMU is gone"),
        }
        let mut text = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        text.push('\n');
        {
            let mut writer = self.0.writer.lock().await;
            writer.write_all(text.as_bytes()).await.with_context(|| format!("{command}: QEMU is gone"))?;
        }
        let answer = tokio::time::timeout(ANSWER_LIMIT, answer)
            .await
            .with_context(|| format!("{command}: no answer in {ANSWER_LIMIT:?}"))?;
        answer
            .with_context(|| format!("{command}: QEMU is gone"))?
            .map_err(|refused| anyhow!("{command} {arguments}: {refused}"))
    }

    /// Runs a command of the human monitor and returns its text.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn monitor(&self, command: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command })).await?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Reads `count` 32-bit words of physical memory, registers included.
    ///
    /// # Errors
    /// As [`Qmp::execute`], and when the answer is not understood.
    pub async fn words(&self, address: u64, count: usize) -> Result<Vec<u32>> {
        let text = self.monitor(&format!("xp /{count}wx {address:#x}")).await?;
        let words = parse_words(&text).filter(|words| words.len() == count);
        words.with_context(|| format!("{count} words at {address:#x}: not understood: {text}"))
    }

    /// Sets a property of an object.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn set(&self, path: &str, property: &str, value: impl Into<Value>) -> Result<()> {
        let arguments = json!({ "path": path, "property": property, "value": value.into() });
        self.execute("qom-set", arguments).await.map(drop)
    }

    /// Reads a property of an object.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn get(&self, path: &str, property: &str) -> Result<Value> {
        self.execute("qom-get", json!({ "path": path, "property": property })).await
    }

    /// Paths of the devices of this type that no bus of the machine owns by name, in the order of their numbers.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub async fn devices(&self, kind: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        // Those of the machine itself, and those that `-device` adds.
        for parent in ["/machine/unattached", "/machine/peripheral-anon", "/machine/peripheral"] {
            let listed = self.execute("qom-list", json!({ "path": parent })).await?;
            let wanted = format!("child<{kind}>");
            let mut names: Vec<&str> = listed
                .as_array()
                .into_iter()
                .flatten()
                .filter(|entry| entry.get("type").and_then(Value::as_str) == Some(&wanted))
                .filter_map(|entry| entry.get("name").and_then(Value::as_str))
                .collect();
            names.sort_by_key(|name| (name.len(), *name));
            found.extend(names.into_iter().map(|name| format!("{parent}/{name}")));
        }
        Ok(found)
    }

    /// Events from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    /// Waits for the next event of this name, counted from when `events` was made.
    ///
    /// # Errors
    /// When `limit` passes or QEMU ends.
    pub async fn event(
        events: &mut broadcast::Receiver<Event>,
        name: &str,
        limit: Duration,
    ) -> Result<Event> {
        let wait = async {
            loop {
                match events.recv().await {
                    Ok(event) if event.name == name => return Ok(event),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => bail!("QEMU ended before {name}"),
                }
            }
        };
        tokio::time::timeout(limit, wait).await.with_context(|| format!("no {name} in {limit:?}"))?
    }
}

/// One line as JSON; `None` at the end.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Value>> {
    let mut bytes = Vec::new();
    let read = reader.take(LINE_MAX).read_until(b'\n', &mut bytes).await?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() != Some(&b'\n') {
        bail!("a line of more than {LINE_MAX} bytes, or cut short");
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Hands answers and events out until QEMU ends.
async fn read(mut reader: impl AsyncBufRead + Unpin, shared: Arc<Shared>) {
    while let Ok(Some(message)) = line(&mut reader).await {
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            let data = message.get("data").cloned().unwrap_or_default();
            // Nobody listening is fine.
            drop(shared.events.send(Event { name: name.to_owned(), data, at: hal_sim::monotonic() }));
            continue;
        }
        let Some(id) = message.get("id").and_then(Value::as_u64) else { continue };
        let Some(waiting) = shared.pending().as_mut().and_then(|pending| pending.remove(&id)) else {
            continue;
        };
        let answer = match (message.get("return"), message.get("error")) {
            (Some(value), _) => Ok(value.clone()),
            (None, error) => {
                let why = error.and_then(|error| error.get("desc")).and_then(Value::as_str);
                Err(why.unwrap_or("refused without a reason").to_owned())
            }
        };
        drop(waiting.send(answer));
    }
    *shared.pending() = None;
}

/// `000000001e780088: 0x00000100 0x00000000`, lines of up to four words.
fn parse_words(text: &str) -> Option<Vec<u32>> {
    let mut words = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (_, values) = line.split_once(':')?;
        for value in values.split_whitespace() {
            words.push(u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()?);
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_memory_are_read_from_the_monitors_text() {
        let text = "000000001e780080: 0x00000000 0x00000001 0x00000100 0xffffffff\r\n000000001e780090: 0x00000010\r\n";
        assert_eq!(parse_words(text), Some(vec![0, 1, 0x100, u32::MAX, 0x10]));
        assert_eq!(parse_words("Cannot access memory\r\n"), None);
        assert_eq!(parse_words("10: 0x1 zwei"), None);
    }

    #[tokio::test]
    async fn answers_find_who_asked_and_events_come_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut reader = BufReader::new(reader);
            writer.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            while let Some(asked) = line(&mut reader).await.unwrap() {
                let id = asked["id"].clone();
                let reply = match asked["execute"].as_str().unwrap() {
                    "bad" => {
                        json!({ "id": id, "error": { "class": "GenericError", "desc": "no such thing" } })
                    }
                    "end" => return,
                    _ => json!({ "id": id, "return": { "asked": asked["arguments"] } }),
                };
                let event = json!({ "event": "RESET", "data": { "guest": true } });
                writer.write_all(format!("{event}\n{reply}\n").as_bytes()).await.unwrap();
            }
        });
        let qmp = Qmp::connect(&path, Duration::from_secs(5)).await.unwrap();
        let mut events = qmp.events();
        let (one, two) = tokio::join!(qmp.execute("one", json!(1)), qmp.execute("two", json!(2)));
        assert_eq!((one.unwrap()["asked"].clone(), two.unwrap()["asked"].clone()), (json!(1), json!(2)));
        let refused = qmp.execute("bad", json!({})).await.unwrap_err();
        assert!(refused.to_string().contains("no such thing"), "{refused}");
        let event = Qmp::event(&mut events, "RESET", Duration::from_secs(5)).await.unwrap();
        assert_eq!(event.data["guest"], true);
        assert!(qmp.execute("end", json!({})).await.unwrap_err().to_string().contains("gone"));
        assert!(qmp.execute("more", json!({})).await.unwrap_err().to_string().contains("gone"));
    }
}
