//! The machine: one state per daemon, one rule per event.

use std::collections::VecDeque;

use units::{Millis, Mono};

use crate::policy::Policy;
use crate::spec::{Ending, Id, Spec, SpecError, resolve};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its process ended, or could not be started.
    Ended(Id, Ending),
    /// It says that it serves.
    Ready(Id),
    /// It says that its loop is alive.
    Heartbeat(Id),
    /// Everything shall stop.
    Stop,
    /// Everything but what lasts shall stop and start again.
    Restart,
    /// One shall end and start again, as what it is given at its start has changed. One that waits for its next try has it now.
    Replace(Id),
    /// The supervisor itself stood still for this long: signs of life of that time are not read yet.
    Slept(Millis),
    /// A silent daemon wanted to run for this long and got no processor: that much of its silence is the machine's.
    Starved(Id, Millis),
    /// Time passed; also the first event of all.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start its process. A failure to is `Event::Ended` with `Ending::NotStarted`.
    Start(Id),
    /// Ask its process to end (SIGTERM).
    Terminate(Id),
    /// End its process (SIGKILL).
    Kill(Id),
    /// Tell the world.
    Changed {
        /// The daemon.
        id: Id,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// Why, for people.
        reason: String,
    },
    /// Every daemon is ready. Once per start of the whole.
    AllReady,
    /// Every process has ended after [`Event::Stop`]. Once.
    AllStopped,
}

/// Where a daemon is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Others must settle first.
    Waiting,
    /// Its process runs, it does not serve yet.
    Starting {
        /// When it is given up on.
        until: Mono,
    },
    /// It serves.
    Ready {
        /// Since when.
        since: Mono,
        /// When its last sign of life came.
        beat: Mono,
    },
    /// It was sent SIGKILL by us and has not ended yet.
    Killed,
    /// It ended and is started again at a time.
    Backoff {
        /// When.
        until: Mono,
    },
    /// It ended too often and is tried again now and then.
    Degraded {
        /// When next.
        until: Mono,
    },
    /// It refused its configuration. What it refused may be a file or a device that comes later, so it is tried again now and then.
    Failed {
        /// When next.
        until: Mono,
    },
    /// It was asked to end: as everything shall, or to be replaced.
    Stopping {
        /// When it is made to.
        until: Mono,
    },
    /// It ended, as everything shall.
    Stopped,
}

impl State {
    /// Whether there is a process.
    pub fn is_running(self) -> bool {
        matches!(self, State::Starting { .. } | State::Ready { .. } | State::Killed | State::Stopping { .. })
    }

    /// Whether two states are the same but for their times.
    fn same_kind(self, other: State) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

#[derive(Clone, Debug)]
struct Daemon {
    spec: Spec,
    after: Vec<Id>,
    state: State,
    /// Why it is in that state.
    reason: String,
    /// Starts so far.
    starts: u32,
    /// Starts in a row that ended before they were stable.
    unstable: u32,
    /// Recent endings, oldest first.
    endings: VecDeque<Mono>,
    /// Set when it became degraded, until it recovered.
    degraded: Option<String>,
    /// Has become ready, degraded or failed at least once, or has had the time for it.
    settled: bool,
    /// When it was first started.
    begun: Option<Mono>,
    /// Since when it does not serve.
    away: Option<Mono>,
    /// How often in a row it refused its configuration.
    refusals: u32,
    /// How much of its present silence was forgiven for want of a processor.
    forgiven: Millis,
    /// Its end was asked for, so that it starts again.
    replacing: bool,
}

/// What is known of a daemon.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What it is.
    pub spec: &'a Spec,
    /// Where it is.
    pub state: State,
    /// Why, for people; empty at the start.
    pub reason: &'a str,
    /// Starts after the first.
    pub restarts: u32,
    /// Why it is or recently was degraded.
    pub degraded: Option<&'a str>,
    /// Whether it refused its configuration and has not served since.
    pub refused: bool,
}

/// The order to stop, while it is carried out.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    /// When all it is for must have ended.
    until: Mono,
    /// Whether they start again then.
    restart: bool,
}

