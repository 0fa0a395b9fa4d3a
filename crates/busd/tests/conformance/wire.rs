//! Raw sockets that play a case and write down what comes back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::peers::{Peer, Setup};

/// One thing a case does. Clients are named by a letter.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Connects and writes down the greeting.
    Open(char),
    /// Sends bytes.
    Send(char, Vec<u8>),
    /// Sends bytes one at a time, each in a packet of its own.
    Drip(char, Vec<u8>),
    /// Writes down what comes until a line holds this text.
    Until(char, &'static str),
    /// Sends `PING` and writes down what comes until its answer.
    Sync(char),
    /// Writes down what comes until the server closes.
    Closed(char),
    /// Waits for the server to close and forgets what came before.
    Gone(char),
    /// `PING`s each and writes down, sorted, what all of them got: which member of a group gets a message is
    /// nobody's business.
    Together(&'static str),
    /// The client closes.
    Leave(char),
    /// The server is told to leave.
    LameDuck,
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    over: Option<&'static str>,
}

impl Client {
    fn open(peer: &dyn Peer) -> Self {
        let stream = TcpStream::connect(peer.addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, buffer: Vec::new(), over: None }
    }

    /// The next line without its end; `None` when there will be none.
    fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(line.trim_ascii_end().to_vec());
            }
            if self.over.is_some() {
                return None;
            }
            let mut bytes = [0; 65536];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.over = Some("<closed>"),
                Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.over = Some("<timeout>");
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A reset is a close that lost something; which of the two comes is up to the kernel.
                Err(_) => self.over = Some("<closed>"),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        // The server may have closed by now; what it said is what counts.
        let _ = self.stream.write_all(bytes);
    }
}

/// What of a line is compared: of `INFO` what means something, of long lines the length.
fn normal(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    if let Some(json) = text.strip_prefix("INFO ") {
        let info: serde_json::Value = serde_json::from_str(json).expect("INFO holds JSON");
        let mut out = "INFO".to_owned();
        for key in
            ["proto", "headers", "max_payload", "auth_required", "ldm", "connect_info", "remote_account"]
        {
            if let Some(value) = info.get(key) {
                let _ = write!(out, " {key}={value}");
            }
        }
        for key in ["server_id", "server_name", "version", "host", "port", "client_id", "client_ip"] {
            assert!(info.get(key).is_some(), "INFO lacks {key}: {json}");
        }
        return Some(out);
    }
    // When a server pings is its own choice.
    if text == "PING" {
        return None;
    }
    if text.len() > 200 {
        return Some(format!("<{} bytes>", text.len()));
    }
    Some(text.into_owned())
}

/// Plays a case and answers with its transcript.
pub(crate) fn play(peer: &mut dyn Peer, case: &Case) -> String {
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut out = String::new();
    for step in &case.steps {
        match step {
            Step::Open(c) => {
                let mut client = Client::open(peer);
                until(*c, &mut client, "INFO", &mut out);
                clients.insert(*c, client);
            }
            Step::Send(c, bytes) => clients.get_mut(c).unwrap().send(bytes),
            Step::Drip(c, bytes) => {
                for byte in bytes {
                    clients.get_mut(c).unwrap().send(&[*byte]);
                }
            }
            Step::Until(c, text) => until(*c, clients.get_mut(c).unwrap(), text, &mut out),
            Step::Sync(c) => {
                let client = clients.get_mut(c).unwrap();
                client.send(b"PING\r\n");
                until(*c, client, "PONG", &mut out);
            }
            Step::Closed(c) => until(*c, clients.get_mut(c).unwrap(), "\n", &mut out),
            Step::Gone(c) => {
                let client = clients.get_mut(c).unwrap();
                while client.line().is_some() {}
                let _ = writeln!(out, "{c}: {}", client.over.unwrap_or_default());
            }
            Step::Together(group) => {
                let mut all = String::new();
                for c in group.chars() {
                    let client = clients.get_mut(&c).unwrap();
                    client.send(b"PING\r\n");
                    until('*', client, "PONG", &mut all);
                }
                let mut lines: Vec<&str> = all.lines().collect();
                lines.sort_unstable();
                let _ = writeln!(out, "{}", lines.join("\n"));
            }
            Step::Leave(c) => drop(clients.remove(c)),
            Step::LameDuck => peer.lame_duck(),
        }
    }
    out
}

/// Writes down lines until one holds `text`, or there are no more.
fn until(name: char, client: &mut Client, text: &str, out: &mut String) {
    while let Some(line) = client.line() {
        let found = String::from_utf8_lossy(&line).contains(text);
        if let Some(line) = normal(&line) {
            let _ = writeln!(out, "{name}: {line}");
        }
        if found {
            return;
        }
    }
    let _ = writeln!(out, "{name}: {}", client.over.unwrap_or_default());
}
