//! The daemon's loop.

use std::path::Path;
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt as _;
use ipc::{CallContext, EventItem};
use prost::Message as _;
use schema::rpc::host_service::LIST_HOSTS;
use schema::v1alpha1::{Host, HostStatus, ListHostsRequest};
use service::Context;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::answer::Gate;
use crate::card::{Card, HostLine};
use crate::config::{Config, is_id};
use crate::error::Error;
use crate::mirror::{CursorFile, Mirror};
use crate::remote::Remote;

/// Requests from outside that are worked on at once; more wait in the subscription, which is bounded.
const AT_ONCE: usize = 32;

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
    std::fs::create_dir_all(&context.state_dir)
        .map_err(|source| Error::File { path: context.state_dir.clone(), source })?;
    let id = match &config.id {
        Some(id) => id.clone(),
        None => kept_id(&context.state_dir)?,
    };
    let remote = Remote::open(&config.nats, &id).await?;
    let (sender, cursor) = watch::channel(0);
    let file = CursorFile::open(&context.state_dir)?;
    let mirror =
        Mirror::new(context.bus.event_log(), remote.clone(), id.clone(), config.mirror.clone(), file);
    let mut tasks = JoinSet::new();
    tasks.spawn(mirror.run(sender));
    let mut requests = Vec::new();
    for whom in [id.as_str(), "all"] {
        let subject = format!("ubmc.{whom}.rpc.>");
        match remote.nats.subscribe(subject).await {
            Ok(subscription) => requests.push(subscription),
            Err(error) => tracing::error!(%error, "fleet: requests cannot be taken"),
        }
    }
    let link = Link {
        gate: Gate::new(context.bus.clone(), id.clone(), config.role),
        permits: std::sync::Arc::new(Semaphore::new(AT_ONCE)),
        every: Duration::from_secs(u64::from(config.heartbeat_s)),
        context,
        remote,
        id,
        cursor,
    };
    link.serve(futures_util::stream::select_all(requests), &mut tasks).await
}

/// What the loop works with.
struct Link {
    context: Context,
    remote: Remote,
    id: String,
    gate: Gate,
    permits: std::sync::Arc<Semaphore>,
    every: Duration,
    cursor: watch::Receiver<u64>,
}

impl Link {
    async fn serve(
        &self,
        mut requests: futures_util::stream::SelectAll<async_nats::Subscriber>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let mut shutdown = self.context.shutdown.clone();
        let mut beat = self.context.heartbeat();
        let mut tell = tokio::time::interval(self.every);
        tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hosts = self.context.bus.subscribe_events("event.host.>").await?;
        let mut up = self.remote.clone();
        let mut was_up = false;
        self.context.ready();
        loop {
            let event = tokio::select! {
                () = shutdown.wait() => Event::Stop,
                () = beat.tick() => Event::Beat,
                Some(message) = requests.next() => Event::Request(message),
                Some(item) = hosts.next() => Event::Host(item),
                _ = tell.tick() => Event::Tell,
                () = async { if was_up { up.wait_down().await } else { up.wait_up().await } } => Event::Up,
                Some(_) = tasks.join_next(), if tasks.len() > 1 => continue,
            };
            match event {
                Event::Stop => break,
                Event::Beat => {}
                Event::Up => {
                    was_up = !was_up;
                    if was_up {
                        self.tell().await;
                    }
                }
                Event::Tell => self.tell().await,
                Event::Host(EventItem::Event(event)) if event.what != "state" => {}
                Event::Host(_) => self.tell().await,
                Event::Request(message) => self.answer(message, tasks),
            }
        }
        tasks.shutdown().await;
        // The cards of the others show at once that this one left on purpose.
        if self.remote.is_up() {
            self.remote.nats.flush().await.ok();
        }
        Ok(())
    }

    fn answer(&self, message: Message, tasks: &mut JoinSet<()>) {
        let Some(reply) = message.reply else { return };
        let Ok(permit) = std::sync::Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::warn!("fleet: too many requests at once, one was dropped");
            return;
        };
        let (gate, nats) = (self.gate.clone(), self.remote.nats.clone());
        tasks.spawn(async move {
            let answer = gate.answer(&message.subject, message.headers.as_ref(), message.payload).await;
            if let Err(error) = nats.publish_with_headers(reply, answer.headers, answer.payload).await {
                tracing::debug!(%error, "fleet: an answer was not sent");
            }
            drop(permit);
        });
    }

    /// Tells the fleet what there is: the state of each host, and the card.
    async fn tell(&self) {
        if !self.remote.is_up() {
            return;
        }
        // Without an answer from inside there is nothing true to tell; the old card grows stale, which is the truth.
        let hosts = match self
            .context
            .bus
            .call(LIST_HOSTS, &ListHostsRequest::default(), &CallContext::new())
            .await
        {
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
        let wall = self.context.clock.wall();
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

/// The id kept from an earlier start, or a new random one.
fn kept_id(dir: &Path) -> Result<String, Error> {
    let path = dir.join("id");
    let failed = |source| Error::File { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(text) if is_id(text.trim()) => return Ok(text.trim().to_string()),
        Ok(_) => tracing::warn!("the kept id is damaged; a new one is made"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let id: String =
        std::iter::once("bmc-".to_string()).chain(random.iter().map(|b| format!("{b:02x}"))).collect();
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{id}\n")).and_then(|()| std::fs::rename(&new, &path)).map_err(failed)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let id = kept_id(dir.path()).unwrap();
        assert!(is_id(&id), "{id}");
        assert_eq!(kept_id(dir.path()).unwrap(), id);
        std::fs::write(dir.path().join("id"), "a b").unwrap();
        assert_ne!(kept_id(dir.path()).unwrap(), id, "a damaged id is replaced");
    }
}