impl Stopping {
    fn is_for(&self, daemon: &Daemon) -> bool {
        !(self.restart && daemon.spec.lasting)
    }
}

/// Why one is being replaced, for people.
const REPLACED: &str = "its settings changed";

/// Supervises a list of daemons.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    daemons: Vec<Daemon>,
    stopping: Option<Stopping>,
    told_ready: bool,
    told_stopped: bool,
}

impl Machine {
    /// A machine in which nothing runs yet; give it [`Event::Tick`] to begin.
    pub fn new(specs: Vec<Spec>, policy: Policy) -> Result<Self, SpecError> {
        let after = resolve(&specs)?;
        let daemons = specs
            .into_iter()
            .zip(after)
            .map(|(spec, after)| Daemon {
                spec,
                after,
                state: State::Waiting,
                reason: String::new(),
                starts: 0,
                unstable: 0,
                endings: VecDeque::new(),
                degraded: None,
                settled: false,
                begun: None,
                away: None,
                refusals: 0,
                forgiven: Millis::ZERO,
                replacing: false,
            })
            .collect();
        Ok(Self { policy, daemons, stopping: None, told_ready: false, told_stopped: false })
    }

    /// What is known of each daemon, in the order of the list.
    pub fn views(&self) -> impl Iterator<Item = (Id, View<'_>)> {
        self.daemons.iter().enumerate().map(|(index, daemon)| (Id(index), daemon.view()))
    }

