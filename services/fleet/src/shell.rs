//! The daemon's loop.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;
use ipc::{CallContext, Client, EventItem};
use prost::Message as _;
use schema::rpc::host_service::LIST_HOSTS;
use schema::v1alpha1::{Host, HostStatus, ListHostsRequest};
use service::{Clock, Context};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::answer::Answerer;
use crate::card::{Card, HostLine};
use crate::config::Config;
use crate::error::Error;
use crate::mirror::Mirror;
use crate::remote::Remote;
use crate::room::{REQUEST_MAX, Room};
use crate::state_files::{self, CursorFile};

/// A server that takes longer to take a card is not there; the next card says what is so then.
const TELL_WITHIN: Duration = Duration::from_secs(5);
/// How long the order to stop waits for what is still to be sent.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Everything that can wake the loop.
#[allow(clippy::large_enum_variant, reason = "an event lives for one turn of the loop")]
enum Event {
    Stop,
    Beat,
    Request(Message),
    Host(EventItem),
    Tell,
    Up,
}

/// Runs the link until the order to stop.
///
/// # Errors
/// For a configuration that cannot be, a file that cannot be used, or a local bus that is gone; an outage outside is waited out.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    config.check()?;
    let mut findings = Vec::new();
    let id = match &config.id {
        Some(id) => id.clone(),
        None => state_files::id(&context.state_dir, &mut findings)
            .map_err(|source| Error::File { path: context.state_dir.join("id"), source })?,
    };
    let file = CursorFile::open(&context.state_dir, &mut findings);
    for finding in &findings {
        tracing::warn!(file = finding.file, what = %finding.what, "fleet: state file problem");
        if let Err(status) = context.bus.publish_event(&finding.event(&context.clock)).await {
            tracing::debug!(%status, "cannot publish event");
        }
    }
    if !findings.is_empty() {
        let all: Vec<String> =
            findings.iter().map(|found| format!("{}: {}", found.file, found.what)).collect();
        context.notify.status(all.join("; "));
    }
    let remote = Remote::open(&config.nats, &id).await?;
    let (sender, cursor) = watch::channel(file.cursor());
    let mirror = Mirror::new(
        context.bus.event_log(),
        remote.clone(),
        config.nats.clone(),
        id.clone(),
        config.mirror.clone(),
        file,
    );
    let wanted = Arc::new(Notify::new());
    let teller = Teller {
        bus: context.bus.clone(),
        clock: context.clock,
        remote: remote.clone(),
        id: id.clone(),
        every: Duration::from_secs(u64::from(config.heartbeat_s)),
        cursor,
        wanted: Arc::clone(&wanted),
    };
    // Whatever waits for the other side has a task of its own: the loop waits for nobody outside.
    let mut tasks = JoinSet::new();
    tasks.spawn(mirror.run(sender));
    tasks.spawn(teller.run());
    let mut requests = Vec::new();
    for whom in [id.as_str(), "all"] {
        let subject = format!("ubmc.{whom}.rpc.>");
        match remote.nats.subscribe(subject).await {
            Ok(subscription) => requests.push(subscription),
            Err(error) => tracing::error!(%error, "fleet: cannot subscribe to requests"),
        }
    }
    let link = Link {
        answerer: Answerer::new(context.bus.clone(), id, config.role).map_err(Error::Entropy)?,
        room: Room::default(),
        every: Duration::from_secs(u64::from(config.heartbeat_s)),
        context,
        remote,
        wanted,
    };
    link.serve(futures_util::stream::select_all(requests)).await?;
    tasks.shutdown().await;
    Ok(())
}

/// What the loop works with.
struct Link {
    context: Context,
    remote: Remote,
    answerer: Answerer,
    room: Room,
    every: Duration,
    wanted: Arc<Notify>,
}

