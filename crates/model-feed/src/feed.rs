//! The loop: one owner of the model. Owners are asked beside it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use ipc::{Client, Link, RawEvents, RawItem, Status};
use model::{Answer, Domain, Failure, Input, Model, Query, Reason, Snapshot, State, Subscription};
use prost::Message as _;
use schema::v1alpha1 as v1;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use units::Mono;

use crate::query::ask;
use crate::reader::{Reader, Refreshes};

/// Everything that can happen.
enum Happened {
    Link(bool),
    Answered(Query, Result<Answer, Failure>),
    Event(RawItem),
    Reading(RawItem),
    Refresh(BTreeSet<&'static str>),
    Due,
    Stop,
}

/// Who feeds the model.
#[derive(Debug)]
pub struct Feed {
    bus: Client,
    link: watch::Receiver<Link>,
    events: RawEvents,
    readings: RawEvents,
    model: Model,
    snapshots: watch::Sender<Arc<Snapshot>>,
    refreshes: Arc<Refreshes>,
    work: JoinSet<(Query, Result<Answer, Failure>)>,
    /// The question of each domain that is being answered.
    asking: HashMap<Domain, AbortHandle>,
    begun: Instant,
    /// The state of each domain as it was last logged.
    logged: HashMap<Domain, State>,
    filled: bool,
}

impl Feed {
    /// Subscribes. Nothing is asked before [`Feed::run`]; until then all is [`State::Starting`].
    ///
    /// # Errors
    ///
    /// The bus does not answer.
    pub async fn subscribe(bus: Client) -> Result<(Reader, Self), Status> {
        let link = bus.watch_link();
        let events = bus.subscribe_raw("event.>").await?;
        let readings = bus.subscribe_raw("reading.sensors").await?;
        let model = Model::new(unix_ms().max(1));
        let (snapshots, seen) = watch::channel(Arc::new(model.snapshot().clone()));
        let refreshes = Arc::<Refreshes>::default();
        let reader = Reader::new(seen, Arc::clone(&refreshes));
        let feed = Self {
            bus,
            link,
            events,
            readings,
            model,
            snapshots,
            refreshes,
            work: JoinSet::new(),
            asking: HashMap::new(),
            begun: Instant::now(),
            logged: HashMap::new(),
            filled: false,
        };
        Ok((reader, feed))
    }

    /// Feeds the model until the connection to the bus is closed by this side. Safe to abort.
    pub async fn run(mut self) {
        let mut linked = self.link.borrow_and_update().connected;
        if !linked {
            self.step(Input::Link(false));
        }
        self.step(Input::Tick);
        loop {
            match self.next().await {
                Happened::Stop => return,
                Happened::Link(up) if up == linked => {}
                Happened::Link(up) => {
                    linked = up;
                    self.step(Input::Link(up));
                }
                Happened::Answered(ask, answer) => {
                    self.step(Input::Answered(ask, answer));
                }
                Happened::Event(RawItem::Resync) => self.step(Input::Missed(Subscription::Events)),
                Happened::Event(RawItem::Message { subject, payload }) => match v1::Event::decode(payload) {
                    Ok(event) => self.step(Input::Event { subject, event: Box::new(event) }),
                    Err(error) => {
                        tracing::debug!(subject, %error, "cannot decode event");
                        self.step(Input::Unreadable(subject));
                    }
                },
                Happened::Reading(RawItem::Resync) => self.step(Input::Missed(Subscription::Readings)),
                Happened::Reading(RawItem::Message { subject, payload }) => {
                    match v1::SensorReadings::decode(payload) {
                        Ok(readings) => self.step(Input::Readings(Box::new(readings))),
                        Err(error) => {
                            tracing::debug!(subject, %error, "cannot decode readings");
                            self.step(Input::Unreadable(subject));
                        }
                    }
                }
                Happened::Refresh(daemons) => {
                    for daemon in daemons {
                        self.step(Input::Refresh(daemon.to_owned()));
                    }
                }
                Happened::Due => self.step(Input::Tick),
            }
        }
    }

    async fn next(&mut self) -> Happened {
        let due =
            self.model.deadline().map(|at| self.begun + std::time::Duration::from_millis(at.as_millis()));
        tokio::select! {
            biased;
            changed = self.link.changed() => match changed {
                Ok(()) => Happened::Link(self.link.borrow_and_update().connected),
                Err(_) => Happened::Stop,
            },
            item = self.events.next() => item.map_or(Happened::Stop, Happened::Event),
            item = self.readings.next() => item.map_or(Happened::Stop, Happened::Reading),
            Some(done) = self.work.join_next() => match done {
                Ok((ask, answer)) => Happened::Answered(ask, answer),
                // A question that was given up for a newer one.
                Err(_) => Happened::Due,
            },
            daemons = self.refreshes.next() => Happened::Refresh(daemons),
            () = until(due) => Happened::Due,
        }
    }

    fn now(&self) -> Mono {
        Mono::from_millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn step(&mut self, input: Input) {
        let mut queries = Vec::new();
        let altered = self.model.step(self.now(), unix_ms(), input, &mut queries);
        for query in queries {
            let bus = self.bus.clone();
            let task = self.work.spawn(async move { (query, ask(&bus, query.domain).await) });
            if let Some(old) = self.asking.insert(query.domain, task) {
                old.abort();
            }
        }
        if altered {
            self.log_states();
            self.snapshots.send_replace(Arc::new(self.model.snapshot().clone()));
        }
    }

    /// Tells the log what is not known to be true any more, and what is again.
    fn log_states(&mut self) {
        let snapshot = self.model.snapshot();
        for domain in Domain::ALL {
            let now = snapshot.status(domain).state;
            let before = self.logged.insert(domain, now).unwrap_or(State::Starting);
            let (name, daemon) = (domain.as_str(), domain.owner());
            match (before, now) {
                (before, now) if before == now => {}
                // Asked again within a moment.
                (_, State::Stale(Reason::Missed)) | (State::Stale(Reason::Missed), State::Live) => {}
                (_, State::Stale(why)) => {
                    tracing::warn!(domain = name, daemon, why = why.as_str(), "marked values as stale");
                }
                (State::Stale(_), State::Live) => {
                    tracing::info!(domain = name, daemon, "values are good again")
                }
                _ => {}
            }
        }
        if !self.filled && snapshot.starting().next().is_none() {
            self.filled = true;
            tracing::info!(took_ms = self.now().as_millis(), "filled the model");
        }
    }
}

fn unix_ms() -> u64 {
    schema::time::unix_ms(SystemTime::now())
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
