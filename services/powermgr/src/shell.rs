//! The loop: requests in, to the host they are for; looks answered from what the hosts show.
//!
//! It touches no line and waits for nothing but the bus, so it tells the operator as often as it was told to that it lives.

use std::sync::Arc;
use std::time::Duration;

use board::Board;
use hal::Gpio;
use ipc::{CallContext, Calls, Outbox, Reply, Request, Status};
use schema::server::{PowerServiceCall, PowermgrCall};
use schema::v1alpha1 as v1;
use service::{Clock, Context, Notification};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use units::{Millis, Mono};

use crate::config::Config;
use crate::error::Error;
use crate::host::{self, Apply, Host, Window};
use crate::hw::{self, Lines};
use crate::journal::Journal;
use crate::wire;

/// A host that has not turned for so long is stuck: a few slow lines in a row take it a few seconds.
const STUCK: Millis = Millis::from_secs(15);

/// Runs the daemon.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    let board = context.board()?;
    let hardware = ::hw::open(&board, &context.run_dir, crate::NAME);
    serve(context, config, &board, hardware.gpio).await
}

/// Runs the daemon over the given lines, until it is told to stop.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(
    context: Context,
    config: Config,
    board: &Board,
    gpio: Arc<dyn Gpio>,
) -> Result<(), Error> {
    // Its times travel in requests and in the record.
    let clock = Clock::since_boot();
    let boot = service::boot_id().unwrap_or_default();
    let (outbox, sender) = Outbox::new(context.bus.clone());
    // All at once: the lines of one may have to be waited for.
    let mut starting = JoinSet::new();
    for (index, wired) in board.hosts.iter().enumerate() {
        let (id, machine) = (wired.id.as_str().to_owned(), hw::machine_config(wired));
        let lines = Lines::new(Arc::clone(&gpio), wired);
        let (run_dir, boot, outbox) = (context.run_dir.clone(), boot.clone(), outbox.clone());
        starting.spawn(async move {
            let name = id.clone();
            let record = move |now| Journal::open(&run_dir, &name, &boot, now);
            (index, Host::start(&id, machine, lines, record, outbox, clock).await)
        });
    }
    let mut started = Vec::with_capacity(board.hosts.len());
    while let Some(host) = starting.join_next().await {
        started.push(host.map_err(|_| Error::Host)?);
    }
    started.sort_by_key(|(index, _)| *index);
    let calls = context.bus.calls().await.map_err(Error::Serve)?;
    let mut hosts = JoinSet::new();
    let mut daemon =
        Daemon { hosts: Vec::new(), outbox, clock, chassis: board.chassis.id.as_str().to_owned() };
    for ((_, mut host), wired) in started.into_iter().zip(&board.hosts) {
        host.announce();
        let (applies, received) = mpsc::channel(host::WAITING);
        daemon.hosts.push(Place { id: wired.id.as_str().to_owned(), applies, window: host.window() });
        hosts.spawn(host.run(context.shutdown.clone(), received, config.look_interval()));
    }
    context.ready();
    daemon.run(&context, calls).await;
    // Their channels close with it; each lets go of what it presses.
    drop(daemon);
    while hosts.join_next().await.is_some() {}
    let _ = sender.await;
    Ok(())
}

/// Everything that can happen to the daemon.
enum Event {
    Call(PowermgrCall<Request>),
    Beat,
    Stop,
}

/// Where to find a host.
struct Place {
    id: String,
    applies: mpsc::Sender<Apply>,
    window: Arc<Window>,
}

struct Daemon {
    hosts: Vec<Place>,
    outbox: Outbox,
    clock: Clock,
    chassis: String,
}

impl Daemon {
    async fn run(&mut self, context: &Context, mut calls: Calls<PowermgrCall<Request>>) {
        let mut shutdown = context.shutdown.clone();
        let mut beat = tokio::time::interval(context.heartbeat_every.max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => Event::Stop,
                _ = beat.tick() => Event::Beat,
                call = calls.next() => match call {
                    Some(call) => Event::Call(call),
                    None => Event::Stop,
                },
            };
            match event {
                Event::Stop => return,
                Event::Beat => self.beat(context),
                Event::Call(call) => self.call(call),
            }
        }
    }

    /// Says that this loop and those of the hosts are alive, if they are.
    fn beat(&self, context: &Context) {
        let now = self.clock.now();
        match self.hosts.iter().find(|host| now.since(host.window.turned()) > STUCK) {
            None => context.notify.send(Notification::Heartbeat),
            Some(host) => tracing::error!(host = host.id, "host loop stalled"),
        }
    }

    fn call(&self, PowermgrCall::PowerService(call): PowermgrCall<Request>) {
        match call {
            PowerServiceCall::Apply(apply, reply) => self.apply(apply, reply),
            PowerServiceCall::GetState(get, reply) => {
                let power = self.find(&get.host).map(|host| host.window.power(self.clock.now()));
                let answer = power.map(|power| v1::PowerGetStateResponse { power: Some(power) });
                self.outbox.answer(reply, answer);
            }
            PowerServiceCall::ListHosts(_, reply) => {
                let now = self.clock.now();
                let hosts = self.hosts.iter().map(|host| host.window.power(now)).collect();
                self.outbox.answer(reply, Ok(v1::PowerListHostsResponse { hosts }));
            }
            PowerServiceCall::SetIdentify(set, reply) => {
                self.outbox.answer(reply, Err(self.no_identify(&set.chassis)));
            }
        }
    }

    /// Hands a request to the host it is for.
    fn apply(&self, apply: v1::PowerApplyRequest, reply: Reply<v1::PowerApplyResponse>) {
        let understood = wire::apply(apply).and_then(|apply| Ok((self.find(&apply.host)?, apply)));
        let (host, apply) = match understood {
            Ok(understood) => understood,
            Err(status) => return self.outbox.answer(reply, Err(status)),
        };
        let what = power::Request {
            op: apply.op,
            action: apply.action,
            begin_by: self.begin_by(reply.context(), apply.begin_by),
            deadline: apply.end_by,
            first_asked: apply.first_applied,
        };
        if let Err(refused) = host.applies.try_send(Apply { reply, what }) {
            let status = host::too_many(&host.id);
            self.outbox.answer(refused.into_inner().reply, Err(status));
        }
    }

    /// No board has such a light yet.
    fn no_identify(&self, chassis: &str) -> Status {
        if chassis == self.chassis {
            Status::unimplemented(format!("chassis {chassis} has no identify light"))
                .with_reason("NOT_SUPPORTED")
        } else {
            Status::no_such("chassis", chassis, [self.chassis.as_str()])
        }
    }

    /// By when a request must be begun: the call's own deadline counts even where the caller named a later time.
    fn begin_by(&self, context: &CallContext, asked: Option<Mono>) -> Option<Mono> {
        let call = context.remaining().map(|left| match u64::try_from(left.as_millis()) {
            Ok(0) => Mono::ZERO,
            Ok(left) => self.clock.now() + Millis::new(left),
            Err(_) => Mono::MAX,
        });
        [asked, call].into_iter().flatten().min()
    }

    fn find(&self, id: &str) -> Result<&Place, Status> {
        self.hosts
            .iter()
            .find(|host| host.id == id)
            .ok_or_else(|| Status::no_such("host", id, self.hosts.iter().map(|host| host.id.as_str())))
    }
}