impl Link {
    async fn serve(
        &self,
        mut requests: futures_util::stream::SelectAll<async_nats::Subscriber>,
    ) -> Result<(), Error> {
        let mut shutdown = self.context.shutdown.clone();
        let mut beat = self.context.heartbeat();
        let mut tell = tokio::time::interval(self.every);
        tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hosts = self.context.bus.subscribe_events("event.host.>").await?;
        let mut up = self.remote.clone();
        let mut was_up = false;
        let mut answers = JoinSet::new();
        self.context.ready();
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => Event::Stop,
                () = beat.tick() => Event::Beat,
                Some(_) = answers.join_next(), if !answers.is_empty() => continue,
                _ = tell.tick() => Event::Tell,
                () = async { if was_up { up.wait_down().await } else { up.wait_up().await } } => Event::Up,
                Some(item) = hosts.next() => Event::Host(item),
                Some(message) = requests.next() => Event::Request(message),
            };
            match event {
                Event::Stop => break,
                Event::Beat => {}
                Event::Up => {
                    was_up = !was_up;
                    if was_up {
                        self.wanted.notify_one();
                    }
                }
                Event::Host(EventItem::Event(event)) if event.what != "state" => {}
                Event::Tell | Event::Host(_) => self.wanted.notify_one(),
                Event::Request(message) => self.answer(message, &mut answers),
            }
        }
        answers.shutdown().await;
        // The cards of the others show at once that this one left on purpose.
        if self.remote.is_up() {
            tokio::time::timeout(FLUSH_WITHIN, self.remote.nats.flush()).await.ok();
        }
        Ok(())
    }

    fn answer(&self, message: Message, answers: &mut JoinSet<()>) {
        let Message { subject, reply: Some(reply), payload, headers, length, .. } = message else { return };
        let Some(place) = self.room.take(length) else {
            tracing::warn!("fleet: too many concurrent requests: request dropped");
            return;
        };
        // What the connection read is shared by all that came with it; a request that waits holds its own bytes only.
        let (reply, subject) = (Subject::from(reply.to_string()), subject.to_string());
        let whole = (length <= REQUEST_MAX).then(|| (headers, Bytes::copy_from_slice(&payload)));
        drop(payload);
        let (answerer, nats) = (self.answerer.clone(), self.remote.nats.clone());
        answers.spawn(async move {
            let answer = answerer.answer(&subject, whole).await;
            if let Err(error) = nats.publish_with_headers(reply, answer.headers, answer.payload).await {
                tracing::debug!(%error, "fleet: an answer was not sent");
            }
            drop(place);
        });
    }
}

/// Tells the fleet what there is, whenever that is wanted. What is wanted while it tells is told once, as it is then.
struct Teller {
    bus: Client,
    clock: Clock,
    remote: Remote,
    id: String,
    every: Duration,
    cursor: watch::Receiver<u64>,
    wanted: Arc<Notify>,
}

impl Teller {
    async fn run(self) {
        loop {
            self.wanted.notified().await;
            if tokio::time::timeout(TELL_WITHIN, self.tell()).await.is_err() {
                tracing::debug!("fleet: the state was not taken in time");
            }
        }
    }

    /// Tells the state of each host, and the card.
    async fn tell(&self) {
        if !self.remote.is_up() {
            return;
        }
        // Without an answer from inside there is nothing true to tell; the old card grows stale, which is the truth.
        let hosts = match self.bus.call(LIST_HOSTS, &ListHostsRequest::default(), &CallContext::new()).await {
            Ok(reply) => reply.hosts,
            Err(status) => {
                tracing::debug!(%status, "fleet: no state to tell");
                return;
            }
        };
        for host in &hosts {
            let subject = format!("ubmc.{}.state.host.{}", self.id, host.name);
            self.remote.nats.publish(subject, host.encode_to_vec().into()).await.ok();
        }
        let card = self.card(&hosts);
        let Ok(json) = serde_json::to_vec(&card) else { return };
        match self.remote.cards().await {
            Some(cards) => {
                if let Err(error) = cards.put(self.id.as_str(), json.into()).await {
                    tracing::debug!(%error, "fleet: the card was not taken");
                }
            }
            None => {
                self.remote.nats.publish(format!("ubmc.{}.card", self.id), json.into()).await.ok();
            }
        }
    }

    fn card(&self, hosts: &[Host]) -> Card {
        let wall = self.clock.wall();
        Card {
            id: self.id.clone(),
            name: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .map(|name| name.trim().to_string())
                .unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
            hosts: hosts
                .iter()
                .map(|host| HostLine {
                    name: host.name.clone(),
                    status: host
                        .status
                        .and_then(|status| HostStatus::try_from(status).ok())
                        .unwrap_or_default()
                        .as_str_name()
                        .into(),
                })
                .collect(),
            at: wall.duration_since(std::time::SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            every_s: u32::try_from(self.every.as_secs()).unwrap_or(u32::MAX),
            cursor: *self.cursor.borrow(),
        }
    }
}