    /// What is known of one daemon.
    pub fn view(&self, id: Id) -> Option<View<'_>> {
        self.daemons.get(id.0).map(Daemon::view)
    }

    /// The id of a name.
    pub fn id(&self, name: &str) -> Option<Id> {
        self.daemons.iter().position(|daemon| daemon.spec.name == name).map(Id)
    }

    /// Whether everything is being stopped.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether the machine is well enough to pet the watchdog: no critical daemon has been away for too long. One that refused its
    /// configuration does not count: a reset would not change its mind, only take away what still works.
    pub fn is_well(&self, now: Mono) -> bool {
        self.daemons
            .iter()
            .filter(|daemon| daemon.spec.critical && daemon.refusals == 0)
            .all(|daemon| daemon.away.is_none_or(|since| now.since(since) < self.policy.starve_after))
    }

    /// When [`Event::Tick`] is due next; `None` when only events can change anything.
    pub fn deadline(&self) -> Option<Mono> {
        let each = self.daemons.iter().filter_map(|daemon| match daemon.state {
            State::Starting { until }
            | State::Backoff { until }
            | State::Degraded { until }
            | State::Failed { until }
            | State::Stopping { until } => Some(until),
            State::Ready { since, beat } => {
                let silent = beat + daemon.silent_at_most(&self.policy);
                let recovered = daemon.degraded.as_ref().map(|_| since + self.policy.recovered);
                Some(recovered.map_or(silent, |recovered| recovered.min(silent)))
            }
            State::Waiting | State::Killed | State::Stopped => None,
        });
        // While everything stops nobody waits for a start.
        let settling = self.daemons.iter().filter(|_| self.stopping.is_none());
        let settling = settling.filter_map(|daemon| daemon.settles_at(&self.policy));
        // Once the last call was made there is nothing left to do but to wait for the endings.
        let all = self.stopping.filter(|stopping| {
            let waits = |daemon: &Daemon| daemon.state.is_running() && daemon.state != State::Killed;
            self.daemons.iter().any(|daemon| stopping.is_for(daemon) && waits(daemon))
        });
        let all = all.map(|stopping| stopping.until);
        each.chain(settling).chain(all).min()
    }

    /// Takes an event and appends what is to be done. `random` is fresh for each call, any value.
    pub fn step(&mut self, now: Mono, event: Event, random: u32, out: &mut Vec<Action>) {
        match event {
            Event::Ready(id) => self.ready(now, id, out),
            Event::Heartbeat(id) => {
                if let Some(Daemon { state: State::Ready { beat, .. }, forgiven, .. }) =
                    self.daemons.get_mut(id.0)
                {
                    *beat = now;
                    *forgiven = Millis::ZERO;
                }
            }
            Event::Ended(id, ending) => self.ended(now, id, ending, random, out),
            Event::Stop => {
                let until = now + self.policy.stop_all_within;
                let under_way = self.stopping.filter(|stopping| !stopping.restart);
                self.stopping = under_way.or(Some(Stopping { until, restart: false }));
            }
            Event::Restart => {
                let until = now + self.policy.stop_all_within;
                self.stopping = self.stopping.or(Some(Stopping { until, restart: true }));
            }
            Event::Replace(id) if self.stopping.is_none() => self.replace(now, id, out),
            Event::Replace(_) => {}
            Event::Slept(span) => {
                for daemon in &mut self.daemons {
                    daemon.begun = daemon.begun.map(|begun| (begun + span).min(now));
                    match &mut daemon.state {
                        State::Ready { beat, .. } => *beat = (*beat + span).min(now),
                        State::Starting { until } => *until += span,
                        _ => {}
                    }
                }
            }
            Event::Starved(id, span) => {
                let most = self.policy.starved_at_most;
                if let Some(Daemon { state: State::Ready { beat, .. }, forgiven, .. }) =
                    self.daemons.get_mut(id.0)
                {
                    let span = span.min(most - *forgiven);
                    *forgiven += span;
                    *beat = (*beat + span).min(now);
                }
            }
            Event::Tick => {}
        }
        self.elapse(now, out);
        match self.stopping {
            None => self.start_waiting(now, out),
            Some(stopping) => self.stop_next(now, stopping, out),
        }
    }

    fn ready(&mut self, now: Mono, id: Id, out: &mut Vec<Action>) {
        let Some(daemon) = self.daemons.get_mut(id.0) else { return };
        if !matches!(daemon.state, State::Starting { .. }) {
            return;
        }
        daemon.settled = true;
        daemon.away = None;
        daemon.refusals = 0;
        daemon.forgiven = Millis::ZERO;
        daemon.enter(id, State::Ready { since: now, beat: now }, "it serves", out);
        if !self.told_ready && self.daemons.iter().all(|daemon| matches!(daemon.state, State::Ready { .. })) {
            self.told_ready = true;
            out.push(Action::AllReady);
        }
    }

    fn replace(&mut self, now: Mono, id: Id, out: &mut Vec<Action>) {
        let policy = self.policy;
        let Some(daemon) = self.daemons.get_mut(id.0) else { return };
        match daemon.state {
            State::Starting { .. } | State::Ready { .. } => {
                daemon.replacing = true;
                out.push(Action::Terminate(id));
                daemon.enter(id, State::Stopping { until: now + policy.stop_within }, REPLACED, out);
            }
            // What was held against it may have been what has changed.
            State::Backoff { .. } | State::Degraded { .. } | State::Failed { .. } => {
                daemon.forgive();
                daemon.start(id, now, &policy, out);
            }
            // These start with what there is then.
            State::Waiting | State::Killed | State::Stopping { .. } | State::Stopped => {}
        }
    }

    fn ended(&mut self, now: Mono, id: Id, ending: Ending, random: u32, out: &mut Vec<Action>) {
        let policy = self.policy;
        let stopping = self.stopping;
        let Some(daemon) = self.daemons.get_mut(id.0) else { return };
        if !daemon.state.is_running() {
            return;
        }
        if stopping.is_some_and(|stopping| stopping.is_for(daemon)) {
            return daemon.enter(id, State::Stopped, &ending.to_string(), out);
        }
        if daemon.away.is_none() {
            daemon.away = Some(now);
        }
        // However it ended: it was asked to.
        if daemon.replacing {
            daemon.forgive();
            return daemon.start(id, now, &policy, out);
        }
        // Why we killed it says more than that it was killed.
        let why = match daemon.state {
            State::Killed => daemon.reason.clone(),
            _ => ending.to_string(),
        };
        if ending == Ending::Config {
            daemon.settled = true;
            let until = now + policy.refused_delay(daemon.refusals, random);
            daemon.refusals = daemon.refusals.saturating_add(1);
            return daemon.enter(id, State::Failed { until }, &why, out);
        }
        if daemon.refusals > 0 {
            // It refuses no more, and what it does instead counts from now.
            daemon.refusals = 0;
            daemon.away = Some(now);
        }
        let served = match daemon.state {
            State::Ready { since, .. } => now.since(since),
            _ => Millis::ZERO,
        };
        daemon.unstable = if served >= policy.stable { 0 } else { daemon.unstable.saturating_add(1) };
        daemon.endings.push_back(now);
        while daemon.endings.front().is_some_and(|at| now.since(*at) > policy.wear_window)
            || daemon.endings.len() > policy.wear_endings + 1
        {
            daemon.endings.pop_front();
        }
        let looping = daemon.unstable >= policy.loop_starts;
        let worn = daemon.endings.len() > policy.wear_endings;
        if looping || worn || daemon.degraded.is_some() {
            let text = if looping {
                format!("crash loop: {} starts in a row failed; the last: {why}", daemon.unstable)
            } else if worn {
                format!(
                    "crash loop: it ended {} times in {} s; the last: {why}",
                    daemon.endings.len(),
                    policy.wear_window.as_secs()
                )
            } else {
                format!("crash loop: it failed again; the last: {why}")
            };
            daemon.settled = true;
            daemon.degraded = Some(text.clone());
            return daemon.enter(id, State::Degraded { until: now + policy.slow_delay(random) }, &text, out);
        }
        let until = now + policy.delay(daemon.unstable.saturating_sub(1), random);
        daemon.enter(id, State::Backoff { until }, &why, out);
    }

    /// What time alone brings about.
    fn elapse(&mut self, now: Mono, out: &mut Vec<Action>) {
        let policy = self.policy;
        let order = self.stopping;
        for (index, daemon) in self.daemons.iter_mut().enumerate() {
            let id = Id(index);
            daemon.settled |= daemon.settles_at(&policy).is_some_and(|at| now >= at);
            let order = order.filter(|order| order.is_for(daemon));
            let stopping = order.is_some();
            let last_call = order.is_some_and(|order| now >= order.until);
            if last_call && daemon.state.is_running() && daemon.state != State::Killed {
                out.push(Action::Kill(id));
                daemon.enter(id, State::Killed, "it did not end in time", out);
                continue;
            }
            match daemon.state {
                // While everything stops, too: one that waits for its turn to be asked would else have the deadline in the past.
                State::Starting { until } if now >= until => {
                    out.push(Action::Kill(id));
                    let text = format!("it was not ready within {} s", policy.ready_within.as_secs());
                    daemon.enter(id, State::Killed, &text, out);
                }
                State::Ready { beat, .. } if now.since(beat) >= daemon.silent_at_most(&policy) => {
                    out.push(Action::Kill(id));
                    let span = daemon.silent_at_most(&policy);
                    let text = format!("its loop gave no sign of life for {} s", span.as_secs());
                    daemon.away = Some(beat);
                    daemon.enter(id, State::Killed, &text, out);
                }
                State::Ready { since, .. }
                    if daemon.degraded.is_some() && now.since(since) >= policy.recovered =>
                {
                    daemon.degraded = None;
                    daemon.unstable = 0;
                    daemon.endings.clear();
                }
                State::Backoff { until } | State::Degraded { until } | State::Failed { until }
                    if now >= until && !stopping =>
                {
                    daemon.start(id, now, &policy, out);
                }
                State::Stopping { until } if now >= until => {
                    out.push(Action::Kill(id));
                    daemon.enter(id, State::Killed, "it did not end in time", out);
                }
                _ => {}
            }
        }
    }

    /// Starts whoever waits only for those who have settled.
    fn start_waiting(&mut self, now: Mono, out: &mut Vec<Action>) {
        let policy = self.policy;
        let settled: Vec<bool> = self.daemons.iter().map(|daemon| daemon.settled).collect();
        for (index, daemon) in self.daemons.iter_mut().enumerate() {
            if daemon.state == State::Waiting
                && daemon.after.iter().all(|id| settled.get(id.0) == Some(&true))
            {
                daemon.away = Some(now);
                daemon.start(Id(index), now, &policy, out);
            }
        }
    }

    /// Asks those to end whose dependants have ended; and when all have, starts them again if that is the order.
    fn stop_next(&mut self, now: Mono, order: Stopping, out: &mut Vec<Action>) {
        let needed: Vec<Id> = self
            .daemons
            .iter()
            .filter(|daemon| daemon.state.is_running())
            .flat_map(|daemon| daemon.after.iter().copied())
            .collect();
        for (index, daemon) in self.daemons.iter_mut().enumerate().filter(|(_, daemon)| order.is_for(daemon))
        {
            let id = Id(index);
            match daemon.state {
                State::Starting { .. } | State::Ready { .. } if !needed.contains(&id) => {
                    out.push(Action::Terminate(id));
                    let until = now + self.policy.stop_within;
                    daemon.enter(id, State::Stopping { until }, "everything stops", out);
                }
                State::Waiting | State::Backoff { .. } | State::Degraded { .. } | State::Failed { .. } => {
                    daemon.enter(id, State::Stopped, "everything stops", out);
                }
                _ => {}
            }
        }
        let all = self
            .daemons
            .iter()
            .filter(|daemon| order.is_for(daemon))
            .all(|daemon| daemon.state == State::Stopped);
        if all && order.restart {
            self.begin_again(now, out);
        } else if all && !self.told_stopped {
            self.told_stopped = true;
            out.push(Action::AllStopped);
        }
    }

    /// The start of the whole once more. What was held against a daemon is forgotten: a restart is what one tries to cure it. It counts as
    /// the first start: that one was asked for is no fault of a daemon.
    fn begin_again(&mut self, now: Mono, out: &mut Vec<Action>) {
        self.stopping = None;
        self.told_ready = false;
        for (index, daemon) in self.daemons.iter_mut().enumerate().filter(|(_, daemon)| !daemon.spec.lasting)
        {
            daemon.forgive();
            daemon.starts = 0;
            (daemon.settled, daemon.begun) = (false, None);
            daemon.enter(Id(index), State::Waiting, "everything starts again", out);
        }
        self.start_waiting(now, out);
    }
}

