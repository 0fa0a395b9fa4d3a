//! A way to the bus on which its answers can be held back, as by a store that is silent.

use std::sync::{Arc, Mutex, PoisonError};

use ipc::{Client, ConnectConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Between clients and a bus. What they send always arrives; what the bus says to them can be held back and comes, in order, once it is let go.
#[derive(Debug)]
pub struct Way {
    url: String,
    gate: Arc<Gate>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Gate {
    open: watch::Sender<bool>,
    /// Answers are held back from the moment that something is sent with these bytes in it.
    at: Mutex<Option<Vec<u8>>>,
    /// Who waits until something is sent with these bytes in it.
    awaited: Mutex<Option<(Vec<u8>, oneshot::Sender<()>)>>,
}

impl Way {
    /// A way to the server at this address, `nats://127.0.0.1:PORT`.
    pub(super) async fn to(url: &str) -> Self {
        let to = url.strip_prefix("nats://").expect("an address of the bus").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = format!("nats://{}", listener.local_addr().expect("an address"));
        let gate =
            Arc::new(Gate { open: watch::channel(true).0, at: Mutex::default(), awaited: Mutex::default() });
        let passing = Arc::clone(&gate);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&to).await else { return };
                let gate = Arc::clone(&passing);
                connections.spawn(async move {
                    let ((from, back), (answers, asked)) = (client.into_split(), server.into_split());
                    tokio::join!(gate.ask(from, asked), gate.answer(answers, back))
                });
            }
        });
        Self { url: here, gate, _tasks: tasks }
    }

    /// The address on this side.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection named `daemon` that goes this way.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn client(&self, daemon: &str) -> Client {
        Client::connect(&ConnectConfig::new(self.url.clone(), daemon)).await.expect("the test's bus answers")
    }

    /// Holds answers back from now on.
    pub fn hold(&self) {
        self.gate.open.send_replace(false);
    }

    /// Holds answers back from the moment that something is published at a subject that contains `part`: that arrives, and its answer does not.
    pub fn hold_at(&self, part: &str) {
        *self.gate.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(part.as_bytes().to_vec());
    }

    /// Waits until something is sent, from now on, with `part` in it: a subject that is published at or asked for. For one who waits at a time.
    pub async fn sent(&self, part: &str) {
        let (tell, told) = oneshot::channel();
        *self.gate.awaited.lock().unwrap_or_else(PoisonError::into_inner) = Some((part.into(), tell));
        // Dropped only for another one who waits in this one's place.
        let _ = told.await;
    }

    /// Lets all go.
    pub fn release(&self) {
        self.gate.open.send_replace(true);
    }
}

impl Gate {
    async fn ask(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut bytes, mut last) = (vec![0; 65_536], Vec::new());
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let read = bytes.get(..count).unwrap_or_default();
            self.look(&mut last, read);
            if to.write_all(read).await.is_err() {
                return;
            }
        }
    }

    /// Closes the gate if `read` brings what it waits for, and tells who waits for what is in it; `last` is the end of what came before.
    fn look(&self, last: &mut Vec<u8>, read: &[u8]) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let of_gate = at.as_ref().map_or(0, Vec::len);
        let longest = of_gate.max(awaited.as_ref().map_or(0, |(part, _)| part.len()));
        if longest == 0 {
            return last.clear();
        }
        last.extend_from_slice(read);
        let has = |part: &[u8]| !part.is_empty() && last.windows(part.len()).any(|window| window == part);
        let closes = at.as_deref().is_some_and(has);
        let tells = awaited.as_ref().is_some_and(|(part, _)| has(part));
        if closes {
            self.open.send_replace(false);
            *at = None;
        }
        if tells && let Some((_, tell)) = awaited.take() {
            // Who does not wait any more is no concern of the gate.
            let _ = tell.send(());
        }
        // What was found is not found again.
        let kept = if closes || tells { 0 } else { longest - 1 };
        last.drain(..last.len().saturating_sub(kept));
    }

    async fn answer(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut bytes, mut open) = (vec![0; 65_536], self.open.subscribe());
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let _ = open.wait_for(|open| *open).await;
            if to.write_all(bytes.get(..count).unwrap_or_default()).await.is_err() {
                return;
            }
        }
    }
}