impl Daemon {
    fn view(&self) -> View<'_> {
        View {
            spec: &self.spec,
            state: self.state,
            reason: &self.reason,
            restarts: self.starts.saturating_sub(1),
            degraded: self.degraded.as_deref(),
            refused: self.refusals > 0,
        }
    }

    /// Forgets what was held against it.
    fn forgive(&mut self) {
        self.unstable = 0;
        self.endings.clear();
        self.degraded = None;
        self.refusals = 0;
    }

    /// How long its loop may be silent.
    fn silent_at_most(&self, policy: &Policy) -> Millis {
        self.spec.silent_at_most.unwrap_or(policy.heartbeat_within)
    }

    /// When it holds up nobody any more; `None` while it has not been started, and once that is so.
    fn settles_at(&self, policy: &Policy) -> Option<Mono> {
        self.begun.filter(|_| !self.settled).map(|begun| begun + policy.settle_within)
    }

    fn start(&mut self, id: Id, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        self.begun.get_or_insert(now);
        self.starts = self.starts.saturating_add(1);
        self.replacing = false;
        self.enter(id, State::Starting { until: now + policy.ready_within }, "started", out);
        out.push(Action::Start(id));
    }

    fn enter(&mut self, id: Id, to: State, reason: &str, out: &mut Vec<Action>) {
        let from = std::mem::replace(&mut self.state, to);
        self.reason = reason.to_owned();
        if !from.same_kind(to) {
            out.push(Action::Changed { id, from, to, reason: reason.to_owned() });
        }
    }
}
